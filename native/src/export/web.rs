//! The bundle that the browser demo loads: one safetensors file at half precision, cut into shards that
//! every static host takes, and a manifest with the hash of each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl::weights::{Precision, Weights};
use serde::Serialize;
use serde_json::Value;

use densecl_train::files::{sha256, write_atomically};

/// Bytes of a shard. Static hosts refuse files of 25 MiB and more; a download that broke off goes on at
/// the shard where it broke, so smaller is kinder. `web/build.sh` cuts the same.
const SHARD: usize = 8 << 20;
/// Version of the manifest.
const VERSION: u32 = 1;

/// `manifest.json`.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    format: &'a str,
    version: u32,
    name: &'a str,
    /// Of the whole file, which is the shards one after the other.
    bytes: usize,
    sha256: String,
    shards: Vec<Shard>,
    /// What the weights say of themselves, without the run's settings.
    info: Value,
}

#[derive(Debug, Serialize)]
struct Shard {
    file: String,
    bytes: usize,
    sha256: String,
}

/// Writes the bundle into `folder`, which gives it its name; returns the bytes written.
///
/// The manifest comes last, and shards of an earlier bundle of that name are removed.
///
/// # Errors
/// When the folder cannot be written to.
pub(super) fn write(folder: &Path, weights: &Weights) -> anyhow::Result<usize> {
    let shown = folder.display();
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{shown}: give the bundle a folder with a name"))?;
    if folder.is_file() {
        bail!("{shown} is a file; a web bundle is a folder");
    }
    fs::create_dir_all(folder).with_context(|| format!("making the folder {shown}"))?;

    let bytes = weights.to_bytes(Precision::Half)?;
    let mut shards = Vec::new();
    for (index, slice) in bytes.chunks(SHARD).enumerate() {
        let file = format!("{name}-{index:03}.bin");
        write_atomically(&folder.join(&file), slice)?;
        shards.push(Shard {
            file,
            bytes: slice.len(),
            sha256: sha256(slice),
        });
    }
    let mut described = serde_json::to_value(&weights.info).context("describing the weights")?;
    if let Some(fields) = described.as_object_mut() {
        fields.remove("config");
    }
    let manifest = Manifest {
        format: "densecl-web-bundle",
        version: VERSION,
        name,
        bytes: bytes.len(),
        sha256: sha256(&bytes),
        info: described,
        shards,
    };
    let json = serde_json::to_string_pretty(&manifest).context("writing the manifest as JSON")?;
    write_atomically(&folder.join(MANIFEST), format!("{json}\n").as_bytes())?;
    remove_others(folder, &manifest)?;
    Ok(bytes.len())
}

/// The files that a bundle in `folder` writes or removes, as far as they are there already or always come.
pub(crate) fn outputs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let name = folder.file_name().and_then(|name| name.to_str());
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let file = path.file_name().and_then(|file| file.to_str());
            name.zip(file)
                .is_some_and(|(name, file)| is_shard(name, file))
        })
        .collect();
    files.push(folder.join(MANIFEST));
    files
}

const MANIFEST: &str = "manifest.json";

/// Whether a file is called as the shards of the bundle `name` are.
fn is_shard(name: &str, file: &str) -> bool {
    let number = file
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('-'));
    let number = number.and_then(|rest| rest.strip_suffix(".bin"));
    number.is_some_and(|number| {
        number.len() == 3 && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Removes shards that the manifest does not name.
fn remove_others(folder: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let file = path.file_name().and_then(|name| name.to_str());
        let stale = file.is_some_and(|file| {
            is_shard(manifest.name, file) && manifest.shards.iter().all(|shard| shard.file != file)
        });
        if stale {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
