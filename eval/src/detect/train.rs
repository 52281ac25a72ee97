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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use densecl::boxes::Rect;
    use densecl::metrics::Truth;
    use image::Rgb;

    use super::*;
    use crate::backbone::NamedWeights;

    #[test]
    fn training_leaves_weights_and_statistics_of_the_backbone_as_they_are() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let picture = |i: u32| {
            let path = folder.path().join(format!("{i}.png"));
            let image = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * i) as u8, y as u8, 90]));
            image.save(&path).expect("a picture");
            Picture {
                path,
                size: [64, 64],
                truths: vec![Truth::new(Rect::new(8.0, 8.0, 40.0, 40.0), 0)],
                masks: Vec::new(),
            }
        };
        let objects = Objects {
            classes: vec!["thing".to_string()],
            train: (1..4).map(picture).collect(),
            val: (4..6).map(picture).collect(),
            layout: "",
            left_out: 0,
        };
        let device = Device::flex();
        let weights = NamedWeights::parse(&["random:resnet10".to_string()], &device);
        let backbone = weights.expect("known")[0].load(Some(16), 0, &device);
        let backbone = backbone.expect("made");
        // All tensors, the running statistics of batch normalisation among them.
        let bits = || -> Vec<(String, Vec<u32>)> {
            let tensors = backbone.encoder.backbone.named().into_iter();
            tensors
                .map(|tensor| {
                    let values: Vec<f32> = tensor.values.try_into_vec_as().expect("on the CPU");
                    let bits = values.into_iter().map(f32::to_bits).collect();
                    (tensor.name, bits)
                })
                .collect()
        };
        let before = bits();
        assert!(before.iter().any(|(name, _)| name.contains("running_mean")));
        let mut losses = Vec::new();
        // The next seed and the next evaluation use the same backbone, so fine-tuning trains a copy.
        for fine_tune in [false, true] {
            let mut settings = Settings {
                fine_tune,
                steps: 3,
                batch: 2,
                hidden: 32,
                ..Settings::default()
            };
            settings.look.size = 64;
            let data = Data {
                objects: &objects,
                train: None,
                val: None,
            };
            let trained = train(&backbone, &data, &settings, &DecodeConfig::default(), 0);
            let trained = trained.expect("trained");
            assert_eq!(trained.findings.len(), 2);
            losses.push(format!("{:?}", trained.losses));
            assert!(bits() == before, "fine_tune = {fine_tune}");
        }
        assert_ne!(losses[0], losses[1]);
    }
}
