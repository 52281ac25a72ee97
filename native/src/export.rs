//! `densecl export`: writes weights in the formats of other programs, and the bundle of the browser demo.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl::foreign::names::Selection;
use densecl::weights::{self as core, Bundle, MANIFEST, Weights, is_shard};

use crate::console;
use densecl_train::files::write_atomically;
use densecl_train::weights;

/// A format to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// safetensors with torchvision's keys.
    Safetensors,
    /// A file for `torch.load`, with torchvision's keys.
    Torch,
    /// A pickle with detectron2's names.
    Detectron2,
    /// An ONNX graph.
    Onnx,
    /// The bundle of the browser demo, a folder.
    Web,
}

impl Format {
    const ALL: [Self; 5] = [
        Self::Safetensors,
        Self::Torch,
        Self::Detectron2,
        Self::Onnx,
        Self::Web,
    ];

    /// The name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "torch",
            Self::Detectron2 => "detectron2",
            Self::Onnx => "onnx",
            Self::Web => "web",
        }
    }

    /// Permitted file extensions; none for a folder.
    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Safetensors => &["safetensors"],
            Self::Torch => &["pth", "pt"],
            Self::Detectron2 => &["pkl"],
            Self::Onnx => &["onnx"],
            Self::Web => &[],
        }
    }

    /// The format in the core library; `None` for the bundle.
    fn file(self) -> Option<core::Format> {
        match self {
            Self::Safetensors => Some(core::Format::Safetensors),
            Self::Torch => Some(core::Format::Torch),
            Self::Detectron2 => Some(core::Format::Detectron2),
            Self::Onnx => Some(core::Format::Onnx),
            Self::Web => None,
        }
    }

    /// The format that belongs to the extension of `path`.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_lowercase();
        let known = |format: &Self| format.extensions().contains(&extension.as_str());
        Self::ALL.into_iter().find(known)
    }

    /// The requested format, or the one of the extension. If both are known they must agree.
    fn choose(asked: Option<Self>, out: &Path) -> anyhow::Result<Self> {
        let shown = out.display();
        let promised = Self::of(out);
        let Some(asked) = asked else {
            return match promised {
                Some(format) => Ok(format),
                None => bail!(
                    "--out {shown}: the name tells no format; let it end in .safetensors, .pth, .pkl or \
                     .onnx, or give --to"
                ),
            };
        };
        match (promised, asked.extensions()) {
            (None, []) => Ok(asked),
            (Some(promised), _) if promised == asked => Ok(asked),
            (_, []) => {
                bail!("--out {shown}: a web bundle is a folder; give a name without an ending")
            }
            (_, endings) => bail!(
                "--out {shown}: for --to {} give a name that ends in .{}",
                asked.name(),
                endings.join(" or .")
            ),
        }
    }
}

/// What to export, and how.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) weights: PathBuf,
    /// What is read of weights of another program.
    pub(crate) selection: Selection,
    /// `None`: by the extension of `out`.
    pub(crate) format: Option<Format>,
    pub(crate) out: PathBuf,
    /// Whether to export the heads too.
    pub(crate) heads: bool,
    /// Output stride of an ONNX graph; `None`: as trained.
    pub(crate) stride: Option<usize>,
}

/// Exports the weights; returns a line about what was written.
///
/// # Errors
/// One line for the user.
pub(crate) fn export(request: &Request) -> anyhow::Result<String> {
    let Request { out, heads, .. } = request;
    let format = Format::choose(request.format, out)?;
    if request.stride.is_some() && format != Format::Onnx {
        bail!(
            "--stride is for --to onnx: weights are the same at every stride, and whoever loads them \
             chooses it"
        );
    }
    if *heads && format == Format::Detectron2 {
        bail!("--heads: detectron2 has no use for the heads; leave --heads out");
    }
    let mut weights = weights::read(&request.weights, &request.selection)?;
    if let Some(stride) = request.stride {
        weights.info.model.output_stride = stride;
        weights.info.model.validate()?;
    }
    let bytes = match format.file() {
        Some(file) => write_file(out, &weights, file, *heads)?,
        None => write_bundle(out, &weights)?,
    };
    let model = &weights.info.model;
    Ok(format!(
        "{}: {} for {}, {:.1} MB",
        out.display(),
        model.describe(),
        format.name(),
        bytes as f64 / 1e6
    ))
}

/// Writes a file and returns its length in bytes. Prints advice if the network of the receiving
/// program must differ from its usual one.
fn write_file(
    path: &Path,
    weights: &Weights,
    format: core::Format,
    heads: bool,
) -> anyhow::Result<usize> {
    let bytes = weights.export(format, heads);
    let bytes = if heads {
        bytes.context("--heads")?
    } else {
        bytes?
    };
    write_atomically(path, &bytes)?;
    if let Some(advice) = weights.advice(format) {
        console::note(format_args!("{}: {advice}", path.display()));
    }
    Ok(bytes.len())
}

/// Writes the bundle into `folder`, whose name becomes that of the bundle; returns the bytes of the weights.
///
/// The manifest is written after the shards. Shards of an earlier bundle of the same name are removed.
fn write_bundle(folder: &Path, weights: &Weights) -> anyhow::Result<usize> {
    let shown = folder.display();
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{shown}: give the bundle a folder with a name"))?;
    if folder.is_file() {
        bail!("{shown} is a file; a web bundle is a folder");
    }
    fs::create_dir_all(folder).with_context(|| format!("making the folder {shown}"))?;
    let bundle = Bundle::new(weights, name)?;
    for (shard, bytes) in bundle.parts() {
        write_atomically(&folder.join(&shard.file), bytes)?;
    }
    write_atomically(&folder.join(MANIFEST), bundle.manifest.as_bytes())?;
    for path in shards_in(folder) {
        let current = |file: &str| bundle.shards.iter().any(|shard| shard.file == file);
        let file = path.file_name().and_then(|file| file.to_str());
        if !file.is_some_and(current) {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(bundle.bytes.len())
}

/// The files in `folder` that writing a bundle replaces or removes: existing shards and the manifest.
pub(crate) fn bundle_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = shards_in(folder);
    files.push(folder.join(MANIFEST));
    files
}

/// The files in `folder` whose names are those of shards of its bundle.
fn shards_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let name = folder.file_name().and_then(|name| name.to_str());
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            let file = path.file_name().and_then(|file| file.to_str());
            name.zip(file)
                .is_some_and(|(name, file)| is_shard(name, file))
        })
        .collect()
}
