//! The boxes of a run's images, for methods with instances.

use std::sync::atomic::AtomicBool;

use anyhow::bail;
use densecl::augment::CropBox;
use densecl::synthetic::scene_pair;
use rayon::prelude::*;

use super::folder::RunDir;
use crate::config::{BoxSource, RunConfig};
use crate::data::Source;
use crate::data::boxes::{Boxes, Progress, search_all};
use crate::events::{Observer, TrainEvent};
use crate::files::write_atomically;

/// Visible pixels from which on an object of a scene has a box.
const LEAST_PIXELS: u32 = 16;
/// Seconds between two notes of the progress of a search.
const NOTE_EVERY: f64 = 10.0;

/// The boxes of a run whose method takes `instances` instances of each image: those that the settings ask for, or, of a
/// run that is resumed, those that it began with. `None` when `stop` was set during a search.
///
/// # Errors
/// One line: a file of boxes that is wrong or for other pictures, or no image with as many boxes as there are instances.
pub(crate) fn of_run(
    config: &RunConfig,
    source: &Source,
    instances: usize,
    resumed: Option<&RunDir>,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Boxes>> {
    let limits = &config.views.instances;
    let data = config.data.source.as_ref();
    let box_source = config.data.box_source();
    if instances == 0 || box_source == BoxSource::Random {
        return Ok(Some(Boxes::default()));
    }
    if let Some(run) = resumed {
        return Boxes::read(&run.boxes(), source, data, limits).map(Some);
    }
    let mut note = |text: String| observer.event(&TrainEvent::Note(text));
    let boxes = match box_source {
        BoxSource::Random => Boxes::default(),
        BoxSource::File(path) => Boxes::read(&path, source, data, limits)?,
        BoxSource::Objects => objects(config, source.count()),
        BoxSource::Search => {
            note(format!(
                "selective search on {} images; `densecl boxes` keeps the result for other runs",
                source.count()
            ))?;
            let mut noted = 0.0;
            let found = search_all(source, data, limits, stop, &mut |progress| {
                if progress.seconds < noted + NOTE_EVERY {
                    return Ok(());
                }
                noted = progress.seconds;
                note(describe(progress))
            })?;
            let Some(found) = found else { return Ok(None) };
            found
        }
    };
    let few = boxes.with_fewer_than(instances);
    if few == source.count() {
        bail!(
            "no image has method.instances = {instances} boxes within views.instances.min_side = {}, max_ratio = {} and \
             max_iou = {} ({:.1} boxes an image, from data.boxes = {:?}): lower method.instances or min_side, or give \
             data.boxes = \"random\"",
            limits.min_side,
            limits.max_ratio,
            limits.max_iou,
            boxes.mean(),
            config.data.boxes
        );
    }
    note(format!(
        "{:.1} boxes an image; {few} of {} images have fewer than {instances}, and random ones in their place",
        boxes.mean(),
        source.count()
    ))?;
    Ok(Some(boxes))
}

/// Keeps the boxes of a run in its folder, where there are any.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn save(
    boxes: &Boxes,
    source: &Source,
    config: &RunConfig,
    run: &RunDir,
) -> anyhow::Result<()> {
    if boxes.is_empty() {
        return Ok(());
    }
    let text = boxes.to_text(source, config.data.source.as_ref())?;
    write_atomically(&run.boxes(), text.as_bytes())
}

fn describe(progress: Progress) -> String {
    let Progress { done, all, seconds } = progress;
    let left = seconds / done.max(1) as f64 * (all - done) as f64;
    format!("selective search: {done} of {all} images, {left:.0} seconds to go")
}

/// The boxes around the visible objects of the embedded scenes, as rendered for training.
fn objects(config: &RunConfig, count: usize) -> Boxes {
    let of_scene = |index: usize| -> Vec<CropBox> {
        let frame = scene_pair(config.train.seed, index as u64, &config.scenes).a;
        let objects = frame.objects(LEAST_PIXELS).into_iter();
        let boxes = objects.map(|(rect, _)| CropBox {
            left: rect.x0 as u32,
            top: rect.y0 as u32,
            width: (rect.x1 - rect.x0) as u32,
            height: (rect.y1 - rect.y0) as u32,
        });
        boxes.collect()
    };
    let all: Vec<_> = (0..count).into_par_iter().map(of_scene).collect();
    Boxes::of_images([config.scenes.size; 2], all, &config.views.instances)
}
