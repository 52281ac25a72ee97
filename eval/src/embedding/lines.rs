//! Writes CSV (RFC 4180): a header, then one line per picture or per cell.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::table::{Column, Table};
use densecl_train::files::{AtomicFile, writing};

/// `name,stage4_0,stage4_1,…`, or `name,row,column,stage4_0,…` with one line per cell.
pub(super) struct LineTable {
    file: BufWriter<AtomicFile>,
    path: PathBuf,
    columns: Vec<Column>,
    /// Whether there is one line per cell; the table then has a single feature.
    cells: bool,
}

impl LineTable {
    pub(super) fn begin(
        file: AtomicFile,
        path: &Path,
        columns: Vec<Column>,
        cells: bool,
    ) -> anyhow::Result<Self> {
        let mut file = BufWriter::new(file);
        write!(file, "name{}", if cells { ",row,column" } else { "" })?;
        for column in &columns {
            for i in 0..column.shape[0] {
                write!(file, ",{}_{i}", column.name)?;
            }
        }
        writeln!(file)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            columns,
            cells,
        })
    }
}

impl Table for LineTable {
    fn row(&mut self, name: &str, features: &[&[f32]]) -> anyhow::Result<()> {
        let name = quoted(name);
        let out = &mut self.file;
        // `{}` gives the shortest text that parses to the same f32.
        let numbers = |out: &mut BufWriter<AtomicFile>, values: &[f32]| {
            values.iter().try_for_each(|value| write!(out, ",{value}"))
        };
        if self.cells {
            for ([row, column], vector) in self.columns[0].vectors(features[0]) {
                write!(out, "{name},{row},{column}")?;
                numbers(out, &vector)?;
                writeln!(out)?;
            }
        } else {
            write!(out, "{name}")?;
            for values in features {
                numbers(out, values)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> anyhow::Result<Vec<PathBuf>> {
        let file = self.file.into_inner().map_err(|e| e.into_error());
        file.with_context(|| writing(&self.path))?.commit()?;
        Ok(vec![self.path])
    }
}

/// Quotes a field where RFC 4180 requires it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}
