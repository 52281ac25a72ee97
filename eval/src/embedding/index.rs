//! Features in a safetensors file, read again: the index of `densecl search`.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::recipe::{Kind, Origin};
use super::tensors::{NAMES, ORIGIN};

/// The header of a file of ours is some hundred bytes long.
const MAX_HEADER: u64 = 1 << 20;

/// An open index: what it says of itself, its names; the vectors stay on the disk.
pub struct Index {
    file: File,
    path: PathBuf,
    /// How the features came to be.
    pub origin: Origin,
    /// The names of the pictures, in the order of the rows.
    pub names: Vec<String>,
    tensors: Metadata,
    /// Where the tensors begin.
    data: u64,
}

/// A picture and its cosine similarity with the query, in [-1, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Its row.
    pub row: usize,
    /// The similarity.
    pub score: f32,
}

impl Index {
    /// # Errors
    /// When the file cannot be read, is damaged, or is none of ours.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::read(path).with_context(|| format!("{} cannot be used as index", path.display()))
    }

    /// Its file.
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
        // This checks that the tensors follow each other and that their sizes are those of their shapes.
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
        // The file is as long as it says, so this asks for no more memory than that.
        let mut bytes = vec![0; end - start];
        self.file.seek(SeekFrom::Start(self.data + start as u64))?;
        self.file.read_exact(&mut bytes)?;
        serde_json::from_slice(&bytes).context("its names are damaged")
    }

    /// The features with one vector per picture.
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

    /// The `k` rows most similar to `query` by cosine, best first; of equal ones the earlier row.
    ///
    /// # Errors
    /// When the file cannot be read, or `kind` is not a vector of the query's length in it.
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

/// Of `a` with little-endian f32 of the same length; 0 where one has no length.
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
    // A NaN is like nothing, and is not greater than 0 either.
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
