//! The bundle that the browser loads: one safetensors file at half precision, cut into shards that every
//! static host takes, and a manifest with the hash of each.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{FilePrecision, Weights};
use crate::error::{Error, Result};

/// Bytes of a shard. Static hosts refuse files of 25 MiB and more; a download that broke off goes on at
/// the shard where it broke, so smaller is kinder. `web/build.sh` cuts the same.
const SHARD: usize = 8 << 20;
/// Version of the manifest.
const VERSION: u32 = 1;
/// The name of the manifest's file.
pub const MANIFEST: &str = "manifest.json";

/// A bundle as files in memory.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The whole file, which is the shards one after the other.
    pub bytes: Vec<u8>,
    /// Names and sizes of the shards.
    pub shards: Vec<Shard>,
    /// The text of [`MANIFEST`].
    pub manifest: String,
}

/// A part of the file.
#[derive(Debug, Clone, Serialize)]
pub struct Shard {
    /// The name of its file.
    pub file: String,
    /// Its length.
    pub bytes: usize,
    sha256: String,
}

/// `manifest.json`.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    format: &'a str,
    version: u32,
    name: &'a str,
    /// Of the whole file.
    bytes: usize,
    sha256: String,
    shards: &'a [Shard],
    /// What the weights say of themselves, without the run's settings.
    info: Value,
}

impl Bundle {
    /// The bundle `name` of these weights.
    ///
    /// # Errors
    /// [`Error::Format`] when it cannot be written.
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

    /// Every shard with its bytes.
    pub fn parts(&self) -> impl Iterator<Item = (&Shard, &[u8])> {
        self.shards.iter().zip(self.bytes.chunks(SHARD))
    }
}

/// Whether a file is called as the shards of the bundle `name` are.
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
