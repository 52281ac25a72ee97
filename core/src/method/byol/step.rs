//! The course of a step with BYOL's two networks, whatever the loss of a micro-batch is: what several ranks exchange,
//! the loss scale, the optimizer, and the target network's update.

use super::{Byol, momentum};
use crate::{
    error::Result,
    method::{FigureSums, MicroBatch, StepOutput, StepSettings},
    model::{RunningStatistics, follow},
    optim::ParameterGradients,
    world::{Share, World},
};
use burn::tensor::Tensor;

/// What the gradients of a micro-batch depend on besides its views.
#[derive(Debug)]
pub(in crate::method) struct Pass<'a> {
    /// The number of the micro-batch in the step, and how many the step has, over all ranks.
    pub(in crate::method) index: usize,
    pub(in crate::method) count: usize,
    /// The loss is divided by this before its backward pass: by the number of micro-batches and the loss scale's
    /// inverse.
    pub(in crate::method) divisor: f64,
    pub(super) of_online: &'a mut RunningStatistics,
    pub(super) of_target: &'a mut RunningStatistics,
}

/// The figures of a micro-batch, by name.
pub(in crate::method) type MicroFigures = Vec<(&'static str, Tensor<1>)>;

impl Byol {
    /// A step of a method with BYOL's networks: `differentiate` returns the gradients of a micro-batch's loss,
    /// divided by [`Pass::divisor`], and its figures; `known` are further figures of the step.
    ///
    /// With a loss scale it waits for the device, to see whether the gradient is finite; a step whose gradient
    /// is not leaves everything as it was, but for the scale.
    pub(in crate::method) fn step_by(
        &mut self,
        micro_batches: Vec<MicroBatch>,
        settings: &StepSettings,
        world: &mut dyn World,
        known: Vec<(&'static str, f64)>,
        differentiate: impl Fn(&mut Self, &MicroBatch, &mut Pass) -> (ParameterGradients, MicroFigures),
    ) -> Result<StepOutput> {
        assert!(!micro_batches.is_empty(), "a step needs a batch");
        let Share { first, count } = Share::of(world, micro_batches.len());
        let momentum = momentum(&self.method, settings);
        let mut gradients = ParameterGradients::default();
        let mut sums = FigureSums::default();
        // What an overflow has to undo. A tensor is a handle: only what changes is held twice.
        let before = (self.loss_scale).map(|_| (self.online.clone(), self.target.clone()));

        let mut of_online = RunningStatistics::begin(&mut self.online, world);
        let mut of_target = RunningStatistics::begin(&mut self.target, world);
        for (index, batch) in micro_batches.into_iter().enumerate() {
            let mut pass = Pass {
                index: first + index,
                count,
                divisor: count as f64 / self.scale(),
                of_online: &mut of_online,
                of_target: &mut of_target,
            };
            let (own, figures) = differentiate(self, &batch, &mut pass);
            gradients.add(own);
            sums.add(figures);
        }

        // Adds what the other ranks computed.
        gradients.sum_over(world)?;
        sums.gather(world)?;
        of_online.finish(&mut self.online, world)?;
        of_target.finish(&mut self.target, world)?;

        let known = [known, vec![("momentum", momentum)]].concat();
        if let Some(scale) = &mut self.loss_scale
            && !scale.unscale(&mut gradients)
        {
            (self.online, self.target) = before.expect("kept where there is a scale");
            return Ok(sums.output(gradients.norm(), known, Vec::new(), true));
        }
        let rate = settings.learning_rate;
        let norm = self.optimizer.step(&mut self.online, gradients, rate);

        // ξ ← τ·ξ + (1−τ)·θ
        follow(&mut self.target, &self.online.branch, momentum);

        Ok(sums.output(norm, known, Vec::new(), false))
    }

    /// The factor of the loss in its backward pass: 1 where the precision wants none.
    pub(in crate::method) fn scale(&self) -> f64 {
        self.loss_scale.map_or(1.0, |scale| scale.factor)
    }
}
