//! Writes safetensors row by row: a tensor per feature, and the names.
//!
//! The header comes first and contains the number of rows, which is known last, so that space is reserved for it. A
//! tensor's rows must be contiguous: those of the first feature are written to their final place, those of the
//! others to temporary files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::recipe::Origin;
use super::table::{Column, Table, little_endian};
use densecl_train::files::{AtomicFile, folder_of, writing};

/// Name of the tensor with the names: a JSON list of strings as bytes, because file names may contain any character.
pub(super) const NAMES: &str = "names";
/// Key of the [`Origin`], as JSON, in the header's metadata.
pub(super) const ORIGIN: &str = "densecl_embeddings";

/// `FILE.safetensors` with float32 [rows, …] per feature and uint8 [bytes] with the names.
pub(super) struct TensorTable {
    file: BufWriter<AtomicFile>,
    path: PathBuf,
    columns: Vec<Column>,
    /// Temporary files with the rows of all columns but the first.
    waiting: Vec<BufWriter<File>>,
    names: Vec<String>,
    origin: String,
    /// Bytes reserved for the header.
    room: usize,
}

impl TensorTable {
    pub(super) fn begin(
        file: AtomicFile,
        path: &Path,
        columns: Vec<Column>,
        origin: &Origin,
    ) -> anyhow::Result<Self> {
        let temporary = |_: &Column| tempfile::tempfile_in(folder_of(path)).map(BufWriter::new);
        let waiting: Result<_, io::Error> = columns.iter().skip(1).map(temporary).collect();
        let mut table = Self {
            file: BufWriter::new(file),
            path: path.to_path_buf(),
            waiting: waiting?,
            columns,
            names: Vec::new(),
            origin: serde_json::to_string(origin)?,
            room: 0,
        };
        // No number in the header has more than 20 digits (u64).
        let numbers = 3 * (table.columns.len() + 1);
        let longest = table.header(1, 1)?.len() + 20 * numbers;
        table.room = longest.next_multiple_of(64);
        table.file.write_all(&vec![b' '; table.room])?;
        Ok(table)
    }

    /// The header, without padding, for `rows` rows whose names take `names` bytes.
    fn header(&self, rows: usize, names: usize) -> anyhow::Result<Vec<u8>> {
        let mut end = 0;
        let mut place = |dtype: Dtype, shape: Vec<usize>| {
            let start = end;
            end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
            TensorInfo {
                dtype,
                shape,
                data_offsets: (start, end),
            }
        };
        let mut tensors: Vec<(String, TensorInfo)> = Vec::new();
        for column in &self.columns {
            let shape = [&[rows], column.shape.as_slice()].concat();
            tensors.push((column.name.to_string(), place(Dtype::F32, shape)));
        }
        tensors.push((NAMES.to_string(), place(Dtype::U8, vec![names])));
        let origin = HashMap::from([(ORIGIN.to_string(), self.origin.clone())]);
        let metadata = Metadata::new(Some(origin), tensors)?;
        let mut header = vec![0; 8];
        serde_json::to_writer(&mut header, &metadata)?;
        Ok(header)
    }

    fn complete(&mut self) -> anyhow::Result<()> {
        for waiting in &mut self.waiting {
            waiting.flush()?;
            let file = waiting.get_mut();
            file.seek(SeekFrom::Start(0))?;
            io::copy(file, &mut self.file)?;
        }
        let names = serde_json::to_vec(&self.names)?;
        self.file.write_all(&names)?;
        let mut header = self.header(self.names.len(), names.len())?;
        // The format permits trailing spaces in a header.
        header.resize(self.room, b' ');
        let length = (self.room - 8) as u64;
        header[..8].copy_from_slice(&length.to_le_bytes());
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        Ok(())
    }
}

impl Table for TensorTable {
    fn row(&mut self, name: &str, features: &[&[f32]]) -> anyhow::Result<()> {
        let (first, others) = features.split_first().expect("a feature per column");
        self.file.write_all(&little_endian(first))?;
        for (waiting, values) in self.waiting.iter_mut().zip(others) {
            waiting.write_all(&little_endian(values))?;
        }
        self.names.push(name.to_string());
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<Vec<PathBuf>> {
        self.complete().with_context(|| writing(&self.path))?;
        let file = self.file.into_inner().map_err(|e| e.into_error());
        file.with_context(|| writing(&self.path))?.commit()?;
        Ok(vec![self.path])
    }
}
