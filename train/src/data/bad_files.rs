//! The account of files that do not decode: each is told once, and too many end the run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use log::Level;

use super::decode::DecodeError;
use super::source::Source;

use crate::paths;

/// A share is only taken over at least this many files (or all, where there are fewer), so that two
/// bad files among the first ten do not end a run over a million.
const JUDGED_FROM: usize = 100;

/// How many files an error names; the log has named them all.
const NAMED: usize = 3;

/// A file that does not decode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// Why, in one line.
    pub reason: String,
}

/// How many bad files prove, whatever the others are, that more than `max_share` of `images` are
/// bad; at most `images`.
pub(super) fn proof(max_share: f64, images: usize) -> usize {
    ((max_share * images as f64) as usize)
        .saturating_add(1)
        .min(images)
}

/// Counts good and bad files, each once: a file is bad from the first time that it does not decode.
pub struct BadFiles {
    source: Arc<Source>,
    max_share: f64,
    /// The name under which the user can set `max_share`.
    setting: &'static str,
    level: Level,
    /// For each image whether it is a good one, and how many are: they have decoded whenever tried.
    decoded: Vec<bool>,
    good: usize,
    bad: BTreeMap<usize, DecodeError>,
}

impl BadFiles {
    /// Those of `source`; each is told once, at this level. `setting` is what the user calls
    /// `max_share`.
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

    /// Notes that `image` decoded after those `skipped` did not, and warns of the new ones among
    /// them.
    ///
    /// # Errors
    /// When bad files are more than the allowed share of those seen.
    pub fn record(
        &mut self,
        image: usize,
        skipped: Vec<(usize, DecodeError)>,
    ) -> anyhow::Result<()> {
        // A disk may give a file once and not another time: then it is a bad one.
        if !self.decoded[image] && !self.bad.contains_key(&image) {
            self.decoded[image] = true;
            self.good += 1;
        }
        self.skip(skipped)
    }

    /// Notes that these did not decode, and warns of the new ones among them.
    ///
    /// # Errors
    /// When bad files are more than the allowed share of those seen.
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

    /// The error for a search that met only bad files, enough of them to be sure.
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

    /// Files of which the bad ones are a share.
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
        // Eighteen of them go bad: a tenth of the 180 that were seen, and none more than a tenth.
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
