//! The classifiers that are attacked: a linear layer on frozen features, and a fine-tuned backbone.

use anyhow::{Context, bail};
use burn::tensor::Tensor;
use densecl::augment::{ViewConfig, ViewParams, apply};
use densecl::config::{OptimConfig, SchedulePer};
use densecl::features::{Feature, image_batch};
use densecl::model::{Init, Linear, Tensors};
use densecl::optim::{ParameterGradients, Sgd};
use densecl::rng::{Purpose, stream as random};
use densecl::schedule::{Progress, learning_rate};
use densecl::transfer::linear::{LinearConfig, LinearProbe, Samples, cross_entropy};
use image::RgbImage;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::Serialize;

use super::{Classifier, Pictures, with_head};
use crate::backbone::Backbone;
use crate::stream::stream;

/// The loss is checked for NaN, and shown, every this many steps.
const NOTE_EVERY: u64 = 10;

/// Settings of the fine-tuning.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FineTuneConfig {
    /// Passes over the training pictures.
    pub epochs: u64,
    /// Pictures per step.
    pub batch: usize,
    /// Base learning rate, with cosine decay to 0.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

impl Default for FineTuneConfig {
    fn default() -> Self {
        Self {
            epochs: 25,
            batch: 64,
            lr: 0.02,
            weight_decay: 1e-4,
        }
    }
}

impl FineTuneConfig {
    /// # Errors
    /// For the first setting that is out of range; the message names its option.
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        if !(1..=100_000).contains(&self.epochs) {
            bail!(
                "--fine-tune-epochs {}: must be between 1 and 100,000",
                self.epochs
            );
        }
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            bail!("--fine-tune-lr {}: must be above 0", self.lr);
        }
        Ok(())
    }
}

/// Trains a linear layer on the features of the frozen backbone, averaged over their cells.
///
/// # Errors
/// When the device fails.
pub(super) fn linear(
    backbone: &Backbone,
    train: &Pictures,
    classes: usize,
    config: &LinearConfig,
    seed: u64,
) -> anyhow::Result<Classifier> {
    let mut values = Vec::new();
    stream(
        backbone,
        Feature::Stage4,
        train.images.len(),
        "features",
        |i| Ok((train.images[i].clone(), ())),
        |_, (), map| {
            let [_, channels, h, w] = map.dims();
            let mean: Tensor<3> = map.reshape([1, channels, h * w]).mean_dim(2);
            let of_picture = mean.try_into_vec_as::<f32>();
            values.extend(of_picture.context("reading features back from the device")?);
            Ok(())
        },
    )?;
    let samples = Samples {
        values: &values,
        width: backbone.channels(Feature::Stage4),
    };
    let device = &backbone.device;
    let probe = LinearProbe::train(samples, &train.classes, classes, config, seed, device);
    Ok(with_head(backbone, probe.into_layer()))
}

/// Trains a copy of the backbone and a linear layer together, on random crops and reflections of the pictures.
///
/// # Errors
/// When the loss is not finite, or the device fails.
pub(super) fn fine_tuned(
    backbone: &Backbone,
    train: &Pictures,
    classes: usize,
    config: &FineTuneConfig,
    seed: u64,
) -> anyhow::Result<Classifier> {
    let channels = backbone.channels(Feature::Stage4);
    let head = Linear::new(
        &Init::new(seed, &backbone.device),
        "linear",
        [channels, classes],
    );
    let mut network = with_head(backbone, head).trainable();
    let mut sgd = Sgd::new(&OptimConfig {
        weight_decay: config.weight_decay,
        ..OptimConfig::default()
    });
    let count = train.images.len();
    let batch = config.batch.min(count);
    let per_epoch = (count / batch) as u64;
    let steps = config.epochs * per_epoch;
    let gauge = backbone.watch.begin("fine-tuning", steps);
    let mut order: Vec<usize> = Vec::new();
    for step in 0..steps {
        let (epoch, index) = (step / per_epoch, (step % per_epoch) as usize);
        if index == 0 {
            order = (0..count).collect();
            order.shuffle(&mut random(seed, Purpose::Evaluation, epoch));
        }
        let chosen = &order[index * batch..][..batch];
        let views = chosen.par_iter().enumerate().map(|(place, &i)| {
            let draw = step * batch as u64 + place as u64;
            augmented(&train.images[i], seed, draw)
        });
        let views: Vec<RgbImage> = views.collect();
        let targets: Vec<usize> = chosen.iter().map(|&i| train.classes[i]).collect();
        let images = image_batch(&views, &backbone.device).autodiff();
        let loss = cross_entropy(network.classify_train(images), &targets);
        if step % NOTE_EVERY == 0 || step + 1 == steps {
            let value = loss.clone().inner().into_scalar::<f32>();
            if !value.is_finite() {
                bail!("the loss is not finite in step {step}: try a smaller --fine-tune-lr");
            }
            gauge.relabel(&format!("fine-tuning, loss {value:.3}"));
        }
        let mut gradients = ParameterGradients::default();
        gradients.accumulate(&network, &loss.backward());
        let progress = Progress {
            step,
            total_steps: steps,
            steps_per_epoch: steps,
        };
        let rate = learning_rate(config.lr, SchedulePer::Step, progress);
        sgd.step(&mut network, gradients, rate);
        gauge.advance(1);
    }
    Ok(network.inference())
}

/// A crop of at least half of a square picture, perhaps mirrored, of the same size.
fn augmented(image: &RgbImage, seed: u64, draw: u64) -> RgbImage {
    let config = ViewConfig {
        size: image.width(),
        scale: [0.5, 1.0],
        jitter_p: 0.0,
        grayscale_p: 0.0,
        blur_p: 0.0,
        ..ViewConfig::default()
    };
    let mut rng = random(seed, Purpose::Views, draw);
    let params = ViewParams::draw(&mut rng, image.width(), image.height(), &config);
    apply(image, &params, config.size).image
}
