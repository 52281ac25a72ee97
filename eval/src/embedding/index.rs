//! Reads features from a safetensors file: the index of `densecl search`.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::recipe::{Kind, Origin};
use super::tensors::{NAMES, ORIGIN};

/// Longest permitted header; that of an index has some hundred bytes.
const MAX_HEADER: u64 = 1 << 20;

/// An open index: its metadata and names are in memory, its vectors stay on disk.
pub struct Index {
    file: File,
    path: PathBuf,
    /// How the features were computed.
    pub origin: Origin,
    /// The names of the pictures, by row.
    pub names: Vec<String>,
    tensors: Metadata,
    /// Offset of the tensors in the file.
    data: u64,
}

/// A picture and its cosine similarity with the query, in [-1, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Row of the picture in the index.
    pub row: usize,
    /// Cosine similarity with the query, in [-1, 1].
    pub score: f32,
}

impl Index {
    /// Opens an index.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or was not written by `densecl embed`.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::read(path).with_context(|| format!("{} cannot be used as index", path.display()))
    }

    /// Path of the index.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut header_length = [0; 8];
        file.read_exact(&mut header_length).map_err(not_whole)?;
        let header_length = u64::from_le_bytes(header_length);
        ensure!(
            header_length <= MAX_HEADER,
            "no file of `densecl embed --out FILE.safetensors`"
        );
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(not_whole)?;
        // Deserialising checks that the tensors are contiguous and that their sizes match their shapes.
        let tensors: Metadata =
            serde_json::from_slice(&header).context("not a safetensors file")?;
        let origin = tensors.metadata().as_ref().and_then(|all| all.get(ORIGIN));
        let origin = origin.context("a safetensors file, but not one of `densecl embed`")?;
        let origin = serde_json::from_str(origin).context("its account of itself is damaged")?;
        let data = 8 + header_length;
        ensure!(
            data.checked_add(tensors.data_len() as u64) == Some(length),
            "it is {length} bytes long, {} expected; it may be truncated",
            data.saturating_add(tensors.data_len() as u64)
        );
        let mut index = Self {
            file,
            path: path.to_path_buf(),
            origin,
            names: Vec::new(),
            tensors,
            data,
        };
        index.names = index.read_names()?;
        Ok(index)
    }

    fn read_names(&mut self) -> anyhow::Result<Vec<String>> {
        let info = self
            .tensors
            .info(NAMES)
            .filter(|info| info.dtype == Dtype::U8);
        let (start, end) = info.context("it has no names")?.data_offsets;
        // The header was checked against the length of the file, so this allocates at most that length.
        let mut bytes = vec![0; end - start];
        self.file.seek(SeekFrom::Start(self.data + start as u64))?;
        self.file.read_exact(&mut bytes)?;
        serde_json::from_slice(&bytes).context("its names are damaged")
    }

    /// The features of which the index has one vector per picture.
    pub fn vectors(&self) -> Vec<Kind> {
        let kinds = self.origin.recipe.features.iter().copied();
        kinds.filter(|kind| self.vector(*kind).is_some()).collect()
    }

    fn vector(&self, kind: Kind) -> Option<&TensorInfo> {
        let info = self.tensors.info(kind.name())?;
        let fits = info.dtype == Dtype::F32
            && matches!(info.shape[..], [rows, channels] if rows == self.names.len() && channels > 0);
        fits.then_some(info)
    }

    /// The `k` rows with the largest cosine similarity to `query`, best first; of equal ones the earlier row.
    ///
    /// # Errors
    /// When the file cannot be read, or it has no vectors of `kind` of the query's length.
    pub fn nearest(&self, kind: Kind, query: &[f32], k: usize) -> anyhow::Result<Vec<Hit>> {
        let info = self
            .vector(kind)
            .filter(|info| info.shape[1] == query.len());
        let Some(info) = info else {
            bail!(
                "{} has no vectors of {} numbers called {}",
                self.path.display(),
                query.len(),
                kind.name()
            );
        };
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.data + info.data_offsets.0 as u64))?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut row = vec![0; 4 * query.len()];
        let mut best: Vec<Hit> = Vec::with_capacity(k.min(self.names.len()) + 1);
        for number in 0..self.names.len() {
            file.read_exact(&mut row)
                .with_context(|| format!("reading {}", self.path.display()))?;
            let hit = Hit {
                row: number,
                score: cosine(query, &row),
            };
            let place = best.partition_point(|other| other.score >= hit.score);
            if place < k {
                best.insert(place, hit);
                best.truncate(k);
            }
        }
        Ok(best)
    }
}

/// Cosine similarity of `a` with the little-endian f32 in `b`, of the same length; 0 if either is zero or contains
/// NaN.
fn cosine(a: &[f32], b: &[u8]) -> f32 {
    let (b, _) = b.as_chunks::<4>();
    let [mut dot, mut aa, mut bb] = [0.0_f64; 3];
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(f32::from_le_bytes(b)));
        dot += a * b;
        aa += a * a;
        bb += b * b;
    }
    let length = (aa * bb).sqrt();
    // The comparison is false for NaN too.
    if length > 0.0 {
        (dot / length) as f32
    } else {
        0.0
    }
}

fn not_whole(error: std::io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::UnexpectedEof {
        anyhow::anyhow!("not a whole safetensors file; it may be truncated")
    } else {
        error.into()
    }
}
