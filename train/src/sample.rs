//! From the images of a run to the samples of its batches: which image stands where, and the views that are drawn of
//! it. The loader of programs with threads and the one of browsers ([`crate::in_memory`]) make the same batches,
//! because both use these functions.

use densecl::augment::{self, Stage, ViewConfig, ViewGeometry, ViewMaker};
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

/// The side in pixels of each view at a stage; `None` in `sizes` = as the stage says.
pub(crate) fn sides(sizes: &[Option<u32>], stage: Stage) -> impl Iterator<Item = u32> {
    sizes.iter().map(move |size| size.unwrap_or(stage.size))
}

/// Makes the views of one sample after the other, in buffers that are used again.
#[derive(Debug)]
pub(crate) struct Sampler {
    views: ViewConfig,
    sizes: Vec<Option<u32>>,
    seed: u64,
    maker: ViewMaker,
}

impl Sampler {
    /// `sizes` are the sides of the views in pixels; `None` = as the stage of a step says.
    pub(crate) fn new(views: ViewConfig, sizes: Vec<Option<u32>>, seed: u64) -> Self {
        Self {
            views,
            sizes,
            seed,
            maker: ViewMaker::default(),
        }
    }

    /// Draws the views of the sample numbered `index` and writes them to `views`, one after the other, each [3, S, S]
    /// with its own side S. Returns the crop of each view in the image.
    pub(crate) fn make(
        &mut self,
        image: &RgbImage,
        index: u64,
        stage: Stage,
        views: &mut Vec<u8>,
    ) -> Vec<ViewGeometry> {
        let source = image.dimensions().into();
        let count = self.sizes.len();
        let params = augment::draw_views(source, &self.views, stage, self.seed, index, count);
        views.clear();
        let mut geometry = Vec::with_capacity(count);
        for (params, side) in params.iter().zip(sides(&self.sizes, stage)) {
            let view = self.maker.make(image, params, side);
            views.extend_from_slice(view.as_bytes());
            geometry.push(params.geometry(side));
        }
        geometry
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
