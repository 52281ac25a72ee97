//! The arguments of `densecl embed` and `densecl search`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, ValueHint};
use densecl::features::{Feature, Fit};

use super::{Device, Part, feature_value};
use densecl_eval::embedding::{Kind, Pool};
use densecl_train::config::DataConfig;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FitName {
    /// The largest square around the centre
    Crop,
    /// The whole picture, stretched or squeezed to a square
    Stretch,
}

impl From<FitName> for Fit {
    fn from(name: FitName) -> Self {
        match name {
            FitName::Crop => Self::Crop,
            FitName::Stretch => Self::Stretch,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PoolName {
    /// The mean of all cells: one vector per picture
    Mean,
    /// No pooling: a vector per cell
    None,
}

impl From<PoolName> for Pool {
    fn from(name: PoolName) -> Self {
        match name {
            PoolName::Mean => Self::Mean,
            PoolName::None => Self::None,
        }
    }
}

/// The values of an option that selects the features of a picture.
fn kinds() -> impl TypedValueParser<Value = Kind> {
    let maps = Feature::ALL.map(feature_value).into_iter();
    let global =
        PossibleValue::new(Kind::Global.name()).help("The global head: a vector per picture");
    PossibleValuesParser::new(maps.chain([global])).try_map(Kind::try_from)
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl embed --images ~/photos --weights w.safetensors --out photos.safetensors
  densecl embed --images ~/photos --weights w.safetensors --feature global --out global.npy
  densecl embed --images list.txt --weights w.safetensors --pool none --stride 8 --out cells.parquet
  densecl embed --images ~/photos --weights w.safetensors --feature stage3,stage4 --out two.safetensors

What the files hold, by extension (B pictures that decode, in the order of their names):
  .safetensors  float32 [B, C] per feature, [B, C, h, w] with --pool none; `names` as JSON
  .npy          the same of one feature; the names in a .txt beside it, a line each
  .csv .parquet a row per picture, or per cell with --pool none")]
pub(crate) struct Embed {
    /// A folder of images (walked recursively), or a text file with a path per line
    #[arg(long, value_name = "DIR|LIST", value_hint = ValueHint::AnyPath)]
    pub(crate) images: PathBuf,
    /// Weights, or `photos`: the program's own
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) weights: PathBuf,
    #[command(flatten)]
    pub(crate) part: Part,
    /// The file to write: .safetensors, .npy, .csv or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The features to compute, separated by commas
    #[arg(long, value_parser = kinds(), value_delimiter = ',', default_value = Feature::Stage4.name())]
    pub(crate) feature: Vec<Kind>,
    /// How the cells of a feature map are pooled
    #[arg(long, value_enum, default_value = "mean")]
    pub(crate) pool: PoolName,
    /// Divide every vector by its length
    #[arg(long)]
    pub(crate) unit_length: bool,
    /// Side in pixels of the network's input
    #[arg(long, default_value_t = 224)]
    pub(crate) size: u32,
    /// How a picture is made square
    #[arg(long, value_enum, default_value = "crop")]
    pub(crate) fit: FitName,
    /// Pixels per cell of the last stage: 32, 16 or 8 [default: as trained]
    #[arg(long)]
    pub(crate) stride: Option<usize>,
    /// Pictures per forward pass
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) batch_size: u16,
    /// Share of files, 0 to 1, that may fail to decode
    #[arg(long, value_name = "SHARE", default_value_t = DataConfig::default().max_bad_share)]
    pub(crate) max_bad_share: f64,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Also write a summary to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl embed --images ~/photos --weights w.safetensors --out photos.safetensors
  densecl search dog.jpg --index photos.safetensors --weights w.safetensors
  densecl search dog.jpg --index photos.safetensors --weights w.safetensors --k 20 --out found.png

The score is the cosine similarity, 1 at most. The weights have to be those of the index.")]
pub(crate) struct Search {
    /// The query picture
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) query: PathBuf,
    /// A file of `densecl embed --out FILE.safetensors`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) index: PathBuf,
    /// The weights with which the index was made
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) weights: PathBuf,
    #[command(flatten)]
    pub(crate) part: Part,
    /// Number of pictures to find
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) k: u16,
    /// The feature to compare [default: the first with one vector per picture]
    #[arg(long, value_parser = kinds())]
    pub(crate) feature: Option<Kind>,
    /// Also draw the pictures found, a PNG
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The folder of the pictures, if it was moved
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) images: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Also write the results to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
