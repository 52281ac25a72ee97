//! Trains a detector on a backbone, and runs it.

use anyhow::Context;
use burn::tensor::Tensor;
use densecl::config::{OptimConfig, SchedulePer};
use densecl::features::{Feature, image_batch};
use densecl::model::{Init, Tensors};
use densecl::optim::{ParameterGradients, Sgd};
use densecl::rng::{Purpose, stream as random};
use densecl::schedule::{Progress, learning_rate};
use densecl::transfer::FineTuned;
use densecl::transfer::detection::{DecodeConfig, assign};
use image::RgbImage;
use rand::RngExt;
use rayon::prelude::*;

use super::Settings;
use super::head::{Finding, Head, Loss, Noted, Shown};
use super::pictures::{Features, Placement, open};
use crate::backbone::Backbone;
use crate::objects::{Objects, Picture};
use crate::stream::stream;

/// Steps of linear warm-up, but at most a tenth of all steps.
const WARMUP_STEPS: u64 = 100;
/// The gradient is clipped to this norm.
const CLIP_NORM: f64 = 10.0;
/// The loss is recorded, and checked for NaN, every this many steps.
const NOTE_EVERY: u64 = 10;

/// The result of training.
pub(super) struct Trained {
    /// What was found in each validation picture.
    pub(super) findings: Vec<Finding>,
    /// The parts of the loss at every tenth step.
    pub(super) losses: Vec<Noted>,
}

/// The trainable part.
enum Learner {
    Frozen(Box<Head>),
    FineTuned(Box<FineTuned<Head>>),
}

/// The pictures, and their features where the backbone is frozen and they fit into memory.
pub(super) struct Data<'a> {
    pub(super) objects: &'a Objects,
    pub(super) train: Option<Features>,
    pub(super) val: Option<Features>,
}

/// Trains a new head (and the backbone if `fine_tune` is set) and runs it on the validation pictures. A pure
/// function of its arguments.
///
/// # Errors
/// When a picture cannot be decoded, and when the loss is not finite.
pub(super) fn train(
    backbone: &Backbone,
    data: &Data,
    settings: &Settings,
    config: &DecodeConfig,
    seed: u64,
) -> anyhow::Result<Trained> {
    let look = settings.look;
    let init = Init::new(seed, &backbone.device);
    let channels = backbone.channels(look.feature);
    let stride = stride(backbone, look.feature)?;
    let classes = data.objects.classes.len();
    let head = Head::new(settings, &init, channels, classes);
    let mut learner = if settings.fine_tune {
        let network = FineTuned {
            backbone: backbone.encoder.backbone.clone(),
            head,
        };
        Learner::FineTuned(Box::new(network.trainable()))
    } else {
        Learner::Frozen(Box::new(head.trainable()))
    };
    let mut sgd = Sgd::new(&OptimConfig {
        clip_norm: CLIP_NORM,
        ..OptimConfig::default()
    });

    let mut losses = Vec::new();
    let gauge = backbone.watch.begin("training", settings.steps);
    for step in 0..settings.steps {
        let lr = rate(settings, step);
        let batch = batch(backbone, data, settings, stride, [seed, step])?;
        let loss = match &mut learner {
            Learner::Frozen(head) => {
                let loss = head.loss(batch.input.autodiff(), batch.shown);
                update(&mut **head, &mut sgd, &loss, lr);
                loss
            }
            Learner::FineTuned(network) => {
                let map = network.features_train(batch.input.autodiff(), look.feature, 1);
                let loss = network.head.loss(map, batch.shown);
                update(&mut **network, &mut sgd, &loss, lr);
                loss
            }
        };
        if step % NOTE_EVERY == 0 || step + 1 == settings.steps {
            losses.push(loss.noted(step)?);
        }
        gauge.advance(1);
    }
    drop(gauge);

    let (backbone, head, val) = match learner {
        Learner::Frozen(head) => (backbone.clone(), *head, data.val.as_ref()),
        Learner::FineTuned(network) => {
            let mut tuned = backbone.clone();
            tuned.encoder.backbone = network.backbone.inference();
            (tuned, network.head, None)
        }
    };
    let findings = detect(
        &backbone,
        &head.inference(),
        &data.objects.val,
        val,
        settings,
        config,
    )?;
    Ok(Trained { findings, losses })
}

/// Pixels per cell of the feature map.
fn stride(backbone: &Backbone, feature: Feature) -> anyhow::Result<usize> {
    backbone.stride(feature).context(
        "--feature dense: this dense head pools to a grid of its own, over which boxes cannot be \
         placed; take a stage, such as stage4",
    )
}

fn rate(settings: &Settings, step: u64) -> f64 {
    let warmup = WARMUP_STEPS.min(settings.steps / 10);
    let progress = Progress {
        step,
        total_steps: settings.steps,
        steps_per_epoch: 1,
    };
    let rise = ((step + 1) as f64 / (warmup + 1) as f64).min(1.0);
    rise * learning_rate(settings.lr, SchedulePer::Step, progress)
}

/// The input and targets of a training step.
struct Batch<'a> {
    /// Features where the backbone is frozen, normalised pictures where it is trained.
    input: Tensor<4>,
    shown: Vec<Shown<'a>>,
}

/// Draws pictures at random and mirrors half of them.
fn batch<'a>(
    backbone: &Backbone,
    data: &Data<'a>,
    settings: &Settings,
    stride: usize,
    [seed, step]: [u64; 2],
) -> anyhow::Result<Batch<'a>> {
    let pictures: &'a [Picture] = &data.objects.train;
    let mut rng = random(seed, Purpose::Evaluation, step);
    let drawn: Vec<(usize, bool)> = (0..settings.batch)
        .map(|_| (rng.random_range(0..pictures.len()), rng.random()))
        .collect();
    let look = settings.look;
    let (input, placements): (Tensor<4>, Vec<Placement>) = match &data.train {
        Some(features) => {
            let (maps, placements) = drawn
                .iter()
                .map(|(i, m)| features.of(*i, *m).clone())
                .unzip();
            (Tensor::cat(maps, 0), placements)
        }
        None => {
            let opened: Vec<(RgbImage, Placement)> = drawn
                .par_iter()
                .map(|(i, mirrored)| open(&pictures[*i], look.size, *mirrored))
                .collect::<anyhow::Result<_>>()?;
            let (images, placements): (Vec<_>, _) = opened.into_iter().unzip();
            let input = if settings.fine_tune {
                image_batch(&images, &backbone.device)
            } else {
                backbone.features(&images, look.feature)
            };
            (input, placements)
        }
    };
    let cells = look.size as usize / stride;
    let shown = drawn.iter().zip(placements).map(|((i, _), placement)| {
        let picture = &pictures[*i];
        Shown {
            targets: assign(&placement.objects(picture), [cells; 2], stride as f64),
            placement,
            picture,
        }
    });
    Ok(Batch {
        shown: shown.collect(),
        input,
    })
}

fn update<M: Tensors>(network: &mut M, sgd: &mut Sgd, loss: &Loss, lr: f64) {
    let mut gradients = ParameterGradients::default();
    gradients.accumulate(network, &loss.total().backward());
    sgd.step(network, gradients, lr);
}

/// Runs the head on each picture.
fn detect(
    backbone: &Backbone,
    head: &Head,
    pictures: &[Picture],
    kept: Option<&Features>,
    settings: &Settings,
    config: &DecodeConfig,
) -> anyhow::Result<Vec<Finding>> {
    let look = settings.look;
    let stride = stride(backbone, look.feature)? as f64;
    let mut all = Vec::with_capacity(pictures.len());
    let mut one = |i: usize, placement: &Placement, map: Tensor<4>| -> anyhow::Result<()> {
        all.push(head.find(map, stride, placement, &pictures[i], config)?);
        Ok(())
    };
    if let Some(kept) = kept {
        for i in 0..pictures.len() {
            let (map, placement) = kept.of(i, false);
            one(i, placement, map.clone())?;
        }
    } else {
        let open = |i: usize| open(&pictures[i], look.size, false);
        stream(
            backbone,
            look.feature,
            pictures.len(),
            "detecting",
            open,
            |i, placement, map| one(i, &placement, map),
        )?;
    }
    Ok(all)
}
