//! The bundle that the browser loads: a safetensors file in half precision, cut into shards small enough for
//! static hosts, and a manifest with the hash of each shard.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{FilePrecision, Weights};
use crate::error::{Error, Result};

/// Bytes of a shard, also in `web/build.sh`. Some static hosts refuse files of 25 MiB and more. An interrupted
/// download repeats only the shard at which it stopped, so smaller shards lose less.
const SHARD: usize = 8 << 20;
/// Format version of the manifest.
const VERSION: u32 = 1;
/// The name of the manifest's file.
pub const MANIFEST: &str = "manifest.json";

/// A bundle in memory.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The whole safetensors file: the concatenated shards.
    pub bytes: Vec<u8>,
    /// The shards, in order.
    pub shards: Vec<Shard>,
    /// The text of [`MANIFEST`].
    pub manifest: String,
}

/// A shard: a part of the safetensors file.
#[derive(Debug, Clone, Serialize)]
pub struct Shard {
    /// The name of its file.
    pub file: String,
    /// Its length in bytes.
    pub bytes: usize,
    sha256: String,
}

/// The content of `manifest.json`.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    format: &'a str,
    version: u32,
    name: &'a str,
    /// Length and hash of the whole file.
    bytes: usize,
    sha256: String,
    shards: &'a [Shard],
    /// The metadata of the weights, without the settings of the run.
    info: Value,
}

impl Bundle {
    /// The bundle of these weights; the names of its shards begin with `name`.
    ///
    /// # Errors
    /// [`Error::Format`] when it cannot be serialised.
    pub fn new(weights: &Weights, name: &str) -> Result<Self> {
        let json = |e: serde_json::Error| Error::Format(format!("writing the manifest: {e}"));
        let bytes = weights.to_bytes(FilePrecision::Half)?;
        let shards = bytes.chunks(SHARD).enumerate();
        let shards: Vec<Shard> = shards
            .map(|(index, slice)| Shard {
                file: format!("{name}-{index:03}.bin"),
                bytes: slice.len(),
                sha256: sha256(slice),
            })
            .collect();
        let mut info = serde_json::to_value(&weights.info).map_err(json)?;
        if let Some(fields) = info.as_object_mut() {
            fields.remove("config");
        }
        let manifest = Manifest {
            format: "densecl-web-bundle",
            version: VERSION,
            name,
            bytes: bytes.len(),
            sha256: sha256(&bytes),
            info,
            shards: &shards,
        };
        let manifest = serde_json::to_string_pretty(&manifest).map_err(json)? + "\n";
        Ok(Self {
            bytes,
            shards,
            manifest,
        })
    }

    /// The shards with their bytes.
    pub fn parts(&self) -> impl Iterator<Item = (&Shard, &[u8])> {
        self.shards.iter().zip(self.bytes.chunks(SHARD))
    }
}

/// Whether `file` is the name of a shard of the bundle `name`.
pub fn is_shard(name: &str, file: &str) -> bool {
    let number = file
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('-'));
    let number = number.and_then(|rest| rest.strip_suffix(".bin"));
    number.is_some_and(|number| {
        number.len() == 3 && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// The SHA-256 of `bytes` in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
