//! `eval robust`: how many pictures are still classified rightly after an attack on their pixels (PGD in the L∞
//! ball), by a linear layer on the frozen backbone and by the fine-tuned backbone.
//!
//! The attack knows the whole classifier. It works on pixels in [0, 1] and goes through the normalisation, so that an
//! ε of 8/255 is eight levels of a picture's bytes.

mod classifier;
mod judge;
mod picture;

use std::path::{Path, PathBuf};

use anyhow::bail;
use burn::tensor::Tensor;
use densecl::augment::denormalize;
use densecl::config::{Attack, Fraction};
use densecl::features::{Feature, Fit, image_batch, square};
use densecl::model::{Linear, Tensors};
use densecl::transfer::FineTuned;
use densecl::transfer::linear::LinearConfig;
use densecl_train::paths;
use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

pub use self::classifier::FineTuneConfig;
use self::judge::{Judged, judge};
use crate::backbone::Backbone;
use crate::classify::labelled::{Labelled, Sample};
use crate::figures::{Figure, bootstrap};
use crate::{Evaluation, Look, Measured};

/// The usual ε: two and eight levels of a byte.
pub const EPSILONS: [f64; 2] = [2.0 / 255.0, 8.0 / 255.0];
/// The usual number of iterations.
pub const STEPS: usize = 20;
/// The usual α, as a part of ε: 2/255 for 8/255.
pub const STEP: f64 = 0.25;

/// A classifier on a backbone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A linear layer on the features of the frozen backbone.
    Linear,
    /// The backbone and a linear layer, trained together.
    FineTuned,
}

impl Kind {
    /// Both, in the order of reports.
    pub const ALL: [Self; 2] = [Self::Linear, Self::FineTuned];

    /// The name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::FineTuned => "fine-tuned",
        }
    }
}

/// The settings of the evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Side of the pictures in pixels, a multiple of 32.
    pub size: u32,
    /// The classifiers that are attacked, at least one.
    pub classifiers: Vec<Kind>,
    /// ε of each attack, at least one, each above 0 and at most 1.
    pub epsilons: Vec<f64>,
    /// α; `None` = a quarter of each ε.
    pub step: Option<f64>,
    /// Iterations of an attack, at least 1.
    pub steps: usize,
    /// The training of the linear layer.
    pub linear: LinearConfig,
    /// The fine-tuning.
    pub fine_tune: FineTuneConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            size: 32,
            classifiers: Kind::ALL.to_vec(),
            epsilons: EPSILONS.to_vec(),
            step: None,
            steps: STEPS,
            linear: LinearConfig::default(),
            fine_tune: FineTuneConfig::default(),
        }
    }
}

impl Settings {
    /// The attacks, in the order of the ε.
    ///
    /// # Errors
    /// For the first setting that is out of range; the message names its option.
    fn attacks(&self) -> anyhow::Result<Vec<Attack>> {
        let attack = |&epsilon: &f64| {
            let attack = Attack {
                epsilon,
                step: self.step.unwrap_or(STEP * epsilon),
                steps: self.steps,
            };
            attack.validate(["--epsilon", "--attack-step", "--attack-steps"])?;
            Ok(attack)
        };
        self.epsilons.iter().map(attack).collect()
    }

    /// # Errors
    /// As [`Self::attacks`].
    fn validate(&self) -> anyhow::Result<()> {
        let size = self.size;
        if !size.is_multiple_of(32) || !(32..=4096).contains(&size) {
            bail!("--size {size}: must be a multiple of 32, at most 4096");
        }
        let LinearConfig { epochs, lr, .. } = self.linear;
        if !(1..=100_000).contains(&epochs) {
            bail!("--epochs {epochs}: must be between 1 and 100,000");
        }
        if !(lr > 0.0 && lr.is_finite()) {
            bail!("--lr {lr}: must be above 0");
        }
        self.fine_tune.validate()
    }
}

/// Robust classification as an evaluation.
pub struct Robust {
    data: PathBuf,
    set: Labelled,
    settings: Settings,
    attacks: Vec<Attack>,
}

/// Pictures of one size with their classes.
struct Pictures {
    images: Vec<RgbImage>,
    classes: Vec<usize>,
}

impl Robust {
    /// Reads the folders in `data`, or cuts objects from scenes where it is `scenes` or `scenes:N`; at most `limit`
    /// pictures of each part.
    ///
    /// # Errors
    /// For settings out of range, and for data that cannot be used.
    pub fn open(data: &Path, limit: Option<usize>, settings: Settings) -> anyhow::Result<Self> {
        settings.validate()?;
        Ok(Self {
            data: data.to_path_buf(),
            attacks: settings.attacks()?,
            set: Labelled::open(data, limit)?,
            settings,
        })
    }

    /// The centred squares of the pictures, in memory.
    fn pictures(&self, samples: &[Sample]) -> anyhow::Result<Pictures> {
        let images = samples.par_iter().map(|sample| {
            let image = sample.picture.open()?;
            Ok(square(&image, self.settings.size, Fit::Crop))
        });
        Ok(Pictures {
            images: images.collect::<anyhow::Result<_>>()?,
            classes: samples.iter().map(|sample| sample.class).collect(),
        })
    }

    /// The figures of a classifier.
    fn figures(&self, kind: Kind, judged: &Judged) -> Vec<Figure> {
        let share = |name: String, right: &[bool]| {
            let of = |drawn: &[usize]| {
                let sum = drawn.iter().filter(|&&i| right[i]).count();
                Some(sum as f64 / drawn.len() as f64)
            };
            let all: Vec<usize> = (0..right.len()).collect();
            Figure::share(&name, of(&all).unwrap_or(0.0)).with_interval(bootstrap(right.len(), of))
        };
        let name = kind.name();
        let mut figures = vec![share(format!("{name}, clean"), &judged.right)];
        for (attack, attacked) in self.attacks.iter().zip(&judged.attacked) {
            let name = format!("{name}, {}", describe(attack));
            figures.push(share(name, &attacked.right));
        }
        figures
    }

    /// Of each class the number of pictures, and how many are classified rightly.
    fn per_class(&self, judged: &Judged, classes: &[usize]) -> Value {
        let count = |class: usize, right: &[bool]| {
            let own = classes.iter().zip(right);
            own.filter(|(own, right)| **own == class && **right).count()
        };
        let of_class = |(class, name): (usize, &String)| {
            let robust = self.attacks.iter().zip(&judged.attacked);
            let robust = robust.map(|(attack, attacked)| {
                let epsilon = Fraction(attack.epsilon).to_string();
                (epsilon, json!(count(class, &attacked.right)))
            });
            json!({
                "class": name,
                "pictures": count(class, &vec![true; classes.len()]),
                "right": count(class, &judged.right),
                "robust": robust.collect::<serde_json::Map<_, _>>(),
            })
        };
        let classes = self.set.classes.iter().enumerate();
        classes.map(of_class).collect()
    }

    fn measured(
        &self,
        backbone: &Backbone,
        [train, val]: [&Pictures; 2],
        seed: u64,
    ) -> anyhow::Result<Measured> {
        let mut figures = Vec::new();
        let mut details = json!({ "seed": seed });
        let mut pictures = Vec::new();
        let classes = self.set.classes.len();
        for &kind in &self.settings.classifiers {
            let classifier = match kind {
                Kind::Linear => {
                    classifier::linear(backbone, train, classes, &self.settings.linear, seed)?
                }
                Kind::FineTuned => {
                    let config = &self.settings.fine_tune;
                    classifier::fine_tuned(backbone, train, classes, config, seed)?
                }
            };
            let judged = judge(backbone, &classifier, val, &self.attacks, kind, seed)?;
            figures.extend(self.figures(kind, &judged));
            details[kind.name()] = self.per_class(&judged, &val.classes);
            pictures.push((kind, judged));
        }
        let commonest = commonest(&train.classes, &val.classes, classes);
        figures.push(Figure::share("always the commonest class", commonest).baseline());
        Ok(Measured {
            figures,
            picture: Some(picture::picture(&self.set, val, &self.attacks, &pictures)?),
            details,
        })
    }
}

/// Such as `PGD-20 at 8/255`.
fn describe(attack: &Attack) -> String {
    format!("PGD-{} at {}", attack.steps, Fraction(attack.epsilon))
}

/// The share of validation pictures that have the commonest class of the training pictures.
fn commonest(train: &[usize], val: &[usize], classes: usize) -> f64 {
    let of = |all: &[usize], class: usize| all.iter().filter(|own| **own == class).count();
    let common = (0..classes).max_by_key(|&class| of(train, class));
    of(val, common.unwrap_or(0)) as f64 / val.len() as f64
}

impl Pictures {
    /// Pixels [B, 3, S, S] in [0, 1] of the pictures with these numbers.
    fn pixels(&self, numbers: &[usize], backbone: &Backbone) -> Tensor<4> {
        let images: Vec<RgbImage> = numbers.iter().map(|&i| self.images[i].clone()).collect();
        denormalize(image_batch(&images, &backbone.device))
    }
}

/// A trained classifier, outside any gradient graph.
type Classifier = FineTuned<Linear>;

impl Evaluation for Robust {
    fn name(&self) -> &'static str {
        "robust"
    }

    fn protocol(&self) -> Value {
        let Labelled {
            classes,
            train,
            val,
        } = &self.set;
        let Settings {
            size,
            classifiers,
            linear,
            fine_tune,
            ..
        } = &self.settings;
        json!({
            "data": paths::text(&self.data),
            "classes": classes.len(),
            "train_pictures": train.len(),
            "val_pictures": val.len(),
            "size": size,
            "classifiers": classifiers,
            "attacks": self.attacks,
            "linear": {
                "epochs": linear.epochs, "batch": linear.batch, "lr": linear.lr,
                "weight_decay": linear.weight_decay,
            },
            "fine_tune": fine_tune,
        })
    }

    fn look(&self) -> Look {
        Look {
            feature: Feature::Stage4,
            stride: None,
            size: self.settings.size,
        }
    }

    fn is_random(&self) -> bool {
        true
    }

    fn measure(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<Vec<Measured>> {
        let train = self.pictures(&self.set.train)?;
        let val = self.pictures(&self.set.val)?;
        let one = |&seed| self.measured(backbone, [&train, &val], seed);
        seeds.iter().map(one).collect()
    }
}

/// The frozen network of a backbone with this head.
fn with_head(backbone: &Backbone, head: Linear) -> Classifier {
    FineTuned {
        backbone: backbone.encoder.backbone.clone().inference(),
        head,
    }
}

#[cfg(test)]
mod tests;
