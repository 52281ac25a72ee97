//! Reading weight files, and a summary of which tensors were used.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use burn::tensor::Device;
use densecl::foreign::names::{Layout, Selection};
use densecl::foreign::tfjs;
use densecl::model::Encoder;
use densecl::weights::{Account, Weights, WeightsInfo};

use crate::files::folder_of;
use crate::notes::note;

/// The value of `--weights` for the embedded weights: ResNet-18, trained on photographs.
pub const PHOTOS: &str = "photos";

/// Embedded in the program, so that they are found wherever it is installed; `weights/README.md` describes their
/// training.
static PHOTOS_FILE: &[u8] = include_bytes!("../../weights/densecl_r18_photos.safetensors");

/// The bytes of a weight file. The path [`PHOTOS`] gives the embedded weights, unless there is a file of that name
/// (a folder does not count). A layers model of TensorFlow.js, given as `model.json` or as its folder, is read with the
/// files of numbers beside it and [`tfjs::joined`].
///
/// # Errors
/// When the file cannot be read.
pub fn bytes(path: &Path) -> anyhow::Result<Cow<'static, [u8]>> {
    if path == Path::new(PHOTOS) && !path.is_file() {
        return Ok(Cow::Borrowed(PHOTOS_FILE));
    }
    let model = path.join("model.json");
    let path = if model.is_file() { &model } else { path };
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let bytes = read(path)?;
    if !tfjs::is_layers_model(&bytes) {
        return Ok(Cow::Owned(bytes));
    }
    let files =
        tfjs::files(&bytes).with_context(|| format!("{} cannot be used", path.display()))?;
    let folder = folder_of(path);
    let numbers: Vec<Vec<u8>> = files
        .iter()
        .map(|file| read(&folder.join(file)))
        .collect::<anyhow::Result<_>>()?;
    Ok(Cow::Owned(tfjs::joined(&bytes, &numbers)))
}

/// Reads weights of this or another program; of another program's file what `selection` selects, and a note lists
/// which of its tensors were used.
///
/// # Errors
/// When the file cannot be read, or holds no usable weights.
pub fn read(path: &Path, selection: &Selection) -> anyhow::Result<Weights> {
    read_bytes(path, &bytes(path)?, selection)
}

/// As [`read`], from the bytes of the file: for callers that also need their checksum.
///
/// # Errors
/// When they are no usable weights.
fn read_bytes(path: &Path, bytes: &[u8], selection: &Selection) -> anyhow::Result<Weights> {
    let weights = parse(path, bytes, selection)?;
    let account = &weights.account;
    if account.layout != Layout::Densecl || !account.dropped.is_empty() {
        note(format_args!("{}: {}", path.display(), in_a_line(account)));
    }
    Ok(weights)
}

/// As [`read`], without the note: for callers that print a longer summary.
///
/// # Errors
/// When the file cannot be read, or holds no usable weights.
pub fn read_quietly(path: &Path, selection: &Selection) -> anyhow::Result<Weights> {
    parse(path, &bytes(path)?, selection)
}

fn parse(path: &Path, bytes: &[u8], selection: &Selection) -> anyhow::Result<Weights> {
    let weights = Weights::read_selected(bytes, selection);
    weights.with_context(|| format!("{} cannot be used", path.display()))
}

/// The encoder in a weight file of this or another program, at output stride `stride`; `None` = as trained.
///
/// # Errors
/// As [`read`], and for a stride other than 8, 16 and 32.
pub fn open(
    path: &Path,
    selection: &Selection,
    stride: Option<usize>,
    device: &Device,
) -> anyhow::Result<(Encoder, WeightsInfo)> {
    open_bytes(path, &bytes(path)?, selection, stride, device)
}

/// As [`open`], from the bytes of the file.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(
    path: &Path,
    bytes: &[u8],
    selection: &Selection,
    stride: Option<usize>,
    device: &Device,
) -> anyhow::Result<(Encoder, WeightsInfo)> {
    let encoder = read_bytes(path, bytes, selection)?.encoder(stride, device);
    encoder.with_context(|| format!("{} cannot be used", path.display()))
}

/// `a ResNet of torchvision, resnet18: 100 tensors used, 22 dropped (…), without dense head`.
fn in_a_line(account: &Account) -> String {
    let mut line = format!("{}: {} tensors used", account.layout, account.used.len());
    if !account.dropped.is_empty() {
        let reasons: Vec<String> = by_reason(account)
            .into_iter()
            .map(|(reason, keys)| format!("{}: {reason}", keys.len()))
            .collect();
        line += &format!(
            ", {} dropped ({})",
            account.dropped.len(),
            reasons.join("; ")
        );
    }
    if !account.absent.is_empty() {
        line += &format!("; it has no {}", account.absent.join(" and no "));
    }
    line
}

/// The names of the dropped tensors by reason.
pub fn by_reason(account: &Account) -> BTreeMap<String, Vec<&str>> {
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (key, reason) in &account.dropped {
        reasons.entry(reason.to_string()).or_default().push(key);
    }
    reasons
}
