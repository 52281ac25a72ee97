//! The kernels of a run on a GPU: how they are chosen, and the file in the run's folder that keeps what was chosen.
//!
//! A run that continues takes the kernels that it had: it need not measure again, and it computes the same bits.

use std::path::{Path, PathBuf};

use anyhow::Context;
use densecl::ops::choice::{self, Chosen, Mode};

use super::folder::RunDir;
use crate::config::RunConfig;
use crate::events::{Observer, TrainEvent};
use crate::files::{read_at_most, write_atomically};
use crate::notes::note;

/// Longest permitted file. A choice takes 700 bytes, and a network has some 150.
const MOST_BYTES: u64 = 16 << 20;

/// Sets how kernels are chosen in a run with this number of ranks.
///
/// # Errors
/// When the setting names no way to choose.
pub(super) fn set_mode(config: &RunConfig, ranks: usize) -> anyhow::Result<()> {
    choice::set_mode(mode(config, ranks)?);
    Ok(())
}

fn mode(config: &RunConfig, ranks: usize) -> anyhow::Result<Mode> {
    Ok(match config.train.kernels.parse()? {
        // Each rank would measure for itself, and kernels that round differently let the ranks' states drift apart.
        Mode::Measured if ranks > 1 => Mode::Fixed,
        mode => mode,
    })
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
        choice::remember(read(&path)?);
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<Chosen>> {
    let text = read_at_most(path, MOST_BYTES)?;
    serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} cannot be read; delete it to choose kernels anew",
            path.display()
        )
    })
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

#[cfg(test)]
mod tests {
    use std::fs;

    use densecl::ops::choice::Algorithm;

    use super::*;

    #[test]
    fn ranks_do_not_measure_and_keep_what_is_fixed() {
        let mode_of = |kernels: &str, ranks| {
            let mut config = RunConfig::default();
            config.train.kernels = kernels.to_string();
            mode(&config, ranks).expect("a way to choose")
        };
        assert_eq!(mode_of("measured", 1), Mode::Measured);
        assert_eq!(mode_of("measured", 2), Mode::Fixed);
        assert_eq!(mode_of("winograd", 2), Mode::Only(Algorithm::Winograd));
    }

    #[test]
    fn a_damaged_file_of_choices_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kernels.json");
        fs::write(&path, "[{\"device\": 3").expect("a file");
        let error = format!("{:#}", read(&path).expect_err("it is damaged"));
        assert!(
            error.contains("kernels.json") && error.contains("delete it"),
            "{error}"
        );
    }
}
