//! The figures of a step, by name.

use std::ops::Index;

use burn::tensor::{Int, Tensor};

use crate::{
    device::{block_on, read},
    error::Result,
    world::{self, World},
};

/// A figure of a training step: its names, and where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// Its key in `metrics.jsonl`, such as `loss_dense`.
    pub name: &'static str,
    /// Its tag in TensorBoard, such as `loss/dense`; empty if it is not written there.
    pub tag: &'static str,
    /// The plot of the training curves that shows it.
    pub panel: Panel,
    /// Its label in the legend of that plot.
    pub label: &'static str,
}

impl Figure {
    /// A figure of this name, TensorBoard tag, plot and label.
    pub const fn of(
        name: &'static str,
        tag: &'static str,
        panel: Panel,
        label: &'static str,
    ) -> Self {
        Self {
            name,
            tag,
            panel,
            label,
        }
    }
}

/// A plot of the training curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    /// Losses: in nats where the method has a [`Panel::LossReference`].
    Loss,
    /// InfoNCE accuracies in [0, 1]: the share of queries whose positive is more similar than every negative.
    Accuracy,
    /// Standard deviation of the embeddings ([`feature_std`]); 0 means collapse.
    Spread,
    /// A horizontal reference line in the plot of losses, in nats.
    LossReference,
    /// The figure is logged but not drawn.
    Hidden,
}

/// The results of a step. They stay on the device until [`Self::figures`] reads them, so that a step need not
/// wait for it.
#[derive(Debug, Clone)]
pub struct StepOutput {
    names: Vec<&'static str>,
    on_device: Tensor<1>,
    known: Vec<(&'static str, f64)>,
    /// Whether the gradient overflowed, so that only the loss scale has changed.
    pub skipped: bool,
    /// For each micro-batch of this rank, the index of the key cell that the features match to each query cell [B, N]. Empty
    /// for a method that matches no cells.
    pub matches: Vec<Tensor<2, Int>>,
}

/// Averages the figures of the micro-batches of a step, on the device.
#[derive(Debug, Default)]
pub struct FigureSums {
    names: Vec<&'static str>,
    /// The figures of each micro-batch, in the order of `names`.
    parts: Vec<Tensor<1>>,
}

impl FigureSums {
    /// Adds the figures of a micro-batch: names and one-element tensors outside any gradient graph.
    ///
    /// # Panics
    /// When `figures` is empty, or its names differ from those of the first micro-batch.
    pub fn add(&mut self, figures: Vec<(&'static str, Tensor<1>)>) {
        let (names, values): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
        if self.parts.is_empty() {
            self.names = names;
        } else {
            assert_eq!(
                self.names, names,
                "the figures of one step have the same names"
            );
        }
        self.parts.push(Tensor::cat(values, 0));
    }

    /// Adds the figures of the other ranks' micro-batches, in the order of the step. Waits for the device, unless this
    /// rank is alone.
    ///
    /// # Errors
    /// When the device failed, or another rank has ended.
    pub fn gather(&mut self, world: &mut dyn World) -> Result<()> {
        self.parts = world::gather(world, std::mem::take(&mut self.parts))?;
        Ok(())
    }

    /// The output of the step: the means over the micro-batches, `grad_norm`, and the figures `known`, which the
    /// host has computed.
    ///
    /// # Panics
    /// When no micro-batch was added.
    pub fn output(
        self,
        grad_norm: Option<Tensor<1>>,
        known: Vec<(&'static str, f64)>,
        matches: Vec<Tensor<2, Int>>,
        skipped: bool,
    ) -> StepOutput {
        let count = self.parts.len() as f64;
        let sum = self.parts.into_iter().reduce(|a, b| a + b);
        let means = sum.expect("at least one micro-batch") / count;
        let norm = grad_norm.unwrap_or_else(|| Tensor::zeros([1], &means.device()));
        let mut names = self.names;
        names.push("grad_norm");
        StepOutput {
            names,
            on_device: Tensor::cat(vec![means, norm], 0),
            known,
            skipped,
            matches,
        }
    }
}

impl StepOutput {
    /// Waits until the device has computed the figures, and reads them.
    ///
    /// # Errors
    /// When the device failed (lost, out of memory).
    pub fn figures(&self) -> Result<Figures> {
        block_on(self.figures_async())
    }

    /// [`Self::figures`] without blocking the thread, for browsers, where blocking is not allowed.
    ///
    /// # Errors
    /// As [`Self::figures`].
    pub async fn figures_async(&self) -> Result<Figures> {
        let values = read(self.on_device.to_data_async(), "during a step").await?;
        Ok(self.named(values))
    }

    fn named(&self, values: Vec<f32>) -> Figures {
        let measured = values.into_iter().map(f64::from);
        let measured = self.names.iter().copied().zip(measured);
        Figures(measured.chain(self.known.iter().copied()).collect())
    }
}

/// The spread of unit vectors [B, D]: the standard deviation over the batch, averaged over the channels, times
/// √D. It is about 1 for vectors uniform on the sphere, and 0 when all are equal (collapse) or B < 2. One
/// element.
pub fn feature_std(vectors: Tensor<2>) -> Tensor<1> {
    let [b, d] = vectors.dims();
    if b < 2 {
        return Tensor::zeros([1], &vectors.device());
    }
    vectors.var(0).sqrt().mean() * (d as f64).sqrt()
}

/// The figures of one step by name, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    /// The figure of this name, or `None` if the step has none of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(found, _)| *found == name);
        found.map(|&(_, value)| value)
    }

    /// All figures: those averaged over micro-batches, `grad_norm`, then those that the host has computed.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.0.iter().copied()
    }
}

impl Index<&str> for Figures {
    type Output = f64;

    /// # Panics
    /// When the step has no figure of this name.
    fn index(&self, name: &str) -> &f64 {
        let found = self.0.iter().find(|(found, _)| *found == name);
        found.map_or_else(
            || panic!("the step has no figure {name}"),
            |(_, value)| value,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_the_batch_and_none_where_there_is_none() {
        let spread = |vectors: &[[f32; 2]]| {
            let values: Vec<f32> = vectors.concat();
            let device = burn::tensor::Device::flex();
            let vectors = Tensor::<1>::from_data(values.as_slice(), &device);
            let found: f32 = feature_std(vectors.reshape([-1, 2])).into_scalar();
            found
        };
        // Along one axis the two values ±1 have the sample variance 2, along the other 0: (√2 + 0) / 2 · √2.
        assert!((spread(&[[1.0, 0.0], [-1.0, 0.0]]) - 1.0).abs() < 1e-6);
        assert_eq!(spread(&[[0.6, 0.8], [0.6, 0.8]]), 0.0);
        assert_eq!(spread(&[[1.0, 0.0]]), 0.0);
    }
}
