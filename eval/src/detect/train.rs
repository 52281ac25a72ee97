//! Trains a detector on a backbone, and runs it.

use anyhow::{Context, bail};
use burn::tensor::Tensor;
use densecl::boxes::Detection;
use densecl::config::{OptimConfig, SchedulePer};
use densecl::features::{Feature, image_batch};
use densecl::model::{Init, Tensors};
use densecl::optim::{ParameterGradients, Sgd};
use densecl::rng::{Purpose, stream as random};
use densecl::schedule::{Progress, learning_rate};
use densecl::transfer::FineTuned;
use densecl::transfer::detection::{
    CellTarget, DecodeConfig, FcosHead, FcosLoss, Predictions, assign, decode, fcos_loss,
};
use image::RgbImage;
use rand::RngExt;
use rayon::prelude::*;
use serde::Serialize;

use super::Settings;
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
    /// The detections in each validation picture, in pixels on disk.
    pub(super) detections: Vec<Vec<Detection>>,
    /// The parts of the loss at every tenth step.
    pub(super) losses: Vec<Noted>,
}

/// The loss of a step.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Noted {
    step: u64,
    classes: f32,
    boxes: f32,
    centerness: f32,
}

/// The trainable part.
enum Learner {
    Frozen(Box<FcosHead>),
    FineTuned(Box<FineTuned<FcosHead>>),
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
    let head = FcosHead::new(&init, channels, classes, settings.hidden, settings.convs);
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
                let loss = fcos_loss(head.forward(batch.input.autodiff()), &batch.targets);
                update(&mut **head, &mut sgd, &loss, lr);
                loss
            }
            Learner::FineTuned(network) => {
                let map = network.features_train(batch.input.autodiff(), look.feature, 1);
                let loss = fcos_loss(network.head.forward(map), &batch.targets);
                update(&mut **network, &mut sgd, &loss, lr);
                loss
            }
        };
        if step % NOTE_EVERY == 0 || step + 1 == settings.steps {
            losses.push(noted(step, &loss)?);
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
    let detections = detect(
        &backbone,
        &head.inference(),
        &data.objects.val,
        val,
        settings,
        config,
    )?;
    Ok(Trained { detections, losses })
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
struct Batch {
    /// Features where the backbone is frozen, normalised pictures where it is trained.
    input: Tensor<4>,
    targets: Vec<Vec<Option<CellTarget>>>,
}

/// Draws pictures at random and mirrors half of them.
fn batch(
    backbone: &Backbone,
    data: &Data,
    settings: &Settings,
    stride: usize,
    [seed, step]: [u64; 2],
) -> anyhow::Result<Batch> {
    let pictures = &data.objects.train;
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
    let targets = drawn.iter().zip(&placements).map(|((i, _), placement)| {
        assign(&placement.objects(&pictures[*i]), [cells; 2], stride as f64)
    });
    Ok(Batch {
        targets: targets.collect(),
        input,
    })
}

fn update<M: Tensors>(network: &mut M, sgd: &mut Sgd, loss: &FcosLoss, lr: f64) {
    let mut gradients = ParameterGradients::default();
    gradients.accumulate(network, &loss.total().backward());
    sgd.step(network, gradients, lr);
}

fn noted(step: u64, loss: &FcosLoss) -> anyhow::Result<Noted> {
    let parts = [&loss.classes, &loss.boxes, &loss.centerness].map(|part| part.clone().inner());
    let parts: Vec<f32> = Tensor::cat(parts.to_vec(), 0)
        .try_into_vec_as()
        .context("reading the loss back from the device")?;
    if parts.iter().any(|part| !part.is_finite()) {
        bail!(
            "the loss is not finite in step {}: try a smaller --lr",
            step + 1
        );
    }
    let [classes, boxes, centerness] = parts[..] else {
        unreachable!("three parts of one element each")
    };
    Ok(Noted {
        step,
        classes,
        boxes,
        centerness,
    })
}

/// Runs the head on each picture; detections are in pixels on disk.
fn detect(
    backbone: &Backbone,
    head: &FcosHead,
    pictures: &[Picture],
    kept: Option<&Features>,
    settings: &Settings,
    config: &DecodeConfig,
) -> anyhow::Result<Vec<Vec<Detection>>> {
    let look = settings.look;
    let stride = stride(backbone, look.feature)? as f64;
    let mut all = Vec::with_capacity(pictures.len());
    let mut one = |placement: Placement, map: Tensor<4>| -> anyhow::Result<()> {
        let [_, _, _, columns] = map.dims();
        let Predictions {
            classes,
            sides,
            centerness,
        } = head.forward(map);
        let read = |map: Tensor<4>| -> anyhow::Result<Vec<f32>> {
            map.try_into_vec_as()
                .context("reading predictions back from the device")
        };
        let values = [read(classes)?, read(sides)?, read(centerness)?];
        let values = values.each_ref().map(Vec::as_slice);
        let found = decode(values, columns, stride, placement.content, config);
        all.push(found.into_iter().map(|d| placement.on_disk(d)).collect());
        Ok(())
    };
    if let Some(kept) = kept {
        for i in 0..pictures.len() {
            let (map, placement) = kept.of(i, false).clone();
            one(placement, map)?;
        }
    } else {
        let open = |i: usize| open(&pictures[i], look.size, false);
        stream(
            backbone,
            look.feature,
            pictures.len(),
            "detecting",
            open,
            |_, placement, map| one(placement, map),
        )?;
    }
    Ok(all)
}
