//! The interface between a pre-training method and the rest of the program: the trait [`Method`] gives the method's
//! views, state and figures by name, and its training step.
//!
//! [`DenseCl`] is the default method; with λ = 0 it is MoCo v2. [`Byol`] has neither queue nor negatives; [`UniVip`]
//! adds instances to it, and [`ThreeSat`] attacked pictures. The
//! training loop, checkpoints, metrics and curves use [`Method`] alone, so a new method needs a file in this
//! folder and an entry in [`new`] and [`figures()`].

mod byol;
mod densecl;
mod figures;
mod memory;
mod projector;
mod state;
mod three_sat;
mod univip;

use burn::tensor::{Device, Tensor};

pub(crate) use self::memory::MethodMemory;
pub use self::{
    byol::{Branch, Byol, Online, regression_loss},
    densecl::{DenseCl, key_order},
    figures::{Figure, FigureSums, Figures, Panel, StepOutput, feature_std},
    projector::Projector,
    state::StateVisitor,
    three_sat::ThreeSat,
    univip::{
        UniVip, WithInstances, instance_loss, instance_plan, scene_instance_loss, scene_loss,
    },
};
use crate::{
    augment::ViewGeometry,
    config::{MethodConfig, MethodName, ModelConfig, OptimConfig},
    error::Result,
    loss_scale::LossScale,
    model::Encoder,
    world::World,
};

/// A method that trains an encoder without labels.
pub trait Method: std::fmt::Debug {
    /// Its name in files, such as `densecl`.
    fn name(&self) -> &'static str;

    /// The method that files of weights name. It differs from [`Method::name`] where one implementation covers two
    /// published methods.
    fn published_name(&self) -> &'static str {
        self.name()
    }

    /// The views of each image that a step needs, in the order of [`MicroBatch::views`].
    fn views(&self) -> Vec<ViewSpec>;

    /// The figures that a step measures, in the order in which logs and curves show them. A step may lack some of them.
    fn figures(&self) -> Vec<Figure>;

    /// Passes each part of the state that a checkpoint must hold to `visitor`, under a unique name.
    ///
    /// # Errors
    /// Those of the visitor.
    fn visit_state(&mut self, visitor: &mut dyn StateVisitor) -> Result<()>;

    /// The encoder that is evaluated during training and exported after it.
    fn encoder(&self) -> &Encoder;

    /// Replaces the random initial weights by those of `encoder`, in each network of the method that has this
    /// architecture. To be called before the first step.
    fn begin_with(&mut self, encoder: Encoder);

    /// The dynamic loss scale; `None` unless the precision is f16.
    fn loss_scale(&self) -> Option<LossScale>;

    /// One optimizer step on a batch, given as one or more micro-batches, over which gradients are averaged.
    ///
    /// `micro_batches` are those of the rank of `world`, in the order of the batch; every rank has equally many, and
    /// all call this function together. Afterwards all ranks have the same state and the same figures. One rank passes
    /// [`Alone`](crate::world::Alone).
    ///
    /// # Errors
    /// [`crate::Error::NoGeometry`] when the method needs the geometry of the views and [`ViewBatch::geometry`]
    /// is `None`; the state is then unchanged. [`crate::Error::Ranks`] when another rank has ended, and
    /// [`crate::Error::Device`] when the device failed while the ranks exchanged results; the state must then not be
    /// used any more.
    fn step(
        &mut self,
        micro_batches: Vec<MicroBatch>,
        settings: &StepSettings,
        world: &mut dyn World,
    ) -> Result<StepOutput>;
}

/// The method that the settings select, at step 0.
pub fn new(
    model: &ModelConfig,
    method: &MethodConfig,
    optim: &OptimConfig,
    queue_len: usize,
    seed: u64,
    device: &Device,
) -> Box<dyn Method> {
    match method.name {
        MethodName::DenseCl => {
            Box::new(DenseCl::new(model, method, optim, queue_len, seed, device))
        }
        MethodName::Byol => Box::new(Byol::new(model, method, optim, seed, device)),
        MethodName::UniVip => Box::new(UniVip::new(model, method, optim, seed, device)),
        MethodName::ThreeSat => Box::new(ThreeSat::new(model, method, optim, seed, device)),
    }
}

/// The figures of the method that the settings select. They equal [`Method::figures`], and can be used before the
/// method is built.
pub fn figures(method: &MethodConfig) -> Vec<Figure> {
    match method.name {
        MethodName::DenseCl => DenseCl::figures_with(method),
        MethodName::Byol => Byol::figures_of_a_step(),
        MethodName::UniVip => UniVip::figures_of_a_step(),
        MethodName::ThreeSat => ThreeSat::figures_of_a_step(),
    }
}

/// One of the views that a method needs of each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewSpec {
    /// The name of the view, such as `query`.
    pub name: &'static str,
    /// Side in pixels; `None` = the setting `views.size`.
    pub size: Option<u32>,
    /// What the view shows.
    pub shows: Shows,
}

/// What a view shows of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// A random crop.
    Scene,
    /// The largest centred square of the image, without any augmentation.
    Whole,
    /// A box that lies in the overlap of the first two views, which are scenes: all of it, without a random crop.
    Instance {
        /// Which of the image's instances, from 0.
        number: usize,
        /// Which of the two scenes' settings its colours and its blur are drawn by: 0 or 1.
        like: usize,
    },
}

impl Shows {
    /// The number of instances of an image in these views; 0 where there are only scenes.
    pub fn instances(views: &[ViewSpec]) -> usize {
        let numbers = views.iter().filter_map(|view| match view.shows {
            Self::Scene | Self::Whole => None,
            Self::Instance { number, .. } => Some(number + 1),
        });
        numbers.max().unwrap_or(0)
    }
}

impl ViewSpec {
    /// A view with the side `views.size` of the settings.
    pub const fn usual(name: &'static str) -> Self {
        Self {
            name,
            size: None,
            shows: Shows::Scene,
        }
    }
}

/// Views of the same B images, in the order of [`Method::views`].
#[derive(Debug, Clone)]
pub struct MicroBatch {
    /// One entry for each view, with the same B images in the same order.
    pub views: Vec<ViewBatch>,
}

/// One view of each of B images.
#[derive(Debug, Clone)]
pub struct ViewBatch {
    /// Normalised pixels [B, 3, S, S], without a gradient graph.
    pub pixels: Tensor<4>,
    /// The place of each view in its image, B entries. Only methods whose positives come from the geometry need it.
    pub geometry: Option<Vec<ViewGeometry>>,
}

/// The inputs of a step other than its batch; they change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSettings {
    /// The number of steps before this one. The method's schedules and random draws are functions of it.
    pub step: u64,
    /// The number of steps of the whole run.
    pub total_steps: u64,
    /// Learning rate of this step.
    pub learning_rate: f64,
}

impl StepSettings {
    /// The index of the random stream of micro-batch `index` of the `count` of a step, counted over all ranks; unique
    /// in a run.
    pub fn draw(&self, index: usize, count: usize) -> u64 {
        self.step * count as u64 + index as u64
    }
}
