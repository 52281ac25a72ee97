//! Safetensors, written row by row: a tensor per feature, and the names.
//!
//! The header stands first and says how many rows there are, which is known last: room is left for it.
//! The first feature goes straight to its place; further ones wait in files without a name, because a
//! tensor's rows have to follow each other.

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

/// The tensor with the names: JSON, a list of texts, as bytes. File names may hold anything.
pub(super) const NAMES: &str = "names";
/// The key under which [`Origin`] stands in the header's metadata, as JSON.
pub(super) const ORIGIN: &str = "densecl_embeddings";

/// `FILE.safetensors` with float32 [rows, …] per feature and uint8 [bytes] of names.
pub(super) struct TensorTable {
    file: BufWriter<AtomicFile>,
    path: PathBuf,
    columns: Vec<Column>,
    /// The rows of all columns but the first.
    waiting: Vec<BufWriter<File>>,
    names: Vec<String>,
    origin: String,
    /// Bytes before the first row.
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
        // No number in the header is longer than a u64's 20 digits, of which two are there already.
        let numbers = 3 * (table.columns.len() + 1);
        let longest = table.header(1, 1)?.len() + 20 * numbers;
        table.room = longest.next_multiple_of(64);
        table.file.write_all(&vec![b' '; table.room])?;
        Ok(table)
    }

    /// The header of `rows` rows, the names of which take `names` bytes, without padding.
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
        // The format lets a header end in spaces.
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
