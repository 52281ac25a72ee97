//! Weights in the formats of other programs.

mod detectron2;
mod onnx;
mod pickle;
mod safetensors;
mod state_dict;
mod torch;
mod web;

use std::path::{Path, PathBuf};

use anyhow::bail;

use densecl_train::weights;

/// A format to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// safetensors with torchvision's keys.
    Safetensors,
    /// What `torch.load` reads, with torchvision's keys.
    Torch,
    /// A pickle with detectron2's names.
    Detectron2,
    /// A graph.
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

    /// What its files end in; nothing for a folder.
    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Safetensors => &["safetensors"],
            Self::Torch => &["pth", "pt"],
            Self::Detectron2 => &["pkl"],
            Self::Onnx => &["onnx"],
            Self::Web => &[],
        }
    }

    /// The format that a file's name promises.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_lowercase();
        let known = |format: &Self| format.extensions().contains(&extension.as_str());
        Self::ALL.into_iter().find(known)
    }

    /// The format asked for, or else promised by the name; the two must agree.
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

pub(crate) use web::outputs as bundle_files;

/// What to export and how.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) weights: PathBuf,
    /// None: by the name of `out`.
    pub(crate) format: Option<Format>,
    pub(crate) out: PathBuf,
    /// The heads, too.
    pub(crate) heads: bool,
    /// Output stride of a graph; none: as trained.
    pub(crate) stride: Option<usize>,
}

/// Writes the weights in their new format; returns a line about what was written.
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
        bail!("--heads: detectron2 has no use for them");
    }
    let mut weights = weights::read(&request.weights)?;
    if let Some(stride) = request.stride {
        weights.info.model.output_stride = stride;
        weights.info.model.validate()?;
    }
    let bytes = match format {
        Format::Safetensors => safetensors::write(out, &weights, *heads)?,
        Format::Torch => torch::write(out, &weights, *heads)?,
        Format::Detectron2 => detectron2::write(out, &weights)?,
        Format::Onnx => onnx::write(out, &weights, *heads)?,
        Format::Web => web::write(out, &weights)?,
    };
    let model = &weights.info.model;
    Ok(format!(
        "{}: {} of width {} for {}, {:.1} MB",
        out.display(),
        model.backbone.name(),
        model.width,
        format.name(),
        bytes as f64 / 1e6
    ))
}
