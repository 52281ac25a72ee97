//! Writes NumPy's `.npy`, and the names of its rows in a text file beside it.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::table::{Column, Table, little_endian};
use densecl_train::files::{AtomicFile, writing};
use densecl_train::npy;
use densecl_train::paths;

/// `FILE.npy`, and `FILE.txt` with a name per line; a name with a line break is quoted and escaped.
pub(super) struct ArrayTable {
    array: BufWriter<AtomicFile>,
    names: BufWriter<AtomicFile>,
    path: PathBuf,
    shape: Vec<usize>,
    rows: usize,
}

impl ArrayTable {
    pub(super) fn begin(file: AtomicFile, path: &Path, column: Column) -> anyhow::Result<Self> {
        let names = AtomicFile::create(&names_path(path))?;
        let mut table = Self {
            array: BufWriter::new(file),
            names: BufWriter::new(names),
            path: path.to_path_buf(),
            shape: column.shape,
            rows: 0,
        };
        let header = table.header();
        table.array.write_all(&header)?;
        Ok(table)
    }

    fn header(&self) -> Vec<u8> {
        npy::header(&[&[self.rows], self.shape.as_slice()].concat())
    }
}

impl Table for ArrayTable {
    fn row(&mut self, name: &str, features: &[&[f32]]) -> anyhow::Result<()> {
        self.array.write_all(&little_endian(features[0]))?;
        writeln!(self.names, "{}", paths::in_line(name))?;
        self.rows += 1;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<Vec<PathBuf>> {
        let header = self.header();
        let context = || writing(&self.path);
        self.array.seek(SeekFrom::Start(0)).with_context(context)?;
        self.array.write_all(&header).with_context(context)?;
        let array = self.array.into_inner().map_err(|e| e.into_error());
        let names = self.names.into_inner().map_err(|e| e.into_error());
        let (array, names) = (array.with_context(context)?, names.with_context(context)?);
        // The array is renamed last, so that an array never exists without its names.
        names.commit()?;
        array.commit()?;
        Ok(vec![self.path.clone(), names_path(&self.path)])
    }
}

/// The path of the names.
pub(super) fn names_path(path: &Path) -> PathBuf {
    path.with_extension("txt")
}
