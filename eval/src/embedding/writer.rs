//! Selects the format of a feature file, and writes it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl_train::files::AtomicFile;

use super::array::{ArrayTable, names_path};
use super::lines::LineTable;
use super::parquet::ParquetTable;
use super::recipe::{Origin, Recipe};
use super::table::{Column, Table};
use super::tensors::TensorTable;

/// The format of a feature file, given by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    SafeTensors,
    Npy,
    Csv,
    Parquet,
}

impl Format {
    /// The format for the extension of `path`, if it can hold the features of `recipe`.
    ///
    /// # Errors
    /// For an unknown extension, and for features that the format cannot hold.
    pub(crate) fn of(path: &Path, recipe: &Recipe) -> anyhow::Result<Self> {
        let shown = path.display();
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let format = match extension.to_ascii_lowercase().as_str() {
            "safetensors" => Self::SafeTensors,
            "npy" => Self::Npy,
            "csv" => Self::Csv,
            "parquet" => Self::Parquet,
            _ => bail!(
                "--out {shown}: give a name that ends in .safetensors, .npy, .csv or .parquet"
            ),
        };
        let several = recipe.features.len() > 1;
        if format == Self::Npy && several {
            bail!(
                "--out {shown}: an .npy file holds one array; give one --feature, or .safetensors"
            );
        }
        if matches!(format, Self::Csv | Self::Parquet) && several && !recipe.is_vectors() {
            bail!(
                "--out {shown}: with --pool none a row is a cell, and features differ in cells; give \
                 one --feature, or .safetensors"
            );
        }
        Ok(format)
    }
}

/// The file that is written in addition to `path`: the names that belong to a `.npy`.
pub fn side_file(path: &Path) -> Option<PathBuf> {
    let extension = path.extension().unwrap_or_default();
    extension
        .eq_ignore_ascii_case("npy")
        .then(|| names_path(path))
}

/// Writes a feature file. The table is created with the first row, which determines the shapes.
pub(crate) struct TableWriter {
    path: PathBuf,
    format: Format,
    origin: Origin,
    /// `None` once the table has been created.
    file: Option<AtomicFile>,
    table: Option<Box<dyn Table>>,
    rows: usize,
}

impl TableWriter {
    /// Creates a file that is renamed to `path` at the end.
    ///
    /// # Errors
    /// When its folder cannot be written to; checked here, because otherwise it would fail only after all features
    /// were computed.
    pub(crate) fn create(path: &Path, format: Format, origin: Origin) -> anyhow::Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            format,
            origin,
            file: Some(AtomicFile::create(path)?),
            table: None,
            rows: 0,
        })
    }

    /// Adds the features of one picture, with their shapes.
    ///
    /// # Errors
    /// When the disk is full or not available, or the format cannot represent the name.
    ///
    /// # Panics
    /// When the shapes differ from those of the first row.
    pub(crate) fn row(
        &mut self,
        name: &str,
        shapes: &[&[usize]],
        features: &[&[f32]],
    ) -> anyhow::Result<()> {
        if let Some(file) = self.file.take() {
            let kinds = self.origin.recipe.features.iter().zip(shapes);
            let columns: Vec<Column> = kinds
                .map(|(kind, shape)| Column {
                    name: kind.name(),
                    shape: shape.to_vec(),
                })
                .collect();
            self.table = Some(self.begin(file, columns)?);
        }
        self.rows += 1;
        let table = self.table.as_mut().expect("begun above, or before");
        let added = table.row(name, features);
        added.with_context(|| format!("writing row {} of {}", self.rows, self.path.display()))
    }

    fn begin(&self, file: AtomicFile, columns: Vec<Column>) -> anyhow::Result<Box<dyn Table>> {
        Ok(match self.format {
            Format::SafeTensors => {
                Box::new(TensorTable::begin(file, &self.path, columns, &self.origin)?)
            }
            Format::Npy => {
                let [column] = <[Column; 1]>::try_from(columns).expect("checked with the format");
                Box::new(ArrayTable::begin(file, &self.path, column)?)
            }
            Format::Csv => {
                let cells = !self.origin.recipe.is_vectors();
                Box::new(LineTable::begin(file, &self.path, columns, cells)?)
            }
            Format::Parquet => {
                let cells = !self.origin.recipe.is_vectors();
                Box::new(ParquetTable::begin(
                    file,
                    &self.path,
                    columns,
                    cells,
                    &self.origin,
                )?)
            }
        })
    }

    /// Number of rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Completes the files and returns their paths.
    ///
    /// # Errors
    /// When there is no row, or the disk is full or not available.
    pub(crate) fn finish(self) -> anyhow::Result<Vec<PathBuf>> {
        match self.table {
            Some(table) => table.finish(),
            None => bail!("{} would have no row", self.path.display()),
        }
    }
}
