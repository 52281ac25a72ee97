//! `eval linear-seg --fine-tune`: fine-tunes the backbone under an FCN head, as the paper's transfer to
//! segmentation, at a size that a single machine can train.

use std::path::Path;

use anyhow::bail;
use burn::tensor::Tensor;
use densecl::config::{OptimConfig, SchedulePer};
use densecl::features::{Feature, image_batch};
use densecl::interpolate::resample;
use densecl::metrics::IGNORE;
use densecl::model::{Encoder, Init, Tensors};
use densecl::optim::{ParameterGradients, Sgd};
use densecl::rng::{Purpose, Rng, stream as random};
use densecl::schedule::{Progress, learning_rate};
use densecl::transfer::FineTuned;
use densecl::transfer::segmentation::{FcnHead, pixel_loss};
use image::{GrayImage, RgbImage, imageops};
use rand::RngExt;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::{Data, Judge, Splits, count_classes, open};
use crate::backbone::Backbone;
use crate::stream::stream;
use crate::{Evaluation, Look, Measured, PADDING};

/// The loss uses every fourth pixel along each axis, from an offset drawn anew in each step.
const LATTICE: usize = 4;
/// Range of the random scale of a training picture.
const SCALES: [f64; 2] = [0.5, 2.0];
/// The loss is recorded, and checked for NaN, every this many steps.
const NOTE_EVERY: u64 = 10;

/// Settings of the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FcnSettings {
    /// Steps of SGD.
    pub steps: u64,
    /// Crops per step.
    pub batch: usize,
    /// Side of a crop in pixels, a multiple of 32.
    pub crop: u32,
    /// Base learning rate, with cosine decay to 0.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

impl Default for FcnSettings {
    fn default() -> Self {
        Self {
            steps: 300,
            batch: 8,
            crop: 160,
            lr: 0.01,
            weight_decay: 1e-4,
        }
    }
}

/// Fine-tuning with an FCN head as an evaluation.
#[derive(Debug, Clone)]
pub struct FineTuneSeg {
    data: Data,
    look: Look,
    settings: FcnSettings,
}

impl FineTuneSeg {
    /// Opens the data set in `root`.
    ///
    /// # Errors
    /// One line for the user.
    pub fn new(
        root: &Path,
        splits: &Splits,
        look: Look,
        settings: FcnSettings,
    ) -> anyhow::Result<Self> {
        if look.feature == Feature::Dense {
            bail!(
                "--feature dense: the head is no part of the backbone that --fine-tune trains; take a stage, such as stage4"
            );
        }
        if !settings.crop.is_multiple_of(32) || !(32..=4096).contains(&settings.crop) {
            bail!(
                "--crop {}: must be a multiple of 32, at most 4096",
                settings.crop
            );
        }
        Ok(Self {
            data: Data::open(root, splits)?,
            look,
            settings,
        })
    }

    /// Trains the network; returns it and the loss at every tenth step.
    fn train(
        &self,
        backbone: &Backbone,
        samples: &[usize],
        seed: u64,
    ) -> anyhow::Result<(FineTuned<FcnHead>, Vec<f32>)> {
        let FcnSettings { steps, batch, .. } = self.settings;
        let init = Init::new(seed, &backbone.device);
        let channels = backbone.channels(self.look.feature);
        let mut network = FineTuned {
            backbone: backbone.encoder.backbone.clone(),
            head: FcnHead::new(&init, channels, self.data.classes()),
        }
        .trainable();
        let mut sgd = Sgd::new(&OptimConfig {
            weight_decay: self.settings.weight_decay,
            ..OptimConfig::default()
        });
        let gauge = backbone.watch.begin("steps", steps);
        let mut losses = Vec::new();
        for step in 0..steps {
            let mut rng = random(seed, Purpose::Evaluation, step);
            let drawn: Vec<(usize, Draw)> = (0..batch)
                .map(|_| {
                    let i = samples[rng.random_range(0..samples.len())];
                    (i, Draw::new(&mut rng))
                })
                .collect();
            let offset = [0; 2].map(|_: usize| rng.random_range(0..LATTICE));
            let crops = drawn.into_par_iter().map(|(i, draw)| {
                let (image, labels) = self.data.set.train[i].open(self.data.classes())?;
                Ok(draw.crop(&image, &labels, self.look.size, self.settings.crop))
            });
            let crops: Vec<(RgbImage, GrayImage)> = crops.collect::<anyhow::Result<_>>()?;
            let (images, labels): (Vec<RgbImage>, Vec<GrayImage>) = crops.into_iter().unzip();

            let input = image_batch(&images, &backbone.device).autodiff();
            let map = network.features_train(input, self.look.feature, 1);
            let logits = network.head.forward_train(map);
            let Some(loss) = lattice_loss(logits, &labels, offset) else {
                continue;
            };
            if step % NOTE_EVERY == 0 || step + 1 == steps {
                let value = loss.clone().inner().into_scalar::<f32>();
                if !value.is_finite() {
                    bail!("the loss is not finite in step {step}: try a smaller --lr");
                }
                gauge.relabel(&format!("loss {value:.3}"));
                losses.push(value);
            }
            let mut gradients = ParameterGradients::default();
            gradients.accumulate(&network, &loss.backward());
            let progress = Progress {
                step,
                total_steps: steps,
                steps_per_epoch: steps,
            };
            let lr = learning_rate(self.settings.lr, SchedulePer::Step, progress);
            sgd.step(&mut network, gradients, lr);
            gauge.advance(1);
        }
        Ok((network.inference(), losses))
    }
}

impl Evaluation for FineTuneSeg {
    fn name(&self) -> &'static str {
        "fine-tune-seg"
    }

    fn protocol(&self) -> serde_json::Value {
        json!({ "data": self.data.protocol(), "look": self.look, "training": self.settings })
    }

    fn look(&self) -> Look {
        self.look
    }

    fn is_random(&self) -> bool {
        true
    }

    fn measure(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<Vec<Measured>> {
        let counted = self.data.set.train.par_iter().map(|sample| {
            let (_, labels) = sample.open(self.data.classes())?;
            let mut pixels = vec![0; self.data.classes()];
            count_classes(&mut pixels, &labels);
            Ok(pixels)
        });
        let counted: Vec<Vec<u64>> = counted.collect::<anyhow::Result<_>>()?;
        let mut pixels = vec![0; self.data.classes()];
        let mut labelled = Vec::new();
        for (i, of_one) in counted.iter().enumerate() {
            if of_one.iter().any(|&count| count > 0) {
                labelled.push(i);
            }
            for (sum, count) in pixels.iter_mut().zip(of_one) {
                *sum += count;
            }
        }
        self.data.commonest(&pixels)?;
        let measure = |&seed: &u64| {
            let (network, losses) = self.train(backbone, &labelled, seed)?;
            let FineTuned {
                backbone: trained,
                head,
            } = network;
            let tuned = Backbone {
                encoder: Encoder {
                    backbone: trained,
                    ..backbone.encoder.clone()
                },
                ..backbone.clone()
            };
            let mut judge = Judge::new(&self.data);
            let test = &self.data.set.test;
            stream(
                &tuned,
                self.look.feature,
                test.len(),
                "test pictures",
                |i| open(&test[i], self.data.classes(), self.look.size),
                |_, (image, labels), map| judge.add(&image, &labels, head.forward(map)),
            )?;
            let mut measured = judge.finish(&pixels)?;
            measured.details["loss_every_10_steps"] = json!(losses);
            Ok(measured)
        };
        seeds.iter().map(measure).collect()
    }
}

/// The loss at every fourth pixel from `offset` (row, column); `None` where none of these has a class.
fn lattice_loss(logits: Tensor<4>, labels: &[GrayImage], offset: [usize; 2]) -> Option<Tensor<1>> {
    let [_, _, h, w] = logits.dims();
    let side = labels[0].width() as usize;
    let places = |offset: usize| (offset..side).step_by(LATTICE);
    let cells = |offset: usize, cells: usize| -> Vec<f32> {
        let per_pixel = cells as f32 / side as f32;
        places(offset)
            .map(|at| (at as f32 + 0.5) * per_pixel)
            .collect()
    };
    let classes: Vec<u8> = labels
        .iter()
        .flat_map(|labels| {
            places(offset[0])
                .flat_map(move |y| places(offset[1]).map(move |x| labels.as_raw()[y * side + x]))
        })
        .collect();
    pixel_loss(
        resample(logits, &cells(offset[0], h), &cells(offset[1], w)),
        &classes,
    )
}

/// The random parameters of a crop.
#[derive(Debug, Clone, Copy)]
struct Draw {
    scale: f64,
    /// Position of the crop in the picture, in [0, 1] along x and y.
    place: [f64; 2],
    flip: bool,
}

impl Draw {
    fn new(rng: &mut Rng) -> Self {
        Self {
            scale: rng.random_range(SCALES[0]..=SCALES[1]),
            place: [rng.random(), rng.random()],
            flip: rng.random_bool(0.5),
        }
    }

    /// Cuts a square of `crop` pixels from the picture, scaled to a longer side of `size` · scale pixels. Outside
    /// the picture the crop has the mean colour and no class.
    fn crop(
        self,
        image: &RgbImage,
        labels: &GrayImage,
        size: u32,
        crop: u32,
    ) -> (RgbImage, GrayImage) {
        let (width, height) = image.dimensions();
        let factor = f64::from(size) * self.scale / f64::from(width.max(height));
        let side = |pixels: u32| ((f64::from(pixels) * factor).round() as u32).max(1);
        let scaled = imageops::resize(
            image,
            side(width),
            side(height),
            imageops::FilterType::Triangle,
        );
        let from = |scaled: u32, share: f64| {
            (f64::from(scaled.saturating_sub(crop)) * share).round() as u32
        };
        let left = from(scaled.width(), self.place[0]);
        let top = from(scaled.height(), self.place[1]);
        let at = |x: u32, y: u32| {
            let x = if self.flip { crop - 1 - x } else { x };
            let (x, y) = (left + x, top + y);
            (x < scaled.width() && y < scaled.height()).then_some((x, y))
        };
        let source = |at: u32, scaled: u32, pixels: u32| {
            let at = (f64::from(at) + 0.5) * f64::from(pixels) / f64::from(scaled);
            (at as u32).min(pixels - 1)
        };
        let picture = RgbImage::from_fn(crop, crop, |x, y| {
            at(x, y).map_or(PADDING, |(x, y)| *scaled.get_pixel(x, y))
        });
        let classes = GrayImage::from_fn(crop, crop, |x, y| {
            let label = at(x, y).map(|(x, y)| {
                let x = source(x, scaled.width(), width);
                labels.get_pixel(x, source(y, scaled.height(), height))[0]
            });
            image::Luma([label.unwrap_or(IGNORE)])
        });
        (picture, classes)
    }
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb};

    use super::*;

    #[test]
    fn picture_and_labels_of_a_crop_stay_together() {
        // The label of a pixel is its red value.
        let image = RgbImage::from_fn(60, 40, |x, y| {
            Rgb([if x < 30 { 10 } else { 20 } + u8::from(y < 20), 0, 0])
        });
        let labels = GrayImage::from_fn(60, 40, |x, y| Luma([image.get_pixel(x, y)[0]]));
        for i in 0..40 {
            let draw = Draw::new(&mut random(1, Purpose::Evaluation, i));
            let (picture, classes) = draw.crop(&image, &labels, 60, 64);
            assert_eq!(
                (picture.dimensions(), classes.dimensions()),
                ((64, 64), (64, 64))
            );
            let mut same = 0;
            for (pixel, class) in picture.pixels().zip(classes.pixels()) {
                if class[0] == IGNORE {
                    assert_eq!(*pixel, PADDING);
                    same += 1;
                } else {
                    // At the border of two classes the resized colour is a mixture.
                    same += usize::from(pixel[0] == class[0]);
                }
            }
            assert!(same > 64 * 64 * 8 / 10, "{draw:?}: {same}");
        }
    }
}
