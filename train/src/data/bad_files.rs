//! Counts the files that do not decode: each is logged once, and too many of them end the run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use log::Level;

use super::decode::DecodeError;
use super::source::Source;

use crate::paths;

/// The share of bad files is taken over at least this many files (or all, where there are fewer), so that two bad
/// files among the first ten do not end a run over a million.
const JUDGED_FROM: usize = 100;

/// Number of bad files named in an error; the log names all of them.
const NAMED: usize = 3;

/// A file that does not decode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// Why, in one line.
    pub reason: String,
}

/// The smallest number of bad files that exceeds the share `max_share` of `images` even if all other files are good; at
/// most `images`.
pub(super) fn proof(max_share: f64, images: usize) -> usize {
    ((max_share * images as f64) as usize)
        .saturating_add(1)
        .min(images)
}

/// Counts good and bad files, each once. A file that failed to decode once stays bad.
pub struct BadFiles {
    source: Arc<Source>,
    max_share: f64,
    /// The name under which the user can set `max_share`.
    setting: &'static str,
    level: Level,
    /// Whether each image has decoded every time so far; `good` is the number of images that have.
    decoded: Vec<bool>,
    good: usize,
    bad: BTreeMap<usize, DecodeError>,
}

impl BadFiles {
    /// Counts the files of `source`; each bad one is logged once, at `level`. `setting` is the name of `max_share`
    /// in messages.
    pub fn new(source: Arc<Source>, max_share: f64, setting: &'static str, level: Level) -> Self {
        let decoded = vec![false; source.count()];
        Self {
            source,
            max_share,
            setting,
            level,
            decoded,
            good: 0,
            bad: BTreeMap::new(),
        }
    }

    /// Records that `image` decoded and that `skipped`, tried before it, did not; logs those that are new.
    ///
    /// # Errors
    /// When the share of bad files among those seen exceeds the allowed one.
    pub fn record(
        &mut self,
        image: usize,
        skipped: Vec<(usize, DecodeError)>,
    ) -> anyhow::Result<()> {
        // A file that failed to decode once, for instance on a flaky disk, stays bad.
        if !self.decoded[image] && !self.bad.contains_key(&image) {
            self.decoded[image] = true;
            self.good += 1;
        }
        self.skip(skipped)
    }

    /// Records files that did not decode; logs those that are new.
    ///
    /// # Errors
    /// When the share of bad files among those seen exceeds the allowed one.
    pub fn skip(&mut self, skipped: Vec<(usize, DecodeError)>) -> anyhow::Result<()> {
        if skipped.is_empty() {
            return Ok(());
        }
        self.add(skipped);
        if self.bad.len() as f64 > self.max_share * self.judged() as f64 {
            return Err(self.too_many());
        }
        Ok(())
    }

    /// The error when a search for a replacement met so many bad files in a row that their share is certainly too
    /// large.
    pub(crate) fn all_bad(&mut self, skipped: Vec<(usize, DecodeError)>) -> anyhow::Error {
        self.add(skipped);
        self.too_many()
    }

    /// All bad files so far, sorted by path.
    pub fn list(&self) -> Vec<BadFile> {
        let describe = |(image, reason): (&usize, &DecodeError)| BadFile {
            path: self.source.name(*image),
            reason: reason.to_string(),
        };
        let mut files: Vec<BadFile> = self.bad.iter().map(describe).collect();
        files.sort();
        files
    }

    fn add(&mut self, skipped: Vec<(usize, DecodeError)>) {
        for (image, reason) in skipped {
            if !self.bad.contains_key(&image) {
                let path = self.source.name(image);
                log::log!(self.level, "skipped {}: {reason}", paths::line(&path));
                self.bad.insert(image, reason);
                if std::mem::take(&mut self.decoded[image]) {
                    self.good -= 1;
                }
            }
        }
    }

    /// The number of files over which the share of bad ones is taken.
    fn judged(&self) -> usize {
        let seen = self.good + self.bad.len();
        seen.max(JUDGED_FROM.min(self.source.count()))
    }

    fn too_many(&self) -> anyhow::Error {
        let files = self.list();
        let mut examples: Vec<String> = files
            .iter()
            .take(NAMED)
            .map(|file| format!("{}: {}", paths::line(&file.path), file.reason))
            .collect();
        if files.len() > NAMED {
            examples.push(format!("and {} more", files.len() - NAMED));
        }
        let examples = examples.join("; ");
        if files.len() == self.source.count() {
            return anyhow::anyhow!(
                "none of the {} files decodes: give other images ({examples})",
                files.len()
            );
        }
        anyhow::anyhow!(
            "{} of {} files do not decode, more than the allowed share of {}: repair or remove them, \
             or allow more with {} ({examples})",
            files.len(),
            self.judged(),
            self.max_share,
            self.setting,
        )
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    #[test]
    fn a_file_that_decodes_once_and_not_another_time_counts_once() {
        let source = Arc::new(Source::Memory(vec![RgbImage::new(1, 1); 200]));
        let mut files = BadFiles::new(source, 0.1, "max-bad-share", Level::Debug);
        for image in 0..180 {
            files.record(image, Vec::new()).expect("a good file");
        }
        // Eighteen good files turn bad: exactly a tenth of the 180 seen, which is still allowed.
        for image in 0..18 {
            files
                .skip(vec![(image, DecodeError::Truncated)])
                .expect("few enough");
            files
                .skip(vec![(image, DecodeError::Empty)])
                .expect("the same file");
        }
        assert_eq!(
            (files.good, files.bad.len(), files.judged()),
            (162, 18, 180)
        );
        // Once bad, a file stays bad.
        files.record(3, Vec::new()).expect("nothing new");
        assert_eq!((files.good, files.bad.len()), (162, 18));
        let error = files
            .skip(vec![(18, DecodeError::Truncated)])
            .expect_err("too many");
        assert!(
            error
                .to_string()
                .starts_with("19 of 180 files do not decode"),
            "{error}"
        );
    }
}
