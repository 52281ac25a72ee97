//! Selective search on all pictures of a source, on all cores, with progress; what is known already is kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::bail;
use densecl::augment::InstanceConfig;
use rayon::prelude::*;
use serde::Serialize;

use super::file::{self, Line};
use super::search::search;
use super::{Boxes, checksum, name_in};
use crate::data::decode::{DecodeLimits, Decoder};
use crate::data::source::Source;
use crate::files::write_atomically;
use crate::watch::Watch;

/// How far a search has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Pictures done, those known before included.
    pub(crate) done: usize,
    /// All pictures.
    pub(crate) all: usize,
    /// Seconds of the search so far.
    pub(crate) seconds: f64,
}

/// The result of [`find_boxes`].
#[derive(Debug, Clone, Serialize)]
pub struct FoundBoxes {
    /// Pictures in the file.
    pub pictures: usize,
    /// Pictures whose boxes were in the file before.
    pub known: usize,
    /// Pictures that do not decode; they have no boxes.
    pub undecodable: usize,
    /// Boxes per picture, the mean.
    pub mean: f64,
    /// Pictures with fewer than four boxes, the paper's number of instances.
    pub fewer_than_four: usize,
    /// Seconds of the search.
    pub seconds: f64,
    /// Milliseconds of one picture on its thread, for reading, decoding and searching; the mean over those searched.
    pub ms_per_picture: f64,
    /// Whether all pictures are done; otherwise the search was stopped, and goes on with what is in the file.
    pub complete: bool,
}

/// A searched picture, and the milliseconds that it took.
struct Searched {
    line: Line,
    known: bool,
    milliseconds: f64,
}

/// Searches the images of `source`, which was opened from `data`; `progress` is called now and then. `None` when `stop`
/// was set before the end.
///
/// # Errors
/// Those of `progress`.
pub(crate) fn search_all(
    source: &Source,
    data: &Path,
    limits: &InstanceConfig,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress) -> anyhow::Result<()>,
) -> anyhow::Result<Option<Boxes>> {
    let searched = search_from(&HashMap::new(), source, data, limits, stop, progress)?;
    if searched.len() < source.count() {
        return Ok(None);
    }
    let lines = searched.into_iter().map(|searched| searched.line);
    let lines: HashMap<String, Line> = lines.map(|line| (line.image.clone(), line)).collect();
    Boxes::of_lines(&lines, data, source, data, limits).map(Some)
}

/// Finds the boxes of the pictures of `data`, a folder, a list or a pack, and writes them to `out`. A file that is there
/// is gone on with: what it has about unchanged pictures stays, whatever the limits were. When `stop` is set, what was
/// found is written.
///
/// # Errors
/// One line for the user.
pub fn find_boxes(
    data: &Path,
    out: &Path,
    limits: &InstanceConfig,
    watch: &dyn Watch,
    stop: &AtomicBool,
) -> anyhow::Result<FoundBoxes> {
    if let Err(problem) = limits.validate() {
        bail!("{}", problem.replace("instances.", "--").replace('_', "-"));
    }
    if out.is_dir() {
        bail!("--out {} is a folder: give a file", out.display());
    }
    let known = if out.exists() {
        let known = file::read(out)?;
        if known
            .values()
            .any(|line| line.pixels.is_none() && line.width > 0)
        {
            bail!(
                "--out {} has boxes that `densecl boxes` has not found, and would lose them: give another file",
                out.display()
            );
        }
        known
    } else {
        HashMap::new()
    };
    let source = Source::open(data)?;
    let gauge = watch.begin("pictures", source.count() as u64);
    let (start, mut shown) = (Instant::now(), 0);
    let searched = search_from(&known, &source, data, limits, stop, &mut |progress| {
        gauge.advance((progress.done - shown) as u64);
        shown = progress.done;
        Ok(())
    })?;
    let times = searched.iter().filter(|searched| !searched.known);
    let times: Vec<f64> = times.map(|searched| searched.milliseconds).collect();
    let (pictures, known) = (searched.len(), searched.len() - times.len());
    let lines: Vec<Line> = searched.into_iter().map(|searched| searched.line).collect();
    let boxes: Vec<usize> = lines.iter().map(|line| line.boxes().count()).collect();
    let report = FoundBoxes {
        pictures,
        known,
        undecodable: lines.iter().filter(|line| line.width == 0).count(),
        mean: boxes.iter().sum::<usize>() as f64 / pictures.max(1) as f64,
        fewer_than_four: boxes.iter().filter(|count| **count < 4).count(),
        seconds: start.elapsed().as_secs_f64(),
        ms_per_picture: times.iter().sum::<f64>() / times.len().max(1) as f64,
        complete: pictures == source.count(),
    };
    if pictures > 0 {
        write_atomically(out, file::write(&lines)?.as_bytes())?;
    }
    Ok(report)
}

/// The pictures of `source` in their order, up to where `stop` was set.
fn search_from(
    known: &HashMap<String, Line>,
    source: &Source,
    data: &Path,
    limits: &InstanceConfig,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Searched>> {
    let (start, all) = (Instant::now(), source.count());
    let mut searched = Vec::with_capacity(all);
    let images: Vec<usize> = (0..all).collect();
    // In small parts, so that it can be stopped.
    for part in images.chunks(4 * rayon::current_num_threads()) {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let found = part.par_iter().map_init(
            || Decoder::new(DecodeLimits::default()),
            |decoder, &image| search_one(known, source, data, limits, image, decoder),
        );
        searched.extend(found.collect::<Vec<_>>());
        progress(Progress {
            done: searched.len(),
            all,
            seconds: start.elapsed().as_secs_f64(),
        })?;
    }
    Ok(searched)
}

fn search_one(
    known: &HashMap<String, Line>,
    source: &Source,
    data: &Path,
    limits: &InstanceConfig,
    image: usize,
    decoder: &mut Decoder,
) -> Searched {
    let start = Instant::now();
    let name = name_in(data, source, image);
    let mut was_known = false;
    // The loader reports pictures that do not decode; here they have no boxes.
    let line = match source.picture(image, decoder) {
        Err(_) => Line::new(name, [0, 0], None, &[]),
        Ok(picture) => {
            let (size, pixels) = (picture.dimensions().into(), checksum(&picture));
            match known.get(&name).filter(|line| line.pixels == Some(pixels)) {
                Some(line) => {
                    was_known = true;
                    line.clone()
                }
                None => Line::new(name, size, Some(pixels), &search(&picture, limits)),
            }
        }
    };
    Searched {
        line,
        known: was_known,
        milliseconds: start.elapsed().as_secs_f64() * 1e3,
    }
}
