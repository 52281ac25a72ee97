//! The loop without files, threads and a clock, as a browser would run it.

use std::cell::Cell;

use anyhow::bail;
use burn::tensor::Device;
use densecl::augment::{ViewMaker, draw_two};
use densecl::device::block_on;
use densecl::synthetic::scene_image;
use densecl::world::Alone;

use super::*;
use crate::plan::tiny_settings;

/// Supplies a fixed number of batches of the same scenes, then an error.
struct Scenes<'a> {
    plan: &'a Plan,
    left: u64,
    step: u64,
}

impl Batches for Scenes<'_> {
    fn next(&mut self) -> anyhow::Result<Batch> {
        if self.left == 0 {
            bail!("the scenes are gone");
        }
        self.left -= 1;
        let RunConfig {
            views,
            scenes,
            train,
            ..
        } = &self.plan.config;
        let empty = ViewBytes {
            size: views.size as usize,
            pixels: Vec::new(),
            geometry: Vec::new(),
        };
        let mut batch = Batch {
            step: self.step,
            epoch: self.step / self.plan.steps_per_epoch,
            views: vec![empty; 2],
            images: (0..train.batch_size).collect(),
        };
        let mut maker = ViewMaker::default();
        for &image in &batch.images {
            let pixels = scene_image(train.seed, image as u64, scenes);
            let (width, height) = pixels.dimensions();
            let index = self.step * train.batch_size as u64 + image as u64;
            let params = draw_two(width, height, views, train.seed, index);
            for (view, params) in batch.views.iter_mut().zip(&params) {
                let made = maker.make(&pixels, params, views.size);
                view.pixels.extend_from_slice(made.as_bytes());
                view.geometry.push(params.geometry(views.size));
            }
        }
        self.step += 1;
        Ok(batch)
    }

    fn seconds_waited(&self) -> f64 {
        0.0
    }
}

/// Keeps checkpoints in memory; every query of the clock advances it by a second.
#[derive(Default)]
struct Page {
    seconds: Cell<f64>,
    kept: Vec<u64>,
}

impl Host for Page {
    fn seconds(&self) -> f64 {
        self.seconds.set(self.seconds.get() + 1.0);
        self.seconds.get()
    }

    fn resident_bytes(&self) -> Option<u64> {
        None
    }

    fn keep(&mut self, step: u64, state: Vec<u8>) -> anyhow::Result<PathBuf> {
        assert!(!state.is_empty());
        self.kept.push(step);
        Ok(PathBuf::from(format!("step {step}")))
    }
}

/// Records the steps of all rows it receives.
#[derive(Default)]
struct Rows(Vec<u64>);

impl Observer for Rows {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        if let TrainEvent::Row(row) = event {
            assert!(row.loss.is_finite());
            self.0.push(row.step);
        }
        Ok(())
    }
}

fn plan() -> Plan {
    let config = tiny_settings(&["train.steps=5", "log.every_steps=2"]);
    Plan::new(config, Device::flex(), 4).expect("a plan")
}

/// Trains with this number of batches available.
fn train(plan: &Plan, batches: u64, stop: &AtomicBool) -> (Result<Ended, Failure>, Page, Rows) {
    let mut scenes = Scenes {
        plan,
        left: batches,
        step: 0,
    };
    let (mut page, mut rows) = (Page::default(), Rows::default());
    let learner = plan.learner();
    let mut world = Alone;
    let mut services = Services {
        plan,
        batches: &mut scenes,
        host: &mut page,
        observer: &mut rows,
        world: &mut world,
        stop,
    };
    let trainer = Trainer::new(learner, (0, 0.0), &mut services);
    let ended = trainer.and_then(|trainer| block_on(trainer.run(&mut services)));
    (ended, page, rows)
}

#[test]
fn the_loop_needs_no_files_and_logs_and_keeps_when_the_settings_say() {
    let (ended, page, rows) = train(&plan(), 5, &AtomicBool::new(false));
    let ended = ended.expect("nothing fails");
    assert_eq!((ended.step, ended.interrupted), (5, false));
    // The last step is logged and saved in any case.
    assert_eq!(rows.0, [2, 4, 5]);
    assert_eq!(page.kept, [2, 4, 5]);
    assert!(ended.seconds > 0.0);
}

#[test]
fn data_that_ends_leaves_the_state_of_the_last_step() {
    let (ended, page, _) = train(&plan(), 3, &AtomicBool::new(false));
    let Some(Failure::Data { why, unsaved: None }) = ended.err() else {
        panic!("another end")
    };
    assert_eq!(why.to_string(), "the scenes are gone");
    assert_eq!(page.kept, [2, 3]);
}

#[test]
fn a_run_that_is_stopped_before_its_first_step_takes_none() {
    let (ended, page, rows) = train(&plan(), 5, &AtomicBool::new(true));
    let ended = ended.expect("nothing fails");
    assert_eq!((ended.step, ended.interrupted), (0, true));
    assert!(page.kept.is_empty() && rows.0.is_empty());
}
