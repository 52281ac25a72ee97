//! The kernels of a run on a GPU: how they are chosen, and the file in the run's folder that keeps what was chosen.
//!
//! A run that continues takes the kernels that it had: it need not measure again, and it computes the same bits.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use densecl::ops::choice::{self, Chosen, Mode};

use super::folder::RunDir;
use crate::config::RunConfig;
use crate::events::{Observer, TrainEvent};
use crate::files::write_atomically;
use crate::notes::note;

/// Sets how kernels are chosen in a run with this number of ranks.
///
/// # Errors
/// When the setting names no way to choose.
pub(super) fn set_mode(config: &RunConfig, ranks: usize) -> anyhow::Result<()> {
    choice::set_mode(match config.train.kernels.parse()? {
        // Each rank would measure for itself, and kernels that round differently let the ranks' states drift apart.
        Mode::Measured if ranks > 1 => Mode::Fixed,
        mode => mode,
    });
    Ok(())
}

/// As [`set_mode`]; if the run is `resumed`, takes what was chosen before.
///
/// # Errors
/// When the file of the run's folder cannot be read.
pub(super) fn begin(
    config: &RunConfig,
    ranks: usize,
    run: &RunDir,
    resumed: bool,
) -> anyhow::Result<()> {
    set_mode(config, ranks)?;
    let path = run.kernels();
    if resumed && path.exists() {
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let chosen: Vec<Chosen> = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} cannot be read; delete it to choose kernels anew",
                path.display()
            )
        })?;
        choice::remember(chosen);
    }
    Ok(())
}

/// Keeps what was chosen in a file, and tells the user what was left out.
pub(super) struct KernelFile {
    path: PathBuf,
    /// The number of choices in the file.
    written: usize,
}

impl KernelFile {
    pub(super) fn of(run: &RunDir) -> Self {
        Self {
            path: run.kernels(),
            written: 0,
        }
    }
}

impl Observer for KernelFile {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Stepped { .. } => choice::take_notes().into_iter().for_each(note),
            TrainEvent::Saved { .. } | TrainEvent::Ended => {
                let chosen = choice::chosen();
                if chosen.len() > self.written {
                    let mut text = serde_json::to_vec_pretty(&chosen)?;
                    text.push(b'\n');
                    write_atomically(&self.path, &text)?;
                    self.written = chosen.len();
                }
            }
            _ => {}
        }
        Ok(())
    }
}
