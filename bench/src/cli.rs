//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum, ValueHint};

/// Compares the speed of densecl and PyTorch on this machine, in paired runs.
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
    /// A first look at a GPU: does it compute right, how fast, and by which kernels?
    Gpu(crate::gpu::Gpu),
    /// The densecl worker process: answers requests on standard input
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        device: String,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Bench {
    /// Groups of rows to measure, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Group::ALL)]
    pub(crate) rows: Vec<Group>,
    /// Numbers of threads, separated by commas [default: 1 and all cores]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,
    /// Number of paired runs of each row
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: u16,
    /// Shortest duration of a run in seconds; shorter work is repeated until it is reached
    #[arg(long, default_value_t = 0.3)]
    pub(crate) seconds: f64,
    /// The device densecl computes on: auto, cpu, vulkan, metal, wgpu or cuda
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// A Python interpreter with torch installed, or `none` to measure densecl alone
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(crate) python: String,
    /// Do not measure torch.compile, which takes a minute or two to compile each network
    #[arg(long)]
    pub(crate) no_compile: bool,
    /// The program `densecl` [default: beside this one]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) densecl: Option<PathBuf>,
    /// Photographs for the rows loader and embed [default: rendered scenes]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) images: Option<PathBuf>,
    /// Use tiny sizes, only to check that everything runs
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write all figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the table to this file as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Draw the rows of group `scale` into this PNG file
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

/// A group of rows, shown as one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    /// A whole training step
    Step,
    /// The parts of a training step, and the share of each
    Parts,
    /// The dense loss, forward and backward
    Loss,
    /// Two views per image from JPEG files
    Loader,
    /// Features of one picture
    Inference,
    /// `densecl embed` on a folder of pictures
    Embed,
    /// Speed of a training step as batch, queue and image size grow
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

    /// The heading above the group's table.
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
