//! `eval linear-seg` and `eval knn-seg`: how well features predict the class of each pixel.
//!
//! Both give logits or votes per cell, which are interpolated bilinearly to the picture's size on disk. Both are
//! measured by mIoU and pixel accuracy; the baseline predicts the most common class of the training pictures
//! everywhere.

mod dataset;
mod fcn;
mod knn;
mod linear;

use std::path::Path;

use anyhow::bail;
use burn::tensor::Tensor;
use densecl::metrics::{ClassCounts, IGNORE};
use densecl::transfer::segmentation::classify;
use densecl::visualize::{class_color, paint_labels, side_by_side, stack_vertical};
use image::{GrayImage, Rgb, RgbImage, imageops};
use serde_json::json;

use super::figures::{Figure, bootstrap};
use super::{Measured, spread};
use densecl_train::paths;
use densecl_train::report::legend;

pub use dataset::Splits;
pub(crate) use dataset::VOC;
pub use fcn::{FcnSettings, FineTuneSeg};
pub use knn::{KnnSeg, KnnSettings};
pub use linear::{LinearSeg, LinearSettings};

use dataset::{Dataset, Sample};

/// Number of pictures shown.
const SHOWN: usize = 4;
/// Longer side of a shown picture in pixels.
const SHOWN_SIDE: u32 = 240;

/// A data set, and the indices of the test pictures to show.
#[derive(Debug, Clone)]
struct Data {
    root: String,
    set: Dataset,
    shown: Vec<usize>,
}

impl Data {
    fn open(root: &Path, splits: &Splits) -> anyhow::Result<Self> {
        let set = Dataset::open(root, splits)?;
        let shown = spread((0..set.test.len()).collect(), Some(SHOWN));
        Ok(Self {
            root: paths::text(root),
            set,
            shown,
        })
    }

    fn classes(&self) -> usize {
        self.set.classes.len()
    }

    fn protocol(&self) -> serde_json::Value {
        json!({
            "folder": self.root,
            "classes": self.classes(),
            "train": { "split": self.set.splits[0], "pictures": self.set.train.len() },
            "test": { "split": self.set.splits[1], "pictures": self.set.test.len() },
        })
    }

    /// The most common class; an error if no training pixel has a class.
    fn commonest(&self, pixels: &[u64]) -> anyhow::Result<u8> {
        let most = pixels.iter().max().copied().unwrap_or(0);
        match pixels.iter().position(|&count| count == most) {
            Some(class) if most > 0 => Ok(class as u8),
            _ => bail!(
                "{}: no pixel of the split {} has a class: all are {IGNORE}",
                self.root,
                self.set.splits[0]
            ),
        }
    }
}

/// Adds the pixels of a label map to the counts per class.
fn count_classes(pixels: &mut [u64], labels: &GrayImage) {
    for &label in labels.as_raw() {
        if label != IGNORE {
            pixels[usize::from(label)] += 1;
        }
    }
}

/// Collects the predictions for the test pictures.
struct Judge<'a> {
    data: &'a Data,
    counts: Vec<ClassCounts>,
    rows: Vec<RgbImage>,
}

impl<'a> Judge<'a> {
    fn new(data: &'a Data) -> Self {
        Self {
            data,
            counts: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Adds the next test picture with its logits per cell, [1, classes, h, w].
    fn add(
        &mut self,
        image: &RgbImage,
        labels: &GrayImage,
        logits: Tensor<4>,
    ) -> anyhow::Result<()> {
        let (width, height) = labels.dimensions();
        let predicted = classify(logits, width as usize, height as usize)?;
        let mut counts = ClassCounts::new(self.data.classes());
        counts.add(labels.as_raw(), &predicted);
        if self.data.shown.contains(&self.counts.len()) {
            let shrink = |picture: RgbImage, filter| {
                let scale = f64::from(SHOWN_SIDE) / f64::from(width.max(height));
                let side = |pixels: u32| ((f64::from(pixels) * scale).round() as u32).max(1);
                imageops::resize(&picture, side(width), side(height), filter)
            };
            let paint = |labels: &[u8]| {
                shrink(
                    paint_labels(labels, width, height),
                    imageops::FilterType::Nearest,
                )
            };
            let picture = shrink(image.clone(), imageops::FilterType::Triangle);
            let (row, _) = side_by_side(&picture, &paint(labels.as_raw()), 4);
            self.rows.push(side_by_side(&row, &paint(&predicted), 4).0);
        }
        self.counts.push(counts);
        Ok(())
    }

    /// The figures; `training` counts the training pixels of each class.
    fn finish(self, training: &[u64]) -> anyhow::Result<Measured> {
        let Self { data, counts, rows } = self;
        let commonest = data.commonest(training)?;
        let sum = |drawn: &[usize]| {
            let mut all = ClassCounts::new(data.classes());
            drawn.iter().for_each(|&i| all.merge(&counts[i]));
            all
        };
        let everything: Vec<usize> = (0..counts.len()).collect();
        let all = sum(&everything);
        let (Some(mean_iou), Some(accuracy)) = (all.mean_iou(), all.pixel_accuracy()) else {
            bail!(
                "{}: no pixel of the split {} has a class: all are {IGNORE}",
                data.root,
                data.set.splits[1]
            );
        };
        let share = all.truth()[usize::from(commonest)] as f64 / all.pixels() as f64;
        let present = all.truth().iter().filter(|&&pixels| pixels > 0).count();
        let iou: serde_json::Map<_, _> = data
            .set
            .classes
            .iter()
            .cloned()
            .zip(all.iou().into_iter().map(|iou| json!(iou)))
            .collect();
        Ok(Measured {
            figures: vec![
                Figure::share("mIoU", mean_iou)
                    .with_interval(bootstrap(counts.len(), |drawn| sum(drawn).mean_iou())),
                Figure::share("pixel accuracy", accuracy)
                    .with_interval(bootstrap(counts.len(), |drawn| sum(drawn).pixel_accuracy())),
                // If this class is predicted everywhere, its IoU is its share of the pixels and that of all others
                // is 0.
                Figure::share("mIoU of the commonest class", share / present as f64).baseline(),
                Figure::share("pixel accuracy of the commonest class", share).baseline(),
                Figure::count("test pictures", counts.len()),
            ],
            picture: Some(picture(&data.set.classes, &rows, &all)?),
            details: json!({
                "iou": iou,
                "commonest_class": data.set.classes[usize::from(commonest)],
            }),
        })
    }
}

/// Picture, truth and prediction in rows, above a legend of the classes that occur.
fn picture(names: &[String], rows: &[RgbImage], all: &ClassCounts) -> anyhow::Result<RgbImage> {
    let width = rows.iter().map(RgbImage::width).max().unwrap_or(1);
    let present = all.truth().iter().zip(all.iou());
    let mut entries: Vec<(Rgb<u8>, &str)> = (0..)
        .zip(names)
        .zip(present)
        .filter(|(_, (truth, iou))| **truth > 0 || iou.is_some())
        .map(|((class, name), _)| (class_color(class), name.as_str()))
        .collect();
    entries.push((class_color(IGNORE), "no class"));
    let legend = legend(&entries, width)?;
    let mut parts: Vec<&RgbImage> = rows.iter().collect();
    parts.push(&legend);
    Ok(stack_vertical(&parts, 6, Rgb([255; 3])))
}

/// Opens a sample: the picture resized for the network, and picture and labels as on disk.
fn open(
    sample: &Sample,
    classes: usize,
    size: u32,
) -> anyhow::Result<(RgbImage, (RgbImage, GrayImage))> {
    let (image, labels) = sample.open(classes)?;
    let seen = densecl::features::network_picture(&image, size);
    Ok((seen, (image, labels)))
}
