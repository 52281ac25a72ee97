//! From the images of a run to the samples of its batches: which image stands where, and the views that are drawn of
//! it. The loader of programs with threads and the one of browsers ([`crate::in_memory`]) make the same batches,
//! because both use these functions.

use densecl::augment::{
    self, CropBox, ScenesAndInstances, Stage, ViewConfig, ViewGeometry, ViewMaker, ViewParams,
};
use densecl::method::{Shows, ViewSpec};
use image::RgbImage;

/// The sample at one place of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The pass over the data, from 0.
    pub(crate) epoch: u64,
    /// The position of its image in the order of that epoch.
    pub(crate) position: usize,
    /// Its number in the run, which seeds its augmentation.
    pub(crate) index: u64,
}

impl Place {
    /// Place `place` of the batch of `step`, where `images` images are trained on in batches of `batch`. The images that
    /// are left over when the last batch of an epoch is full are skipped in this epoch; each skips different ones.
    pub(crate) fn of(step: u64, place: usize, images: usize, batch: usize) -> Self {
        let steps_per_epoch = (images / batch) as u64;
        let epoch = step / steps_per_epoch;
        let position = (step % steps_per_epoch) as usize * batch + place;
        Self {
            epoch,
            position,
            index: epoch * images as u64 + position as u64,
        }
    }
}

/// What the curriculum of these views says about a step of a run of `total_steps`.
pub(crate) fn stage(views: &ViewConfig, step: u64, total_steps: u64) -> Stage {
    views.curriculum.stage(views.size, step, total_steps)
}

/// The side in pixels of each view at a stage.
pub(crate) fn sides(wanted: &[ViewSpec], stage: Stage) -> impl Iterator<Item = u32> {
    wanted
        .iter()
        .map(move |view| view.size.unwrap_or(stage.size))
}

/// Makes the views of one sample after the other, in buffers that are used again.
#[derive(Debug)]
pub(crate) struct Sampler {
    views: ViewConfig,
    wanted: Vec<ViewSpec>,
    seed: u64,
    maker: ViewMaker,
}

impl Sampler {
    /// Makes the views `wanted` of each image.
    pub(crate) fn new(views: ViewConfig, wanted: Vec<ViewSpec>, seed: u64) -> Self {
        Self {
            views,
            wanted,
            seed,
            maker: ViewMaker::default(),
        }
    }

    /// Draws the views of the sample numbered `index` and writes them to `views`, one after the other, each [3, S, S]
    /// with its own side S. `boxes` are the image's, for methods with instances. Returns the crop of each view in the
    /// image.
    pub(crate) fn make(
        &mut self,
        image: &RgbImage,
        boxes: &[CropBox],
        index: u64,
        stage: Stage,
        views: &mut Vec<u8>,
    ) -> Vec<ViewGeometry> {
        let params = self.draw(image.dimensions().into(), boxes, index, stage);
        views.clear();
        let mut geometry = Vec::with_capacity(params.len());
        for (params, side) in params.iter().zip(sides(&self.wanted, stage)) {
            let view = self.maker.make(image, params, side);
            views.extend_from_slice(view.as_bytes());
            geometry.push(params.geometry(side));
        }
        geometry
    }

    /// The parameters of the views of an image of this width and height.
    fn draw(&self, size: [u32; 2], boxes: &[CropBox], index: u64, stage: Stage) -> Vec<ViewParams> {
        let (views, seed) = (&self.views, self.seed);
        let (scenes, instances) = match Shows::instances(&self.wanted) {
            0 => {
                let is_scene = |view: &&ViewSpec| view.shows == Shows::Scene;
                let count = self.wanted.iter().filter(is_scene).count();
                let scenes = augment::draw_views(size, views, stage, seed, index, count);
                (scenes, Vec::new())
            }
            count => {
                let ScenesAndInstances {
                    scenes, instances, ..
                } = augment::draw_instances(size, boxes, views, stage, [seed, index], count);
                (scenes.to_vec(), instances)
            }
        };
        let mut scenes = scenes.into_iter();
        let params = self.wanted.iter().map(|view| match view.shows {
            Shows::Scene => scenes
                .next()
                .expect("as many as are wanted; a method with instances wants two"),
            Shows::Whole => ViewParams::whole(size),
            Shows::Instance { number, like } => instances[number][like].clone(),
        });
        params.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_run_through_the_epochs_and_their_indices_never_meet() {
        // 10 images in batches of 3: 3 steps per epoch, and one image is left over.
        let of = |step, place| Place::of(step, place, 10, 3);
        assert_eq!(
            of(4, 1),
            Place {
                epoch: 1,
                position: 4,
                index: 14
            }
        );
        let all = (0..9).flat_map(|step| (0..3).map(move |place| of(step, place).index));
        let mut indices: Vec<u64> = all.collect();
        assert!(indices.is_sorted());
        indices.dedup();
        assert_eq!(indices.len(), 27);
    }
}
