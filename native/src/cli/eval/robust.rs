//! The arguments of `densecl eval robust`.

use clap::{Args, ValueEnum};
use densecl::config::Fraction;
use densecl::transfer::linear::LinearConfig;
use densecl_eval::robust::{FineTuneConfig, Kind, STEPS, Settings};

use super::{Classes, Common};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl eval robust --weights runs/3sat/weights.safetensors --weights runs/byol/weights.safetensors --data scenes
  densecl eval robust --weights w.safetensors --data cifar10 --seeds 3 --json robust.json
  densecl eval robust --weights w.safetensors --data cifar10 --epsilon 4/255 --attack-steps 50 --classifier linear

DATA holds train/CLASS/*.png and val/CLASS/*.png, or CLASS/*.png: then a quarter of each class is kept
for validation, always the same. Or it is `scenes`, or scenes:N for the objects of N scenes.
An epsilon is a part of the range of pixels: 8/255 is eight levels of a picture's bytes.")]
pub(crate) struct Robust {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) classes: Classes,
    /// Side in pixels of the network's input: the centred square of each picture
    #[arg(long, default_value_t = Settings::default().size)]
    pub(crate) size: u32,
    /// Largest change of a pixel's value, above 0 and at most 1; may be given often [default: 2/255 and 8/255]
    #[arg(long, value_name = "PART", allow_negative_numbers = true)]
    pub(crate) epsilon: Vec<Fraction>,
    /// Iterations of an attack
    #[arg(long, value_name = "N", default_value_t = STEPS)]
    pub(crate) attack_steps: usize,
    /// Change in one iteration, at most --epsilon [default: a quarter of it]
    #[arg(long, value_name = "PART", allow_negative_numbers = true)]
    pub(crate) attack_step: Option<Fraction>,
    /// Attack only this classifier
    #[arg(long, value_enum)]
    pub(crate) classifier: Option<Classifier>,
    /// Passes over the pictures for training the linear layer
    #[arg(long, default_value_t = LinearConfig::default().epochs)]
    pub(crate) epochs: u64,
    /// Learning rate of the linear layer
    #[arg(long, default_value_t = LinearConfig::default().lr, allow_negative_numbers = true)]
    pub(crate) lr: f64,
    /// Passes over the pictures for fine-tuning
    #[arg(long, default_value_t = FineTuneConfig::default().epochs)]
    pub(crate) fine_tune_epochs: u64,
    /// Learning rate of fine-tuning, with cosine decay to 0
    #[arg(long, default_value_t = FineTuneConfig::default().lr, allow_negative_numbers = true)]
    pub(crate) fine_tune_lr: f64,
}

/// A classifier on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Classifier {
    /// A linear layer on the frozen backbone
    Linear,
    /// The fine-tuned backbone
    FineTuned,
}

impl From<Classifier> for Kind {
    fn from(classifier: Classifier) -> Self {
        match classifier {
            Classifier::Linear => Self::Linear,
            Classifier::FineTuned => Self::FineTuned,
        }
    }
}

impl Robust {
    /// The settings of the evaluation.
    pub(crate) fn settings(&self) -> Settings {
        let usual = Settings::default();
        let epsilons: Vec<f64> = self.epsilon.iter().map(|epsilon| epsilon.0).collect();
        Settings {
            size: self.size,
            classifiers: self
                .classifier
                .map_or(usual.classifiers, |only| vec![only.into()]),
            epsilons: if epsilons.is_empty() {
                usual.epsilons
            } else {
                epsilons
            },
            step: self.attack_step.map(|step| step.0),
            steps: self.attack_steps,
            linear: LinearConfig {
                epochs: self.epochs,
                lr: self.lr,
                ..usual.linear
            },
            fine_tune: FineTuneConfig {
                epochs: self.fine_tune_epochs,
                lr: self.fine_tune_lr,
                ..usual.fine_tune
            },
        }
    }
}
