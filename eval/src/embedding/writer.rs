//! The file that features are written to: its format, and the table that is begun with the first row.

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

/// What a name's extension asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    SafeTensors,
    Npy,
    Csv,
    Parquet,
}

impl Format {
    /// The format that `path` promises, if it can hold what `recipe` makes.
    ///
    /// # Errors
    /// For another extension, and for what the format has no place for.
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

/// The file that is written beside a table at `path`: the names of an array.
pub fn side_file(path: &Path) -> Option<PathBuf> {
    let extension = path.extension().unwrap_or_default();
    extension
        .eq_ignore_ascii_case("npy")
        .then(|| names_path(path))
}

/// A table that is begun with its first row, which tells the shapes.
pub(crate) struct TableWriter {
    path: PathBuf,
    format: Format,
    origin: Origin,
    /// None once the table has it.
    file: Option<AtomicFile>,
    table: Option<Box<dyn Table>>,
    rows: usize,
}

impl TableWriter {
    /// A file that will be at `path`.
    ///
    /// # Errors
    /// When its folder cannot be written to: found out now rather than after an hour.
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

    /// Adds the features of one picture, which have these shapes.
    ///
    /// # Errors
    /// When the disk is full or gone, or the format has no way to write the name.
    ///
    /// # Panics
    /// When the shapes are not those of the first row.
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

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Completes the file; returns the files that there are now.
    ///
    /// # Errors
    /// When there is no row, or the disk is full or gone.
    pub(crate) fn finish(self) -> anyhow::Result<Vec<PathBuf>> {
        match self.table {
            Some(table) => table.finish(),
            None => bail!("{} would have no row", self.path.display()),
        }
    }
}
