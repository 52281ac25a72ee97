//! The arguments of `densecl pretrain`, and their help.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Device;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl pretrain --config quickstart --out runs/try --seed 3
  densecl pretrain --config densecl_r50_coco_800ep --data /data/coco/train2017
  densecl pretrain --config my.toml --data list.txt --set optim.lr=0.1 --set method.lambda=0
  densecl pretrain --resume runs/mine --steps 20000
  densecl pretrain --config photos_r18 --data imgs --devices vulkan:0,vulkan:1
  densecl pretrain --config photos_r18 --data imgs --serve 127.0.0.1:6006 --serve-page dist
  densecl pretrain --config densecl_r50_coco_800ep --data imgs --init moco_v2_800ep_pretrain.pth.tar
  densecl pretrain --config densecl_r50_imagenet_200ep --data /data/imagenet --continue-from epoch_100.pth

Every setting can be given with --set; `densecl config NAME` prints them all.")]
pub(crate) struct Pretrain {
    /// A preset (see `densecl config`) or a TOML file [default: the authors' settings]
    #[arg(long, value_name = "PRESET|FILE", conflicts_with = "resume")]
    pub(crate) config: Option<String>,
    /// A folder of images (walked recursively), a text file with a path per line, a pack, or `scenes`
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) data: Option<String>,
    /// Folder of the run [default: runs/NAME]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the run in this folder, with the result of an uninterrupted run
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) resume: Option<PathBuf>,
    /// Start from these weights, densecl's own or another program's (see `densecl import`), or from
    /// `photos`, those that come with the program
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["resume", "continue_from"])]
    pub(crate) init: Option<String>,
    /// Of --init only the tensors whose names begin with this, and without it
    #[arg(long, value_name = "PREFIX", requires = "init")]
    pub(crate) prefix: Option<String>,
    /// Leave out tensors of --init with such names, * for any characters; may be given often
    #[arg(long, value_name = "PATTERN", requires = "init")]
    pub(crate) ignore: Vec<String>,
    /// Continue a training state of the authors, MoCo v2 or mmselfsup: both encoders, queues, SGD, step
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "resume")]
    pub(crate) continue_from: Option<String>,
    /// Replace an earlier run in the same folder
    #[arg(long, conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Set one setting; may be given often
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Steps of the whole run
    #[arg(long, conflicts_with = "epochs", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
    /// Passes over the data
    #[arg(long)]
    pub(crate) epochs: Option<u64>,
    /// Images per step
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<usize>,
    /// The seed of everything random
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Number format of convolutions and activations: f32, bf16 or f16 [default: f32]
    #[arg(long)]
    pub(crate) precision: Option<String>,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Several devices, one rank of the training on each: vulkan:0,vulkan:1 or cpu,cpu (see `densecl devices`)
    #[arg(long, value_name = "LIST", conflicts_with = "device")]
    pub(crate) devices: Option<String>,
    /// At the end, list the GPU kernels that were chosen for the convolutions, with their times
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Also write the figures of the run to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// Watching the run in a browser.
#[derive(Debug, Args)]
#[command(next_help_heading = "Watching in a browser")]
pub(crate) struct Serve {
    /// Serve the newest weights and metrics.jsonl, read only, until the run ends; 0 as port for a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) serve: Option<String>,
    /// Serve a built demo page at the same address, which shows the run
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) serve_page: Option<PathBuf>,
    /// Let pages of this origin read the run, such as http://localhost:8080
    #[arg(long, value_name = "URL")]
    pub(crate) serve_origin: Option<String>,
}

impl Pretrain {
    /// All overrides in the form of `--set`; those of named options come last and take precedence.
    pub(crate) fn assignments(&self) -> Vec<String> {
        let mut sets = self.sets.clone();
        let mut set = |key: &str, value: Option<String>| {
            sets.extend(value.map(|value| format!("{key}={value}")));
        };
        set("data.source", self.data.clone());
        // `--epochs` clears the steps of a preset, which would take precedence over epochs.
        set("train.steps", self.epochs.map(|_| "0".to_string()));
        set("train.epochs", self.epochs.map(|n| n.to_string()));
        set("train.steps", self.steps.map(|n| n.to_string()));
        set("train.batch_size", self.batch_size.map(|n| n.to_string()));
        set("train.seed", self.seed.map(|n| n.to_string()));
        set("train.device", self.device.device.clone());
        set("train.device", self.devices.clone());
        set("optim.precision", self.precision.clone());
        set("train.init", self.init.clone());
        set("train.init_prefix", self.prefix.clone());
        let ignore = Some(&self.ignore).filter(|patterns| !patterns.is_empty());
        // As JSON, whose lists of texts are TOML's, too.
        let ignore = ignore.map(|patterns| serde_json::json!(patterns).to_string());
        set("train.init_ignore", ignore);
        set("train.continue_from", self.continue_from.clone());
        sets
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn named_flags_overrule_set() {
        let cli = Cli::try_parse_from([
            "densecl",
            "pretrain",
            "--epochs",
            "3",
            "--set",
            "train.epochs=9",
            "--seed",
            "7",
        ])
        .expect("valid");
        let Some(Command::Pretrain(pretrain)) = cli.command else {
            panic!("another command")
        };
        assert_eq!(
            pretrain.assignments(),
            [
                "train.epochs=9",
                "train.steps=0",
                "train.epochs=3",
                "train.seed=7"
            ]
        );
    }
}
