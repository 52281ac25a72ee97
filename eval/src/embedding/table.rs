//! Shared by the writers of all formats: columns, rows, and numbers as bytes.

use std::path::PathBuf;

/// One feature of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// The shape of one row: [C] or [C, h, w].
    pub(super) shape: Vec<usize>,
}

impl Column {
    /// Number of cells of a row, and of numbers per cell.
    fn cells(&self) -> (usize, usize) {
        (self.shape[1..].iter().product(), self.shape[0])
    }

    /// The vectors of a row cell by cell, each with the row and column of its cell in the grid.
    pub(super) fn vectors(&self, row: &[f32]) -> impl Iterator<Item = ([usize; 2], Vec<f32>)> {
        let (cells, channels) = self.cells();
        let columns = self.shape.get(2).copied().unwrap_or(1);
        (0..cells).map(move |cell| {
            let vector = (0..channels).map(|c| row[c * cells + cell]).collect();
            ([cell / columns, cell % columns], vector)
        })
    }
}

/// Writes rows one by one. Dropped before [`Table::finish`], it leaves no file.
pub(super) trait Table {
    /// Adds a picture: one slice per column, row major.
    ///
    /// # Errors
    /// When the disk is full or not available.
    fn row(&mut self, name: &str, features: &[&[f32]]) -> anyhow::Result<()>;

    /// Completes the files and renames them to their final names; returns their paths.
    ///
    /// # Errors
    /// When that fails; earlier files of these names are then unchanged.
    fn finish(self: Box<Self>) -> anyhow::Result<Vec<PathBuf>>;
}

/// Encodes numbers as little-endian float32, as in all binary formats here.
pub(super) fn little_endian(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
