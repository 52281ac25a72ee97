//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum, ValueHint};

/// How fast densecl is beside PyTorch on this machine: paired runs, one table.
#[derive(Debug, Parser)]
#[command(
    name = "densecl-bench",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  densecl-bench --python /opt/venv/bin/python --json speed.json --markdown speed.md --plot scale.png
  densecl-bench --rows step,parts --threads 1 --runs 15
  densecl-bench --rows loss --python none                  our side only
  densecl-bench --rows step --device vulkan                on the GPU; PyTorch takes CUDA or ROCm
  densecl-bench --quick                                    tiny sizes: does it all run?

Build everything first: cargo build --release (the rows loader, inference and embed call `densecl`).
What each row means: docs/performance.md. Keep the machine quiet: figures of a busy one are worth little."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) bench: Bench,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Our side: answers requests on standard input
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        device: String,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Bench {
    /// Which rows, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Group::ALL)]
    pub(crate) rows: Vec<Group>,
    /// Numbers of threads, separated by commas [default: 1 and all cores]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,
    /// Paired runs of each row
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: u16,
    /// Least seconds of one run; a short piece of work is repeated
    #[arg(long, default_value_t = 0.3)]
    pub(crate) seconds: f64,
    /// auto, cpu, vulkan, metal, wgpu or cuda: where densecl computes
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// A Python that has torch, or `none`
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(crate) python: String,
    /// Leave torch.compile out: it takes a minute or two for each network
    #[arg(long)]
    pub(crate) no_compile: bool,
    /// The program `densecl` [default: beside this one]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) densecl: Option<PathBuf>,
    /// Photographs for the rows loader and embed [default: rendered scenes]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) images: Option<PathBuf>,
    /// Tiny sizes: to see whether it runs
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the table to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Draw the rows `scale` into this file, a PNG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

/// Rows that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    /// A whole training step
    Step,
    /// Its parts, and the share of each
    Parts,
    /// The dense loss, forward and backward
    Loss,
    /// Two views per image from JPEG files
    Loader,
    /// Features of one picture
    Inference,
    /// `densecl embed` on a folder of pictures
    Embed,
    /// The cost of a step as batch, queue and size grow
    Scale,
}

impl Group {
    pub(crate) const ALL: [Self; 7] = [
        Self::Step,
        Self::Parts,
        Self::Loss,
        Self::Loader,
        Self::Inference,
        Self::Embed,
        Self::Scale,
    ];

    /// The heading of its rows.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Step => "Training step",
            Self::Parts => "Parts of a training step",
            Self::Loss => "Dense loss, forward + backward",
            Self::Loader => "Loader: two views per JPEG file",
            Self::Inference => "Features of one picture",
            Self::Embed => "Features of a folder, whole program",
            Self::Scale => "Training step as the work grows",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
