//! The measured cells of a comparison, stored on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Evaluation;
use crate::figures::Figure;
use densecl_train::files::write_atomically;

/// To be increased when an evaluation computes something else, so that stored cells are measured again.
const VERSION: u32 = 2;

/// The figures of one evaluation of one backbone with one seed: a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Cell {
    /// Everything that determines the figures, see [`key`].
    key: Value,
    figures: Vec<Figure>,
}

/// All cells of a comparison.
pub(super) struct Cells {
    path: PathBuf,
    cells: Vec<Cell>,
}

/// Everything that determines the figures of a cell: evaluation, protocol, weights and seed.
pub(super) fn key(evaluation: &dyn Evaluation, identity: &Value, seed: u64) -> Value {
    json!({
        "version": VERSION,
        "task": evaluation.name(),
        "protocol": evaluation.protocol(),
        "weights": identity,
        "seed": seed,
    })
}

impl Cells {
    /// Reads the stored cells; a missing file means that there are none.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let cells = if path.exists() {
            let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{} is damaged: delete it, and everything is measured again",
                    path.display()
                )
            })?
        } else {
            Vec::new()
        };
        Ok(Self {
            path: path.to_path_buf(),
            cells,
        })
    }

    pub(super) fn get(&self, key: &Value) -> Option<&[Figure]> {
        let found = self.cells.iter().find(|cell| cell.key == *key);
        found.map(|cell| cell.figures.as_slice())
    }

    /// Adds cells and writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn add(
        &mut self,
        new: impl Iterator<Item = (Value, Vec<Figure>)>,
    ) -> anyhow::Result<()> {
        self.cells
            .extend(new.map(|(key, figures)| Cell { key, figures }));
        let text = serde_json::to_string_pretty(&self.cells).context("writing cells as JSON")?;
        write_atomically(&self.path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_exactly_and_damage_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("cells.json");
        let figures = vec![
            Figure::share("a", 0.1 + 0.2).with_interval(Some([1.0 / 3.0, 0.5])),
            Figure::count("b", 7),
        ];
        let mut cells = Cells::open(&path).expect("none yet");
        let key = json!({ "seed": 3, "lr": 0.1 });
        cells
            .add([(key.clone(), figures.clone())].into_iter())
            .expect("written");
        let read = Cells::open(&path).expect("read");
        assert_eq!(read.get(&key), Some(figures.as_slice()));
        assert_eq!(read.get(&json!({ "seed": 4, "lr": 0.1 })), None);
        fs::write(&path, "[{").expect("written");
        let error = Cells::open(&path).err().expect("refused").to_string();
        assert!(
            error.contains("cells.json is damaged: delete it"),
            "{error}"
        );
    }
}
