//! A run of the training loop with all that it works with.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use densecl::checkpoint::Checkpoint;
use densecl::method::{Figure, Method, Panel};
use densecl::model::{Encoder, Tensors};
use densecl::world::Alone;
use densecl_train::config::RunConfig;
use densecl_train::held_out::{HeldOutFigures, Untrained};
use densecl_train::in_memory::{Images, InMemory};
use densecl_train::plan::Plan;
use densecl_train::published::weights_file_async;
use densecl_train::settings;
use densecl_train::trainer::{Services, Trainer};
use serde::Serialize;

use super::held_out::{Measuring, Pairs};
use super::page::{Listener, Page, seconds};
use super::{Outcome, failed};

/// A run, from its plan on.
pub(super) struct Run {
    pub(super) plan: Plan,
    batches: InMemory,
    pairs: Pairs,
    stop: AtomicBool,
    world: Alone,
    /// The learner before the first step and after the last; between them the loop has it.
    learner: Option<Box<dyn Method>>,
    /// The untrained network, until the first step.
    untrained: Option<Untrained>,
    trainer: Option<Trainer>,
    measuring: Option<Measuring>,
}

/// A figure of the method, as the page is told of it.
#[derive(Serialize)]
struct ShownFigure {
    name: &'static str,
    panel: &'static str,
    label: &'static str,
}

impl From<Figure> for ShownFigure {
    fn from(figure: Figure) -> Self {
        Self {
            name: figure.name,
            panel: match figure.panel {
                Panel::Loss => "loss",
                Panel::Accuracy => "accuracy",
                Panel::Spread => "spread",
                Panel::LossReference => "loss-reference",
                Panel::Hidden => "hidden",
            },
            label: figure.label,
        }
    }
}

/// The run as the page is told of it: `StartedDetail` of `js/training.d.ts`, as far as the module knows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    step: u64,
    total_steps: u64,
    steps_per_epoch: u64,
    batch_size: usize,
    images: usize,
    held_out: usize,
    words: String,
    figures: Vec<ShownFigure>,
    settings: String,
}

/// The progress of a measurement, and at its end the figures.
pub(super) enum Progress {
    /// Parts done, and all parts.
    Under(usize, usize),
    /// All is done; the figures where there are pairs, and the step of the network.
    Done(Option<(u64, HeldOutFigures)>),
}

impl Run {
    /// A run on `images` that holds out `held_out`; at step 0, or at that of the checkpoint `state` after so many seconds.
    pub(super) fn new(
        config: RunConfig,
        device: &Device,
        images: Images,
        pairs: Pairs,
        state: Option<(Vec<u8>, f64)>,
        page: &mut Page,
        listener: &mut Listener,
    ) -> Outcome<Self> {
        let plan = Plan::new(config, device.clone(), images.count()).map_err(failed)?;
        let mut learner = plan.learner();
        let clock = page.clock.clone();
        let clock = Box::new(move || seconds(&clock));
        let batches = InMemory::new(images, &plan, &learner.views(), clock);
        let mut run = Self {
            pairs,
            batches,
            stop: AtomicBool::new(false),
            world: Alone,
            learner: None,
            untrained: None,
            trainer: None,
            measuring: None,
            plan,
        };
        match state {
            None => {
                run.untrained = Some(Untrained::new(&run.plan));
                run.learner = Some(learner);
            }
            Some((bytes, seconds)) => {
                let saved = Checkpoint::read(&bytes, &run.plan.config.model)?;
                drop(bytes);
                let info = saved.restore(&mut *learner)?;
                run.learner = Some(learner);
                run.begin((info.step, seconds), page, listener)?;
            }
        }
        Ok(run)
    }

    /// The parts of the run that the loop works with, and the loop.
    fn parts<'a>(
        &'a mut self,
        page: &'a mut Page,
        listener: &'a mut Listener,
    ) -> (Services<'a>, &'a mut Option<Trainer>) {
        let services = Services {
            plan: &self.plan,
            batches: &mut self.batches,
            host: page,
            observer: listener,
            world: &mut self.world,
            stop: &self.stop,
        };
        (services, &mut self.trainer)
    }

    /// Gives the learner to the loop, after so many steps and seconds of training.
    pub(super) fn begin(
        &mut self,
        begun: (u64, f64),
        page: &mut Page,
        listener: &mut Listener,
    ) -> Outcome<()> {
        let learner = self.learner.take().expect("the loop has not begun");
        self.untrained = None;
        self.stop.store(false, Ordering::SeqCst);
        self.batches.go_to(begun.0, self.plan.total_steps);
        let (mut services, trainer) = self.parts(page, listener);
        *trainer = Some(Trainer::new(learner, begun, &mut services)?);
        Ok(())
    }

    /// Whether the loop has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.trainer.is_some()
    }

    /// Steps taken.
    pub(super) fn step(&self) -> u64 {
        self.trainer.as_ref().map_or(0, Trainer::step)
    }

    /// Ends the run with its next step.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Takes one step. Returns whether it was the last.
    pub(super) async fn advance(
        &mut self,
        page: &mut Page,
        listener: &mut Listener,
    ) -> Outcome<bool> {
        let (mut services, trainer) = self.parts(page, listener);
        let trainer = trainer.as_mut().expect("the loop has begun");
        trainer.advance(&mut services).await?;
        Ok(trainer.is_done(services.plan))
    }

    /// Keeps the present state in `page.kept`.
    pub(super) async fn keep(&mut self, page: &mut Page, listener: &mut Listener) -> Outcome<()> {
        let (mut services, trainer) = self.parts(page, listener);
        let trainer = trainer.as_mut().expect("the loop has begun");
        Ok(trainer.save(&mut services).await?)
    }

    /// Makes the run `steps` steps longer, from where it is.
    pub(super) fn prolong(
        &mut self,
        steps: u64,
        page: &mut Page,
        listener: &mut Listener,
    ) -> Outcome<()> {
        let (services, trainer) = self.parts(page, listener);
        let ended = trainer.take().expect("the loop has begun").end(&services);
        self.learner = Some(ended.learner);
        self.plan.total_steps = ended.step + steps;
        self.plan.config.train.steps = self.plan.total_steps;
        self.begin((ended.step, ended.seconds), page, listener)
    }

    fn method(&self) -> &dyn Method {
        match (&self.trainer, &self.learner) {
            (Some(trainer), _) => trainer.learner(),
            (None, Some(learner)) => &**learner,
            (None, None) => unreachable!("either the loop has the learner or the run"),
        }
    }

    /// The network that is shown: the untrained one before the first step.
    fn encoder(&self) -> &Encoder {
        match &self.untrained {
            Some(untrained) => &untrained.encoder,
            None => self.method().encoder(),
        }
    }

    /// The content of `weights.safetensors` as the network is now.
    pub(super) async fn weights(&self) -> Outcome<Vec<u8>> {
        let method = self.method().published_name();
        let file = weights_file_async(&self.plan, self.encoder(), method, self.step());
        file.await.map_err(failed)
    }

    /// The next slice of the measurement: before the first step of the untrained network, which is calibrated first. Without
    /// pairs there is nothing to measure, and nothing is calibrated.
    pub(super) async fn measure(&mut self) -> Outcome<Progress> {
        let pairs = self.pairs.count();
        if pairs == 0 {
            return Ok(Progress::Done(None));
        }
        let mut calibration = 0;
        if let Some(untrained) = &mut self.untrained {
            calibration = Untrained::BATCHES;
            if !untrained.is_calibrated() {
                untrained
                    .pass(&self.plan, &mut self.batches)
                    .map_err(failed)?;
                let done = untrained.batches().min(calibration);
                return Ok(Progress::Under(done, calibration + pairs));
            }
        }
        let mut measuring = match self.measuring.take() {
            Some(measuring) => measuring,
            None => Measuring::begin(self.encoder().clone().inference()),
        };
        let figures = measuring
            .go_on(&mut self.pairs, &self.plan.device)
            .await
            .map_err(failed)?;
        Ok(match figures {
            Some(figures) => Progress::Done(Some((self.step(), figures))),
            None => {
                let done = calibration + measuring.done();
                self.measuring = Some(measuring);
                Progress::Under(done, calibration + pairs)
            }
        })
    }

    /// The run as JSON for the page.
    pub(super) fn describe(&self) -> Outcome<String> {
        let plan = &self.plan;
        let started = Started {
            step: self.step(),
            total_steps: plan.total_steps,
            steps_per_epoch: plan.steps_per_epoch,
            batch_size: plan.config.train.batch_size,
            images: plan.images,
            held_out: self.pairs.pictures(),
            words: plan.config.method.objective(),
            figures: (self.method().figures().into_iter())
                .map(ShownFigure::from)
                .collect(),
            settings: settings::to_toml(&plan.config).map_err(failed)?,
        };
        serde_json::to_string(&started).map_err(|e| failed(e.into()))
    }
}

/// The measurement after `step` steps as JSON for the page.
pub(super) fn measured(step: u64, figures: &HeldOutFigures) -> Outcome<String> {
    #[derive(Serialize)]
    struct Measured<'a> {
        step: u64,
        #[serde(flatten)]
        figures: &'a HeldOutFigures,
    }
    serde_json::to_string(&Measured { step, figures }).map_err(|e| failed(e.into()))
}
