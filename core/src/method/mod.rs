//! What a pre-training method is to the rest of the program: networks, state and figures by name, the views it
//! wants, and a step.
//!
//! [`DenseCl`] is the first; MoCo v2 is the same with λ = 0. [`Byol`] has neither queue nor negatives. The loop, checkpoints, metrics and curves know only the
//! trait [`Method`], so that a new method is a file in this folder and a line where methods are chosen.

mod byol;
mod densecl;
mod figures;
mod memory;
mod state;

use burn::tensor::{Device, Tensor};

pub(crate) use self::memory::MethodMemory;
pub use self::{
    byol::{Branch, Byol, Online, regression_loss},
    densecl::{DenseCl, key_order},
    figures::{Figure, FigureSums, Figures, Panel, StepOutput, feature_std},
    state::StateVisitor,
};
use crate::{
    augment::ViewGeometry,
    config::{MethodConfig, MethodName, ModelConfig, OptimConfig},
    error::Result,
    loss_scale::LossScale,
    model::Encoder,
};

/// A way to train an encoder without labels.
pub trait Method: std::fmt::Debug {
    /// Its name in files, such as `densecl`.
    fn name(&self) -> &'static str;

    /// The views of each image that a step takes, in their order.
    fn views(&self) -> Vec<ViewSpec>;

    /// What a step measures, in the order of [`StepOutput`]'s figures and of the curves.
    fn figures(&self) -> Vec<Figure>;

    /// Shows every part of the state that a checkpoint has to hold, each by a name of its own.
    ///
    /// # Errors
    /// Those of the visitor.
    fn visit_state(&mut self, visitor: &mut dyn StateVisitor) -> Result<()>;

    /// The network that is measured during training and exported after it.
    fn encoder(&self) -> &Encoder;

    /// Begins with this encoder instead of a random one: every network of the method that is like it, before the first
    /// step.
    fn begin_with(&mut self, encoder: Encoder);

    /// The factor of the loss, where the precision wants one.
    fn loss_scale(&self) -> Option<LossScale>;

    /// One step on a batch, given as one or more micro-batches whose gradients are averaged.
    ///
    /// # Errors
    /// [`crate::Error::NoGeometry`] when the method needs the views' geometry and it is not there; nothing has
    /// changed then.
    fn step(
        &mut self,
        micro_batches: Vec<MicroBatch>,
        settings: &StepSettings,
    ) -> Result<StepOutput>;
}

/// The method that the settings choose, at step 0.
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
    }
}

/// The figures of the method that the settings choose.
pub fn figures(method: &MethodConfig) -> Vec<Figure> {
    match method.name {
        MethodName::DenseCl => DenseCl::figures_with(method),
        MethodName::Byol => Byol::figures_of_a_step(),
    }
}

/// One of the views that a method wants of each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewSpec {
    /// Such as `query`.
    pub name: &'static str,
    /// Pixels of a side; `None` = `views.size` of the settings.
    pub size: Option<u32>,
}

impl ViewSpec {
    /// A view of the size that the settings say.
    pub const fn usual(name: &'static str) -> Self {
        Self { name, size: None }
    }
}

/// Views of the same B images, in the order of [`Method::views`].
#[derive(Debug, Clone)]
pub struct MicroBatch {
    /// One entry for each view.
    pub views: Vec<ViewBatch>,
}

/// One view of each of B images.
#[derive(Debug, Clone)]
pub struct ViewBatch {
    /// Normalised pixels [B, 3, S, S], without a gradient graph.
    pub pixels: Tensor<4>,
    /// Where each view lies in its image, B entries; only methods that know true positives ask.
    pub geometry: Option<Vec<ViewGeometry>>,
}

/// What changes from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSettings {
    /// Steps taken before this one. Schedules of the method and its random draws depend on it.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Learning rate of this step.
    pub learning_rate: f64,
}

impl StepSettings {
    /// The number, unique in a run, by which micro-batch `index` of `count` draws at random.
    pub fn draw(&self, index: usize, count: usize) -> u64 {
        self.step * count as u64 + index as u64
    }
}
