//! Batches of images in memory, made by the calling thread when they are needed: for browsers, which have neither files
//! nor, in most pages, threads.

use std::fmt;

use densecl::method::ViewSpec;
use densecl::synthetic::{SceneConfig, scene_image};
use image::RgbImage;

use crate::batch::{Batch, Batches};
use crate::config::RunConfig;
use crate::order::epoch_order;
use crate::plan::Plan;
use crate::sample::{Place, Sampler, sides, stage};

/// The images of a run.
#[derive(Debug)]
pub enum Images {
    /// The embedded scenes. Each is rendered when it is first needed, so that a run begins at once.
    Scenes {
        /// How they look.
        config: SceneConfig,
        /// The seed of the run.
        seed: u64,
        /// The scenes rendered so far, by number.
        rendered: Vec<Option<RgbImage>>,
    },
    /// Pictures.
    Pictures(Vec<RgbImage>),
}

impl Images {
    /// The scenes that the settings name.
    pub fn scenes(config: &RunConfig) -> Self {
        Self::Scenes {
            config: config.scenes.clone(),
            seed: config.train.seed,
            rendered: vec![None; config.data.scene_count],
        }
    }

    /// The number of images.
    pub fn count(&self) -> usize {
        match self {
            Self::Scenes { rendered, .. } => rendered.len(),
            Self::Pictures(pictures) => pictures.len(),
        }
    }

    fn get(&mut self, image: usize) -> &RgbImage {
        match self {
            Self::Scenes {
                config,
                seed,
                rendered,
            } => rendered[image].get_or_insert_with(|| scene_image(*seed, image as u64, config)),
            Self::Pictures(pictures) => &pictures[image],
        }
    }
}

/// Makes the batches of a run; the same as those of the program, whose loader has threads.
pub struct InMemory {
    images: Images,
    config: RunConfig,
    total_steps: u64,
    wanted: Vec<ViewSpec>,
    sampler: Sampler,
    /// The views of the present sample.
    views: Vec<u8>,
    next_step: u64,
    /// An epoch and its order of images.
    order: (u64, Vec<usize>),
    /// Gives the time in seconds since a fixed moment.
    clock: Box<dyn Fn() -> f64>,
    seconds: f64,
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InMemory {{ next_step: {} }}", self.next_step)
    }
}

impl InMemory {
    /// Batches of the images of `plan` for a method that takes the views `wanted`, from step 0 on. `clock` gives the
    /// time in seconds since a fixed moment.
    ///
    /// # Panics
    /// When `images` are not as many as the plan is for.
    pub fn new(
        images: Images,
        plan: &Plan,
        wanted: &[ViewSpec],
        clock: Box<dyn Fn() -> f64>,
    ) -> Self {
        assert_eq!(images.count(), plan.images, "the images of the plan");
        let config = plan.config.clone();
        let seed = config.train.seed;
        Self {
            sampler: Sampler::new(config.views.clone(), wanted.to_vec(), seed),
            order: (0, epoch_order(seed, 0, images.count())),
            images,
            config,
            total_steps: plan.total_steps,
            wanted: wanted.to_vec(),
            views: Vec::new(),
            next_step: 0,
            clock,
            seconds: 0.0,
        }
    }

    /// Continues with the batch of `step`, in a run of `total_steps` steps.
    pub fn go_to(&mut self, step: u64, total_steps: u64) {
        self.next_step = step;
        self.total_steps = total_steps;
    }
}

impl Batches for InMemory {
    fn next(&mut self) -> anyhow::Result<Batch> {
        let begun = (self.clock)();
        let (count, size) = (self.images.count(), self.config.train.batch_size);
        let step = self.next_step;
        let stage = stage(&self.config.views, step, self.total_steps);
        let epoch = Place::of(step, 0, count, size).epoch;
        if self.order.0 != epoch {
            self.order = (epoch, epoch_order(self.config.train.seed, epoch, count));
        }
        let mut batch = Batch::empty(step, epoch, sides(&self.wanted, stage), size);
        for place in 0..size {
            let Place {
                position, index, ..
            } = Place::of(step, place, count, size);
            let image = self.order.1[position];
            let pixels = self.images.get(image);
            // Without boxes: those of a method with instances are random.
            let geometry = (self.sampler).make(pixels, &[], index, stage, &mut self.views);
            batch.push(image, &self.views, geometry);
        }
        self.next_step += 1;
        self.seconds += (self.clock)() - begun;
        Ok(batch)
    }

    /// Seconds spent making batches: nobody else makes them, so the loop waits all this time.
    fn seconds_waited(&self) -> f64 {
        self.seconds
    }
}

#[cfg(all(test, feature = "files"))]
mod tests {
    use std::sync::Arc;

    use burn::tensor::Device;
    use log::Level;

    use super::*;
    use crate::data::Source;
    use crate::data::loader::{Loader, LoaderConfig};
    use crate::plan::tiny_settings;

    #[test]
    fn batches_in_memory_are_those_of_the_programs_loader() {
        let settings = [
            "data.scene_count=10",
            "train.steps=9",
            "views.curriculum.region=0.5",
        ];
        let config = tiny_settings(&settings);
        let plan = Plan::new(config, Device::flex(), 10).expect("a plan");
        let views = plan.learner().views();
        let scenes = Images::scenes(&plan.config);
        let mut here = InMemory::new(scenes, &plan, &views, Box::new(|| 0.0));

        let RunConfig { scenes, train, .. } = &plan.config;
        let all = (0..10).map(|i| scene_image(train.seed, i, scenes));
        let source = Arc::new(Source::Memory(all.collect()));
        let config = LoaderConfig::of(&plan, &views, &Arc::default(), Level::Debug);
        let mut there = Loader::start(source, config, 0).expect("a loader");
        // Two batches per epoch: the fifth is in the third epoch.
        for _ in 0..5 {
            let made = here.next().expect("a batch");
            assert_eq!(made, there.next().expect("a batch"));
        }
        here.go_to(1, plan.total_steps);
        assert_eq!(here.next().expect("a batch").step, 1);
    }
}
