//! `eval detect` and `eval instances`: a small FCOS detector, without or with CondInst's masks, on a frozen or fine-tuned
//! backbone, measured by COCO's average precision of boxes and masks.

mod head;
mod picture;
mod pictures;
mod train;

use std::path::{Path, PathBuf};

use anyhow::bail;
use densecl::features::Feature;
use densecl::metrics::{
    AveragePrecision, Judged, Scene, SceneMasks, average_precision, mask_average_precision,
};
use densecl::transfer::detection::DecodeConfig;
use serde::Serialize;
use serde_json::json;

use super::backbone::Backbone;
use super::figures::{Figure, bootstrap};
use super::objects::Objects;
use super::{Evaluation, Look, Measured, TRANSFERRED};
use pictures::Features;
use train::{Data, Trained, train};

use densecl_train::paths;

/// The architecture and training of the detector.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// The feature that the detector uses.
    pub look: Look,
    /// Whether to train the backbone too.
    pub fine_tune: bool,
    /// Whether to find the mask of each object, too.
    pub masks: bool,
    /// Training steps.
    pub steps: u64,
    /// Pictures per step.
    pub batch: usize,
    /// Base learning rate, with linear warm-up and cosine decay to 0.
    pub lr: f64,
    /// Channels of the head's towers, a multiple of 32.
    pub hidden: usize,
    /// Convolutions in each of the two towers of the head.
    pub convs: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            look: Look {
                feature: TRANSFERRED,
                stride: Some(16),
                size: 256,
            },
            fine_tune: false,
            masks: false,
            steps: 500,
            batch: 8,
            lr: 0.01,
            hidden: 128,
            convs: 2,
        }
    }
}

impl Settings {
    /// # Errors
    /// For the first setting that is out of range; the message names its option.
    pub fn validate(&self) -> anyhow::Result<()> {
        if self.fine_tune && self.look.feature == Feature::Dense {
            bail!(
                "--feature dense: the dense head is not fine-tuned; take a stage, such as stage4"
            );
        }
        let size = self.look.size;
        if !size.is_multiple_of(32) {
            bail!("--size {size}: must be a multiple of 32, so that cells fill the picture");
        }
        if !(1..=1_000_000).contains(&self.steps) {
            bail!("--steps {}: must be between 1 and 1,000,000", self.steps);
        }
        if !(1..=1024).contains(&self.batch) {
            bail!("--batch-size {}: must be between 1 and 1024", self.batch);
        }
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            bail!("--lr {}: must be above 0", self.lr);
        }
        Ok(())
    }
}

/// Detection as an evaluation.
pub struct Detect {
    data: PathBuf,
    objects: Objects,
    settings: Settings,
    decode: DecodeConfig,
}

impl Detect {
    /// Reads the data set in `data`; at most `limit` pictures of each part.
    ///
    /// # Errors
    /// For settings out of range, and for data that cannot be used.
    pub fn open(data: &Path, limit: Option<usize>, settings: Settings) -> anyhow::Result<Self> {
        settings.validate()?;
        let objects = if settings.masks {
            Objects::read_with_masks(data)?
        } else {
            Objects::read(data)?
        };
        Ok(Self {
            data: data.to_path_buf(),
            objects: objects.limited(limit),
            settings,
            decode: DecodeConfig::default(),
        })
    }

    fn measured(&self, backbone: &Backbone, seed: u64, one: Trained) -> anyhow::Result<Measured> {
        let classes = self.objects.classes.len();
        let Trained { findings, losses } = one;
        let (scenes, masks): (Vec<Scene>, Vec<SceneMasks>) = self
            .objects
            .val
            .iter()
            .zip(findings)
            .map(|(picture, found)| {
                let scene = Scene {
                    truths: picture.truths.clone(),
                    found: found.detections,
                };
                let masks = SceneMasks {
                    truths: picture.masks.clone(),
                    found: found.masks,
                };
                (scene, masks)
            })
            .unzip();
        let with_masks = self.settings.masks;
        let names = &self.objects.classes;
        let of_boxes = average_precision(&scenes, classes);
        let mut details = json!({
            "seed": seed,
            "stride": backbone.model.output_stride,
            "average_precision": of_boxes,
            "per_class": names.iter().zip(&of_boxes.per_class).collect::<Vec<_>>(),
            "loss": losses,
        });
        let mut all = Vec::new();
        if with_masks {
            let of_masks = mask_average_precision(&scenes, &masks, classes);
            details["mask_average_precision"] = json!(of_masks);
            details["masks_per_class"] =
                json!(names.iter().zip(&of_masks.per_class).collect::<Vec<_>>());
            let judged = Judged::by_masks(&scenes, &masks, classes);
            all.extend(figures("mask ", &of_masks, &judged, scenes.len()));
        }
        let judged = Judged::new(&scenes, classes);
        all.extend(figures("", &of_boxes, &judged, scenes.len()));
        let masks = with_masks.then_some(&masks[..]);
        Ok(Measured {
            figures: all,
            picture: Some(picture::picture(&self.objects, &scenes, masks)?),
            details,
        })
    }
}

/// AP, AP50 and AP75 with intervals over pictures; `what` begins their names.
fn figures(what: &str, all: &AveragePrecision, judged: &Judged, pictures: usize) -> [Figure; 3] {
    let named = [("AP", all.ap), ("AP50", all.ap50), ("AP75", all.ap75)];
    let mut index = 0;
    named.map(|(name, value)| {
        let at = index;
        index += 1;
        let interval = bootstrap(pictures, |drawn| judged.precision(drawn)[at]);
        Figure::share(&format!("{what}{name}"), value.unwrap_or(0.0)).with_interval(interval)
    })
}

impl Evaluation for Detect {
    fn name(&self) -> &'static str {
        match (self.settings.masks, self.settings.fine_tune) {
            (false, false) => "detect",
            (false, true) => "fine-tune-detect",
            (true, false) => "instances",
            (true, true) => "fine-tune-instances",
        }
    }

    fn protocol(&self) -> serde_json::Value {
        let Objects {
            classes,
            train,
            val,
            layout,
            left_out,
        } = &self.objects;
        json!({
            "data": paths::text(&self.data),
            "layout": layout,
            "classes": classes.len(),
            "train_pictures": train.len(),
            "val_pictures": val.len(),
            "objects_left_out": left_out,
            "settings": self.settings,
            "decode": self.decode,
        })
    }

    fn look(&self) -> Look {
        self.settings.look
    }

    fn is_random(&self) -> bool {
        true
    }

    fn measure(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<Vec<Measured>> {
        let Self {
            objects, settings, ..
        } = self;
        let keep = |pictures, mirrored| -> anyhow::Result<Option<Features>> {
            if settings.fine_tune {
                return Ok(None);
            }
            Features::keep(backbone, pictures, settings, mirrored)
        };
        let data = Data {
            objects,
            train: keep(&objects.train, true)?,
            val: keep(&objects.val, false)?,
        };
        let one = |&seed| {
            let trained = train(backbone, &data, settings, &self.decode, seed)?;
            self.measured(backbone, seed, trained)
        };
        seeds.iter().map(one).collect()
    }
}
