//! Linear probing: trains a linear classifier on fixed features of a backbone.

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use rand::seq::SliceRandom;

use crate::{
    config::{OptimConfig, SchedulePer},
    model::{Init, Linear, Tensors},
    optim::{ParameterGradients, Sgd},
    rng::{Purpose, stream},
    schedule::{Progress, learning_rate},
};

/// Settings of the training of a linear layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearConfig {
    /// Number of passes over the samples.
    pub epochs: u64,
    /// Samples per step.
    pub batch: usize,
    /// Learning rate at the start; it falls to 0 along a cosine over the steps.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 256,
            lr: 0.1,
            weight_decay: 0.0,
        }
    }
}

/// A matrix of features, one row per sample.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// The values in row-major order.
    pub values: &'a [f32],
    /// Number of values in a row, C.
    pub width: usize,
}

impl Samples<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// A linear layer on standardised features.
#[derive(Debug, Clone)]
pub struct LinearProbe {
    layer: Linear,
    /// Mean of each feature over the training samples [1, C].
    mean: Tensor<2>,
    /// Inverse standard deviation 1/σ of each feature over the training samples [1, C].
    scale: Tensor<2>,
}

impl LinearProbe {
    /// Trains on `samples` with one label below `classes` each, by SGD with momentum 0.9 on the cross
    /// entropy. The result is a pure function of the arguments.
    ///
    /// Features are standardised by the mean and the standard deviation of the training samples, so that
    /// one learning rate suits features of any scale. This is batch normalisation without its affine part,
    /// as He et al. (2022, MAE, §A.1) use it before their linear layer.
    ///
    /// # Panics
    /// When there is no sample, or the numbers of samples and labels differ.
    pub fn train(
        samples: Samples,
        labels: &[usize],
        classes: usize,
        config: &LinearConfig,
        seed: u64,
        device: &Device,
    ) -> Self {
        let count = labels.len();
        assert!(count > 0 && samples.len() == count, "one label per sample");
        let x = matrix(samples, device);
        let (variance, mean) = x.clone().var_mean_bias(0);
        let batch = config.batch.min(count);
        let steps_per_epoch = count / batch;
        let mut order: Vec<usize> = Vec::new();
        let next = |step: u64| {
            let (epoch, index) = (
                step / steps_per_epoch as u64,
                step as usize % steps_per_epoch,
            );
            if index == 0 {
                order = (0..count).collect();
                order.shuffle(&mut stream(seed, Purpose::Evaluation, epoch));
            }
            let chosen = &order[index * batch..][..batch];
            let targets = chosen.iter().map(|&i| labels[i]).collect();
            Ok((x.clone().select(0, integers(chosen, device)), targets))
        };
        let steps = config.epochs * steps_per_epoch as u64;
        let fitted = Self::fit([mean, variance], classes, steps, config, seed, next);
        match fitted {
            Ok(probe) => probe,
            Err::<_, std::convert::Infallible>(never) => match never {},
        }
    }

    /// Trains for `steps` steps. `next` returns the batch of a step: values [B, C] and B labels. `mean` and
    /// `variance` [1, C] are those of all samples.
    ///
    /// # Errors
    /// The first error of `next`.
    pub fn fit<E>(
        [mean, variance]: [Tensor<2>; 2],
        classes: usize,
        steps: u64,
        config: &LinearConfig,
        seed: u64,
        mut next: impl FnMut(u64) -> Result<(Tensor<2>, Vec<usize>), E>,
    ) -> Result<Self, E> {
        let device = mean.device();
        let init = Init::new(seed, &device);
        let [_, channels] = mean.dims();
        let mut probe = Self {
            layer: Linear::new(&init, "linear", [channels, classes]).trainable(),
            mean,
            scale: (variance + 1e-6).sqrt().recip(),
        };
        let mut sgd = Sgd::new(&OptimConfig {
            weight_decay: config.weight_decay,
            ..OptimConfig::default()
        });
        for step in 0..steps {
            let (values, targets) = next(step)?;
            let logits = probe.layer.forward(probe.standardize(values).autodiff());
            let loss = cross_entropy(logits, &targets);
            let mut gradients = ParameterGradients::default();
            gradients.accumulate(&probe.layer, &loss.backward());
            let progress = Progress {
                step,
                total_steps: steps,
                steps_per_epoch: steps,
            };
            let lr = learning_rate(config.lr, SchedulePer::Step, progress);
            sgd.step(&mut probe.layer, gradients, lr);
        }
        probe.layer = probe.layer.inference();
        Ok(probe)
    }

    /// The same as one linear layer on features that are not standardised.
    pub fn into_layer(self) -> Linear {
        self.layer.for_raw_input(self.mean, self.scale)
    }

    /// Logits of every cell of a feature map: [1, C, h, w] → [1, classes, h, w].
    pub fn forward_map(&self, map: Tensor<4>) -> Tensor<4> {
        let [_, c, h, w] = map.dims();
        let cells = map.reshape([c, h * w]).transpose();
        let logits = self.layer.forward(self.standardize(cells));
        let [_, classes] = logits.dims();
        logits.transpose().reshape([1, classes, h, w])
    }

    /// Logits of N samples: [N, classes].
    pub fn forward(&self, samples: Samples, device: &Device) -> Tensor<2> {
        self.layer
            .forward(self.standardize(matrix(samples, device)))
    }

    fn standardize(&self, x: Tensor<2>) -> Tensor<2> {
        (x - self.mean.clone()) * self.scale.clone()
    }
}

/// Cross entropy of logits [N, classes] with the classes of N samples, the mean over the samples, one element.
pub fn cross_entropy(logits: Tensor<2>, classes: &[usize]) -> Tensor<1> {
    let targets: Tensor<2, Int> = integers(classes, &logits.device().inner()).unsqueeze_dim(1);
    let targets = if logits.is_autodiff() {
        targets.autodiff()
    } else {
        targets
    };
    -log_softmax(logits, 1).gather(1, targets).mean()
}

fn matrix(samples: Samples, device: &Device) -> Tensor<2> {
    let shape = [samples.len(), samples.width];
    Tensor::from_data(TensorData::new(samples.values.to_vec(), shape), device)
}

fn integers(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linearly_separable_is_separated_at_any_scale() {
        // Two features of very different scale; the class depends on their sum after rescaling.
        let values: Vec<f32> = (0..120u32)
            .flat_map(|i| {
                let (a, b) = (
                    f64::from(i * 37 % 101) / 50.0 - 1.0,
                    f64::from(i * 53 % 89) / 44.0 - 1.0,
                );
                [a as f32 * 1e-3, 500.0 + 100.0 * b as f32]
            })
            .collect();
        let labels: Vec<usize> = values
            .chunks(2)
            .map(|v| usize::from(v[0] * 1e3 + (v[1] - 500.0) / 100.0 > 0.1))
            .collect();
        let samples = Samples {
            values: &values,
            width: 2,
        };
        let device = Device::flex();
        let config = LinearConfig {
            epochs: 60,
            batch: 20,
            ..LinearConfig::default()
        };
        let train = |seed| LinearProbe::train(samples, &labels, 2, &config, seed, &device);
        let logits = |probe: LinearProbe| {
            let logits = probe.forward(samples, &device);
            logits.try_into_vec_as::<f32>().expect("values")
        };
        let found = logits(train(1));
        let right = found.chunks(2).zip(&labels);
        let right = right.filter(|(l, label)| usize::from(l[1] > l[0]) == **label);
        assert!(right.count() >= 115);
        assert_eq!(logits(train(1)), found);
        assert_ne!(logits(train(2)), found);
    }
}
