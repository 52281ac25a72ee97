//! The trainable head: a detector, or a detector with masks.

use anyhow::{Context, bail};
use burn::tensor::Tensor;
use densecl::boxes::Detection;
use densecl::mask::Mask;
use densecl::model::{Init, TensorVisitor, Tensors};
use densecl::transfer::detection::{
    CellTarget, DecodeConfig, FcosHead, FcosLoss, Predictions, decode, fcos_loss,
};
use densecl::transfer::instances::{CondInst, InstancePredictions, MASK_CELLS, mask_loss};
use rayon::prelude::*;
use serde::Serialize;

use super::Settings;
use super::pictures::Placement;
use crate::objects::Picture;

/// A new head on feature maps.
#[derive(Debug, Clone)]
pub(super) enum Head {
    Boxes(Box<FcosHead>),
    Masks(Box<CondInst>),
}

/// A picture of a batch, as training sees it.
pub(super) struct Shown<'a> {
    pub(super) picture: &'a Picture,
    pub(super) placement: Placement,
    /// The targets of its cells.
    pub(super) targets: Vec<Option<CellTarget>>,
}

/// The parts of the loss.
pub(super) struct Loss {
    boxes: FcosLoss,
    /// Of the masks, where there are any.
    masks: Option<Tensor<1>>,
}

/// The loss of a step.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Noted {
    step: u64,
    classes: f32,
    boxes: f32,
    centerness: f32,
    /// `null` where there are no masks.
    masks: Option<f32>,
}

/// What was found in a picture.
#[derive(Debug, Clone, Default)]
pub(super) struct Finding {
    /// In pixels on disk.
    pub(super) detections: Vec<Detection>,
    /// The mask of each detection, where the head has masks.
    pub(super) masks: Vec<Mask>,
}

impl Head {
    pub(super) fn new(settings: &Settings, init: &Init, channels: usize, classes: usize) -> Self {
        let Settings { hidden, convs, .. } = *settings;
        if settings.masks {
            Self::Masks(Box::new(CondInst::new(
                init, channels, classes, hidden, convs,
            )))
        } else {
            Self::Boxes(Box::new(FcosHead::new(
                init, channels, classes, hidden, convs,
            )))
        }
    }

    /// The loss of a batch of feature maps.
    pub(super) fn loss(&self, features: Tensor<4>, shown: Vec<Shown>) -> Loss {
        let mut seen = Vec::with_capacity(shown.len());
        let targets = shown.into_iter().map(|one| {
            seen.push((one.picture, one.placement));
            one.targets
        });
        let targets: Vec<_> = targets.collect();
        match self {
            Self::Boxes(head) => Loss {
                boxes: fcos_loss(head.forward(features), &targets),
                masks: None,
            },
            Self::Masks(head) => {
                let [_, _, rows, columns] = features.dims();
                let cells = [rows, columns].map(|side| side * MASK_CELLS);
                let predictions = head.forward(features);
                let masks = mask_loss(&predictions, &targets, |at, object| {
                    let (picture, placement) = &seen[at];
                    placement.mask(picture, object, cells)
                });
                Loss {
                    boxes: fcos_loss(predictions.boxes, &targets),
                    masks: Some(masks),
                }
            }
        }
    }

    /// Runs the head on the feature map [1, C, h, w] of a picture.
    ///
    /// # Errors
    /// When predictions cannot be read from the device.
    pub(super) fn find(
        &self,
        map: Tensor<4>,
        stride: f64,
        placement: &Placement,
        picture: &Picture,
        config: &DecodeConfig,
    ) -> anyhow::Result<Finding> {
        let (boxes, masks) = match self {
            Self::Boxes(head) => (head.forward(map), None),
            Self::Masks(head) => {
                let predictions = head.forward(map);
                (predictions.boxes.clone(), Some(predictions))
            }
        };
        let found = candidates(boxes, stride, placement.content, config)?;
        let masks = match masks {
            Some(masks) if !found.is_empty() => masks_of(&masks, &found, placement, picture)?,
            _ => Vec::new(),
        };
        let detections = found.into_iter().map(|(one, _)| placement.on_disk(one));
        Ok(Finding {
            detections: detections.collect(),
            masks,
        })
    }
}

impl Tensors for Head {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        match self {
            Self::Boxes(head) => head.visit(prefix, visitor),
            Self::Masks(head) => head.visit(prefix, visitor),
        }
    }
}

impl Loss {
    /// The sum of the parts.
    pub(super) fn total(&self) -> Tensor<1> {
        let boxes = self.boxes.total();
        match &self.masks {
            Some(masks) => boxes + masks.clone(),
            None => boxes,
        }
    }

    /// The parts as numbers.
    ///
    /// # Errors
    /// When one is not finite, or they cannot be read from the device.
    pub(super) fn noted(&self, step: u64) -> anyhow::Result<Noted> {
        let FcosLoss {
            classes,
            boxes,
            centerness,
        } = &self.boxes;
        let parts = [classes, boxes, centerness].into_iter().chain(&self.masks);
        let parts = parts.map(|part| part.clone().inner()).collect();
        let parts: Vec<f32> = Tensor::cat(parts, 0)
            .try_into_vec_as()
            .context("reading the loss back from the device")?;
        if parts.iter().any(|part| !part.is_finite()) {
            bail!(
                "the loss is not finite in step {}: try a smaller --lr",
                step + 1
            );
        }
        let [classes, boxes, centerness, ref masks @ ..] = parts[..] else {
            unreachable!("at least three parts of one element each")
        };
        Ok(Noted {
            step,
            classes,
            boxes,
            centerness,
            masks: masks.first().copied(),
        })
    }
}

/// The detections on the square of a picture whose part `content` shows the picture, each with its cell.
fn candidates(
    predictions: Predictions,
    stride: f64,
    content: [f64; 2],
    config: &DecodeConfig,
) -> anyhow::Result<Vec<(Detection, usize)>> {
    let Predictions {
        classes,
        sides,
        centerness,
    } = predictions;
    let [_, _, _, columns] = classes.dims();
    let read = |map: Tensor<4>| -> anyhow::Result<Vec<f32>> {
        map.try_into_vec_as()
            .context("reading predictions back from the device")
    };
    let values = [read(classes)?, read(sides)?, read(centerness)?];
    let values = values.each_ref().map(Vec::as_slice);
    Ok(decode(values, columns, stride, content, config))
}

/// The masks of the detections in pixels of the picture on disk.
fn masks_of(
    predictions: &InstancePredictions,
    found: &[(Detection, usize)],
    placement: &Placement,
    picture: &Picture,
) -> anyhow::Result<Vec<Mask>> {
    let cells: Vec<(usize, usize)> = found.iter().map(|&(_, cell)| (0, cell)).collect();
    let logits = predictions.masks(&cells);
    let [_, rows, columns] = logits.dims();
    let logits: Vec<f32> = logits
        .try_into_vec_as()
        .context("reading masks back from the device")?;
    let each = logits.par_chunks_exact(rows * columns);
    let mask = |logits: &[f32]| placement.mask_on_disk(logits, [rows, columns], picture.size);
    Ok(each.map(mask).collect())
}
