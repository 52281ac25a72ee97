//! `eval linear-seg`: a linear classifier per cell on frozen features.
//!
//! Logits are interpolated bilinearly to pixels. The layer and the interpolation are both linear, so that a pixel's
//! logits are those of its interpolated feature. Training therefore draws pixels, interpolates their features on the
//! host and uploads a plain matrix: a step takes a few milliseconds, and pictures of any size fit into one batch.
//! The expected gradient is that of the loss over all pixels.

use anyhow::Context;
use burn::tensor::{Device, Tensor, TensorData};
use densecl::interpolate::taps;
use densecl::metrics::IGNORE;
use densecl::rng::{Purpose, stream as random};
use densecl::transfer::linear::{LinearConfig, LinearProbe};
use image::GrayImage;
use rand::RngExt;
use serde::Serialize;
use serde_json::json;

use super::{Data, Judge, Splits, count_classes, open};
use crate::backbone::Backbone;
use crate::stream::stream;
use crate::{Evaluation, Look, Measured};

/// Upper limit of the memory for features and labels; those that do not fit are computed again for each use.
const CACHE_BYTES: usize = 4 << 30;

/// Settings of the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LinearSettings {
    /// Steps of SGD.
    pub steps: u64,
    /// Pictures drawn per step.
    pub batch: usize,
    /// Labelled pixels drawn from each picture.
    pub pixels: usize,
    /// Base learning rate, with cosine decay to 0.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

impl Default for LinearSettings {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch: 16,
            pixels: 256,
            lr: 0.1,
            weight_decay: 1e-4,
        }
    }
}

/// Linear segmentation as an evaluation.
#[derive(Debug, Clone)]
pub struct LinearSeg {
    data: Data,
    look: Look,
    settings: LinearSettings,
}

impl LinearSeg {
    /// Opens the data set in `root`.
    ///
    /// # Errors
    /// One line for the user.
    pub fn new(
        root: &std::path::Path,
        splits: &Splits,
        look: Look,
        settings: LinearSettings,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            data: Data::open(root, splits)?,
            look,
            settings,
        })
    }
}

impl Evaluation for LinearSeg {
    fn name(&self) -> &'static str {
        "linear-seg"
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
        let training = Training::extract(&self.data, self.look, backbone)?;
        self.data.commonest(&training.pixels)?;
        let probes = seeds
            .iter()
            .map(|&seed| training.train(&self.settings, seed));
        let probes: Vec<LinearProbe> = probes.collect::<anyhow::Result<_>>()?;
        let mut judges: Vec<Judge> = seeds.iter().map(|_| Judge::new(&self.data)).collect();
        let test = &self.data.set.test;
        stream(
            backbone,
            self.look.feature,
            test.len(),
            "test pictures",
            |i| open(&test[i], self.data.classes(), self.look.size),
            |_, (image, labels), map| {
                for (judge, probe) in judges.iter_mut().zip(&probes) {
                    judge.add(&image, &labels, probe.forward_map(map.clone()))?;
                }
                Ok(())
            },
        )?;
        judges
            .into_iter()
            .map(|judge| judge.finish(&training.pixels))
            .collect()
    }
}

/// The cells of a picture, C values each, row by row, and its label map.
struct Cells {
    values: Vec<f32>,
    grid: [usize; 2],
    labels: GrayImage,
}

impl Cells {
    fn new(map: Tensor<4>, labels: GrayImage) -> anyhow::Result<Self> {
        let [_, _, rows, columns] = map.dims();
        let values = map.permute([0, 2, 3, 1]).try_into_vec_as();
        Ok(Self {
            values: values.context("reading features back from the device")?,
            grid: [rows, columns],
            labels,
        })
    }

    fn bytes(&self) -> usize {
        4 * self.values.len() + self.labels.len()
    }

    /// Appends the interpolated features and the classes of `count` labelled pixels, drawn with replacement; appends
    /// nothing where no pixel is labelled.
    fn draw(
        &self,
        count: usize,
        rng: &mut densecl::rng::Rng,
        values: &mut Vec<f32>,
        classes: &mut Vec<usize>,
    ) {
        let labels = self.labels.as_raw();
        let labelled: Vec<usize> = (0..labels.len())
            .filter(|&pixel| labels[pixel] != IGNORE)
            .collect();
        if labelled.is_empty() {
            return;
        }
        let [rows, columns] = self.grid;
        let channels = self.values.len() / (rows * columns);
        let (width, height) = self.labels.dimensions();
        for _ in 0..count {
            let pixel = labelled[rng.random_range(0..labelled.len())];
            let (x, y) = (pixel % width as usize, pixel / width as usize);
            let cells = |at: usize, pixels: u32, cells: usize| {
                taps((at as f32 + 0.5) * cells as f32 / pixels as f32, cells)
            };
            let (left, right, u) = cells(x, width, columns);
            let (top, bottom, v) = cells(y, height, rows);
            let cell = |row: usize, column: usize| {
                &self.values[(row * columns + column) * channels..][..channels]
            };
            let corners = [
                cell(top, left),
                cell(top, right),
                cell(bottom, left),
                cell(bottom, right),
            ];
            let weights = [(1.0 - v) * (1.0 - u), (1.0 - v) * u, v * (1.0 - u), v * u];
            values.extend((0..channels).map(|c| {
                let parts = corners.iter().zip(weights);
                parts.map(|(cell, weight)| weight * cell[c]).sum::<f32>()
            }));
            classes.push(usize::from(labels[pixel]));
        }
    }
}

/// The features of the training pictures.
struct Training<'a> {
    data: &'a Data,
    look: Look,
    backbone: &'a Backbone,
    /// The features that fit into memory; `None` for the others.
    cells: Vec<Option<Cells>>,
    /// Mean and variance of each channel over all cells [1, C].
    statistics: [Tensor<2>; 2],
    /// Number of pixels of each class.
    pixels: Vec<u64>,
}

impl<'a> Training<'a> {
    fn extract(data: &'a Data, look: Look, backbone: &'a Backbone) -> anyhow::Result<Self> {
        let samples = &data.set.train;
        let mut cells = Vec::with_capacity(samples.len());
        let mut pixels = vec![0; data.classes()];
        let (mut held, mut count) = (0, 0usize);
        let mut sums: Vec<[f64; 2]> = Vec::new();
        stream(
            backbone,
            look.feature,
            samples.len(),
            "training pictures",
            |i| open(&samples[i], data.classes(), look.size),
            |_, (_, labels), map| {
                count_classes(&mut pixels, &labels);
                let one = Cells::new(map, labels)?;
                let cells_of_one = one.grid[0] * one.grid[1];
                sums.resize(one.values.len() / cells_of_one, [0.0; 2]);
                for cell in one.values.chunks_exact(sums.len()) {
                    for (sum, &value) in sums.iter_mut().zip(cell) {
                        sum[0] += f64::from(value);
                        sum[1] += f64::from(value) * f64::from(value);
                    }
                }
                count += cells_of_one;
                held += one.bytes();
                cells.push((held <= CACHE_BYTES).then_some(one));
                Ok(())
            },
        )?;
        if held > CACHE_BYTES {
            log::warn!(
                "the training features take {} GiB, of which {} are kept; a smaller --size or a larger \
                 --stride is much faster",
                held >> 30,
                CACHE_BYTES >> 30
            );
        }
        let n = count as f64;
        let row = |values: Vec<f32>| row(values, &backbone.device);
        let mean = sums.iter().map(|[sum, _]| (sum / n) as f32).collect();
        let variance =
            |[sum, squares]: &[f64; 2]| (squares / n - (sum / n).powi(2)).max(0.0) as f32;
        Ok(Self {
            data,
            look,
            backbone,
            cells,
            statistics: [row(mean), row(sums.iter().map(variance).collect())],
            pixels,
        })
    }

    fn train(&self, settings: &LinearSettings, seed: u64) -> anyhow::Result<LinearProbe> {
        let LinearSettings {
            steps,
            batch,
            pixels,
            ..
        } = *settings;
        let config = LinearConfig {
            lr: settings.lr,
            weight_decay: settings.weight_decay,
            ..LinearConfig::default()
        };
        let channels = self.statistics[0].dims()[1];
        let gauge = self.backbone.watch.begin("steps", steps);
        let next = |step: u64| -> anyhow::Result<(Tensor<2>, Vec<usize>)> {
            let mut rng = random(seed, Purpose::Evaluation, step);
            let (mut values, mut classes) = (Vec::new(), Vec::new());
            // The loop ends, because at least one picture has a labelled pixel.
            while classes.is_empty() {
                for _ in 0..batch {
                    let i = rng.random_range(0..self.cells.len());
                    match &self.cells[i] {
                        Some(cells) => cells.draw(pixels, &mut rng, &mut values, &mut classes),
                        None => self
                            .again(i)?
                            .draw(pixels, &mut rng, &mut values, &mut classes),
                    }
                }
            }
            gauge.advance(1);
            let shape = [classes.len(), channels];
            let device = &self.backbone.device;
            Ok((
                Tensor::from_data(TensorData::new(values, shape), device),
                classes,
            ))
        };
        let statistics = self.statistics.clone();
        let classes = self.data.classes();
        LinearProbe::fit(statistics, classes, steps, &config, seed, next)
    }

    /// Computes the features of a picture that did not fit into memory.
    fn again(&self, i: usize) -> anyhow::Result<Cells> {
        let (seen, (_, labels)) =
            open(&self.data.set.train[i], self.data.classes(), self.look.size)?;
        Cells::new(self.backbone.features(&[seen], self.look.feature), labels)
    }
}

fn row(values: Vec<f32>, device: &Device) -> Tensor<2> {
    let shape = [1, values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use densecl::interpolate::{pixel_centers, resample};

    use super::*;

    #[test]
    fn a_drawn_pixel_has_the_feature_of_the_interpolated_map() {
        let values: Vec<f32> = (0..2 * 2 * 3).map(|i| ((i * 5) % 7) as f32).collect();
        let map: Tensor<4> =
            Tensor::from_data(TensorData::new(values, [1, 2, 2, 3]), &Device::flex());
        // Each pixel of an 8 × 6 picture has its own class, except one without a class.
        let mut labels = GrayImage::from_fn(8, 6, |x, y| image::Luma([(y * 8 + x) as u8]));
        labels.put_pixel(3, 0, image::Luma([IGNORE]));
        let cells = Cells::new(map.clone(), labels).expect("on the CPU");
        let full = resample(map, &pixel_centers(6, 2), &pixel_centers(8, 3));
        let full: Vec<f32> = full.try_into_vec_as().expect("on the CPU");
        let (mut values, mut classes) = (Vec::new(), Vec::new());
        let mut rng = random(0, Purpose::Evaluation, 0);
        cells.draw(500, &mut rng, &mut values, &mut classes);
        assert_eq!((classes.len(), values.len()), (500, 1000));
        for (pixel, value) in classes.iter().zip(values.chunks_exact(2)) {
            assert_ne!(*pixel, 3);
            for (channel, value) in value.iter().enumerate() {
                assert!((full[channel * 48 + pixel] - value).abs() < 1e-5);
            }
        }
    }
}
