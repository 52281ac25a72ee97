//! The figures of a step, by name.

use std::ops::Index;

use burn::tensor::{Int, Tensor};

use crate::{device::failure, error::Result};

/// What a figure is called, and where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// Its key in `metrics.jsonl`, such as `loss_dense`.
    pub name: &'static str,
    /// Its name in TensorBoard, such as `loss/dense`; empty where it is not shown there.
    pub tag: &'static str,
    /// The plot of the curves that shows it.
    pub panel: Panel,
    /// Its name in that plot.
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

/// A plot of the curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    /// Losses: in nats where the method has a [`Panel::LossReference`].
    Loss,
    /// Shares in [0, 1] of positives that win.
    Accuracy,
    /// Spread of the embeddings; 0 is collapse.
    Spread,
    /// A level that losses are compared with.
    LossReference,
    /// It is logged, not drawn.
    Hidden,
}

/// What a step leaves behind, still on the device: a step reads nothing back.
#[derive(Debug, Clone)]
pub struct StepOutput {
    names: Vec<&'static str>,
    on_device: Tensor<1>,
    known: Vec<(&'static str, f64)>,
    /// Whether the gradient overflowed and the learner is as it was, but for its loss scale.
    pub skipped: bool,
    /// For each micro-batch the key cell that the features choose for each query cell [B, N]; empty where a
    /// method matches no cells.
    pub matches: Vec<Tensor<2, Int>>,
}

/// Named one-element tensors of the micro-batches of a step, averaged.
#[derive(Debug, Default)]
pub struct FigureSums {
    names: Vec<&'static str>,
    sum: Option<Tensor<1>>,
    count: usize,
}

impl FigureSums {
    /// Adds the figures of a micro-batch: one-element tensors outside any gradient graph, the same names each time.
    ///
    /// # Panics
    /// When there is none, or the names are others than the first time.
    pub fn add(&mut self, figures: Vec<(&'static str, Tensor<1>)>) {
        let (names, values): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
        let values = Tensor::cat(values, 0);
        match self.sum.take() {
            None => {
                self.names = names;
                self.sum = Some(values);
            }
            Some(sum) => {
                assert_eq!(
                    self.names, names,
                    "the figures of one step have the same names"
                );
                self.sum = Some(sum + values);
            }
        }
        self.count += 1;
    }

    /// The output of the step: the means, the gradient's norm, and figures known without the device.
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
        let sum = self.sum.expect("at least one micro-batch");
        let means = sum / self.count as f64;
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
    /// Reads the figures back; waits for the device.
    ///
    /// # Errors
    /// When the device failed (lost, out of memory).
    pub fn figures(&self) -> Result<Figures> {
        let values = self.on_device.try_to_vec_as();
        Ok(self.named(values.map_err(|e| failure("during a step", e))?))
    }

    /// The same without blocking, which a browser does not allow.
    ///
    /// # Errors
    /// As [`Self::figures`].
    pub async fn figures_async(&self) -> Result<Figures> {
        let data = self.on_device.clone().into_data_async().await;
        let values = data.map_err(|e| failure("during a step", e))?.try_to_vec();
        Ok(self.named(values.map_err(|e| failure("during a step", e))?))
    }

    fn named(&self, values: Vec<f32>) -> Figures {
        let measured = values.into_iter().map(f64::from);
        let measured = self.names.iter().copied().zip(measured);
        Figures(measured.chain(self.known.iter().copied()).collect())
    }
}

/// How far unit vectors [B, D] spread: the standard deviation of their channels over the batch, times √D. About 1 over
/// the whole sphere, 0 when they have collapsed to a point.
pub fn feature_std(vectors: Tensor<2>) -> Tensor<1> {
    let [b, d] = vectors.dims();
    if b < 2 {
        return Tensor::zeros([1], &vectors.device());
    }
    vectors.var(0).sqrt().mean() * (d as f64).sqrt()
}

/// The figures of one step, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    /// The figure of this name, if the step has it.
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|(found, _)| *found == name);
        found.map(|&(_, value)| value)
    }

    /// All figures, in the order of the method.
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
