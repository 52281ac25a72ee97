//! The arguments of the command line, and the help.

mod boxes;
pub(crate) mod embed;
pub(crate) mod eval;
mod parse;
mod pretrain;

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use densecl::augment::ViewConfig;
use densecl::features::Feature;
use densecl::foreign::names::Selection;
use densecl::synthetic::SceneConfig;

use crate::export::Format;
pub(crate) use boxes::Boxes;
pub(crate) use parse::parse;
pub(crate) use pretrain::{Pretrain, Serve};

/// Learn dense correspondence from unlabelled images: DenseCL (Wang et al., CVPR 2021) in Rust.
///
/// Without a command it trains the quick start on embedded scenes and shows what was learned.
#[derive(Debug, Parser)]
#[command(
    name = "densecl",
    version,
    after_help = "Examples:
  densecl                                          the quick start, about 3 minutes on a CPU
  densecl pretrain --config photos_r18 --data ~/photos --out runs/mine
  densecl pretrain --resume runs/mine              continue exactly where it stopped
  densecl match a.jpg b.jpg --weights runs/mine/weights.safetensors --out matches.png
  densecl plot runs/mine                           draw the curves again
  densecl export runs/mine/weights.safetensors --out r50.pth"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pre-train a backbone on a folder of images
    Pretrain(Pretrain),
    /// Draw the matches between two pictures
    Match(Match),
    /// Draw the curves and matches of a run again
    Plot(Plot),
    /// Write rendered scene pairs with exact correspondence and labels
    Synth(Synth),
    /// Write a folder of images as one file, for network disks
    Pack(Pack),
    /// Find boxes that may hold objects, for the method UniVIP
    Boxes(Boxes),
    /// Write the features of pictures to a file
    Embed(embed::Embed),
    /// Find the pictures most similar to a given one
    Search(embed::Search),
    /// Read weights of another program, and list what became of each tensor
    Import(Import),
    /// Write weights for another program
    Export(Export),
    /// Judge backbones: matching, segmentation and more, with confidence intervals
    Eval(eval::Eval),
    /// Measure how fast views are made from files, stage by stage
    #[command(hide = true)]
    LoaderSpeed(LoaderSpeed),
    /// Measure how fast ranks add a gradient, as threads or under mpiexec
    #[command(hide = true)]
    SumSpeed(SumSpeed),
    /// List the devices of this machine, by the names that --device and --devices take
    #[command(after_help = "Examples:
  densecl devices
  densecl pretrain --devices vulkan:0,vulkan:1 --config photos_r18 --data ~/photos --out runs/mine")]
    Devices,
    /// List presets, or print the settings that a preset or file resolves to
    Config(Config),
    /// Print a completion script for your shell
    #[command(after_help = "Examples:
  densecl completions bash > ~/.local/share/bash-completion/completions/densecl
  densecl completions zsh > ~/.zfunc/_densecl
  densecl completions fish > ~/.config/fish/completions/densecl.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SumSpeed {
    /// Numbers in the gradient
    #[arg(long, default_value_t = 25_557_032)]
    pub(crate) numbers: usize,
    /// Ranks, where no launcher has started processes
    #[arg(long, default_value_t = 2, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub(crate) threads: usize,
    /// Sums
    #[arg(long, default_value_t = 9)]
    pub(crate) repeat: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Device {
    /// auto, cpu, vulkan, metal, wgpu or cuda [default: auto = a real GPU if there is one, else the CPU]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
}

/// What is read of weights that another program wrote.
#[derive(Debug, Default, Args)]
pub(crate) struct Part {
    /// Of another program's weights only the tensors whose names begin with this, and without it, such as
    /// `model.encoder.`
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// Leave out tensors of another program's weights with such names, * for any characters; may be given
    /// often
    #[arg(long, value_name = "PATTERN")]
    pub(crate) ignore: Vec<String>,
}

impl From<&Part> for Selection {
    fn from(part: &Part) -> Self {
        Self {
            prefix: part.prefix.clone().unwrap_or_default(),
            ignore: part.ignore.clone(),
        }
    }
}

/// The values of an option that selects the feature by which cells are compared.
fn compared_features() -> impl TypedValueParser<Value = Feature> {
    let values = Feature::COMPARED.map(feature_value);
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Feature>())
}

/// A feature as the value of an option, with its help text.
fn feature_value(feature: Feature) -> PossibleValue {
    PossibleValue::new(feature.name()).help(feature.about())
}

/// Parses `X,Y`.
fn point(text: &str) -> Result<[f32; 2], String> {
    let wrong = || "two numbers with a comma between them, such as 120,80".to_owned();
    let (x, y) = text.split_once(',').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<f32>().map_err(|_| wrong());
    Ok([number(x)?, number(y)?])
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl match a.jpg b.jpg
  densecl match a.jpg b.jpg --at 120,80 --at 40,200 --out heat.png
  densecl match a.jpg b.jpg --weights runs/mine/weights.safetensors --stride 8 --json -
  densecl match a.jpg b.jpg --weights random:resnet18       what training is worth

Above: the lines between cells that choose each other. Below: both pictures coloured by the
three directions in which their features vary most; equal colours mean equal features. Then a
row for each --at: the point, and how similar every cell of the other picture is to its cell.

Cells at the border of the pictures are similar to each other whatever is there, because the
network pads with zeros. So their matches are left out, unless --border-matches asks for them.")]
pub(crate) struct Match {
    /// The first picture
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) a: PathBuf,
    /// The second picture
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) b: PathBuf,
    /// Weights, densecl's own or another program's (see `densecl import`); `photos` are those that
    /// come with the program, `random:resnet18` is an untrained network
    #[arg(long, value_name = "FILE", default_value = densecl_train::weights::PHOTOS, value_hint = ValueHint::FilePath)]
    pub(crate) weights: String,
    #[command(flatten)]
    pub(crate) part: Part,
    /// The picture to write, a PNG
    #[arg(long, value_name = "FILE", default_value = "matches.png")]
    pub(crate) out: PathBuf,
    /// Also write the matches in pixels of the pictures; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The feature map that is compared
    #[arg(long, value_parser = compared_features(), default_value = Feature::MATCHING.name())]
    pub(crate) feature: Feature,
    /// Longer side in pixels of the network's input
    #[arg(long, default_value_t = 448)]
    pub(crate) size: u32,
    /// Smallest cosine similarity of a match, -1 to 1
    #[arg(long, default_value_t = 0.5, allow_negative_numbers = true)]
    pub(crate) threshold: f32,
    /// Pixels per cell of the last stage: 32, 16 or 8 [default: as trained]
    #[arg(long)]
    pub(crate) stride: Option<usize>,
    /// Largest number of lines drawn, the best first
    #[arg(long, default_value_t = 80)]
    pub(crate) max_lines: usize,
    /// Keep matches of the outermost cells of a picture, too
    #[arg(long)]
    pub(crate) border_matches: bool,
    /// A point of the first picture, in its pixels, for which a heat map is drawn; may be given often
    #[arg(long, value_name = "X,Y", value_parser = point)]
    pub(crate) at: Vec<[f32; 2]>,
    #[command(flatten)]
    pub(crate) device: Device,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl plot runs/quickstart
  densecl plot runs/mine --out curves.png")]
pub(crate) struct Plot {
    /// The folder of a run
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// The picture of the curves, a PNG [default: RUN/curves.png]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  densecl synth --out scenes --count 100 --size 256

Writes images, labels, instances (PNG), boxes (labels/*.txt: `class cx cy width height`, as YOLO
has them) and correspondence (NPY: float32 [height, width, 2], the (x, y) of each pixel's point in
the other view, NaN where it is hidden).")]
pub(crate) struct Synth {
    /// The folder to create
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Number of scene pairs
    #[arg(long)]
    pub(crate) count: usize,
    /// Side of a picture in pixels
    #[arg(long, default_value_t = SceneConfig::default().size)]
    pub(crate) size: u32,
    /// How far the second viewpoint is moved, 0 to 1
    #[arg(long, default_value_t = SceneConfig::default().baseline)]
    pub(crate) baseline: f32,
    /// The seed
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl pack /mnt/nas/photos photos.pack
  densecl pretrain --config photos_r18 --data photos.pack
  densecl pack list.txt small.pack --max-side 512 --json -

Holds the files as they are: training on the pack sees the same batches as training on the folder, bit
for bit. With --max-side it holds larger pictures smaller, as JPEG of quality 95, and decodes faster.")]
pub(crate) struct Pack {
    /// A folder of images (walked recursively), or a text file with a path per line
    #[arg(value_name = "DIR|LIST", value_hint = ValueHint::AnyPath)]
    pub(crate) data: PathBuf,
    /// The file to write, .pack
    #[arg(value_name = "OUT.pack", value_hint = ValueHint::AnyPath)]
    pub(crate) out: PathBuf,
    /// Scale down pictures to at most this many pixels on the longer side [default: keep all as they are]
    #[arg(long, value_name = "N")]
    pub(crate) max_side: Option<u32>,
    /// Also write a summary to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  densecl loader-speed --data ~/photos --size 224 --threads 1 --seconds 10 --json -

Two views per image with the default augmentations, as `pretrain` makes them. The stages are timed on
one thread, apart from the loader.")]
pub(crate) struct LoaderSpeed {
    /// Images, as for `pretrain`
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) data: PathBuf,
    /// Side of a view in pixels
    #[arg(long, default_value_t = ViewConfig::default().size)]
    pub(crate) size: u32,
    /// Threads of the loader; 0 = as many as cores
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Write the figures to this file; - for standard output, instead of a line of text
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl import moco_v2_800ep_pretrain.pth.tar --out moco.safetensors
  densecl import resnet50-0676ba61.pth              only say what is in it
  densecl import epoch_200.pth --out w.safetensors --json account.json
  densecl import runs/mine/weights.safetensors --half --out mine.safetensors
  densecl import caffe_r50.pth --stride-in-1x1 --out r50.safetensors
  densecl import mine.ckpt --prefix net.encoder. --ignore '*.projector.*' --out mine.safetensors
  densecl import package/ResNet50 --out supervised.safetensors    a folder with TensorFlow.js's model.json

Reads what torch.save writes, without running anything in it, safetensors, detectron2's .pkl, and
Keras' ResNets as layers models of TensorFlow.js:
backbones and training states of the authors, MoCo v1 to v3, torchvision, mmselfsup, mmpretrain, lightly,
solo-learn, SwAV, VISSL, Barlow Twins, DINO and detectron2. Every command that takes weights reads them
directly, too. To go on training from a training state, see `pretrain --continue-from`.")]
pub(crate) struct Import {
    /// A checkpoint: .pth, .pth.tar, .pt, .safetensors, .pkl, or the folder of a model.json
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) part: Part,
    /// The weights to write, .safetensors [default: write nothing]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Write half precision: a file of half the size
    #[arg(long, requires = "out")]
    pub(crate) half: bool,
    /// The weights have the stride of a bottleneck in its first 1x1 convolution (Caffe's placement, also
    /// detectron2's ImageNet models), not in its 3x3 (torchvision's). Tensor shapes are the same for both, and the
    /// wrong one gives worse features. --out keeps the setting
    #[arg(long, requires = "out")]
    pub(crate) stride_in_1x1: bool,
    /// Write the whole list of tensors to this file; - for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl export runs/mine/weights.safetensors --out r50.pth            torchvision, timm, mmdetection
  densecl export runs/mine/weights.safetensors --out r50.pkl            detectron2, AdelaiDet
  densecl export runs/mine/weights.safetensors --out r50.onnx --stride 8 --heads
  densecl export runs/mine/weights.safetensors --to safetensors --out r50.safetensors
  densecl export runs/mine/weights.safetensors --to web --out web/weights/mine

The classifier-free backbone, with torchvision's names but for detectron2. docs/interop.md has the lines
of Python that load each.")]
pub(crate) struct Export {
    /// Weights, densecl's own or another program's
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) weights: PathBuf,
    #[command(flatten)]
    pub(crate) part: Part,
    /// The format [default: by the ending of --out]
    #[arg(long, value_enum)]
    pub(crate) to: Option<ExportFormat>,
    /// The file to write; for web a folder, which gives the bundle its name
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) out: PathBuf,
    /// The same as --to web
    #[arg(long, conflicts_with = "to")]
    pub(crate) web: bool,
    /// Also export the heads: for onnx the outputs `dense` and `global`, else global_head.* and dense_head.*
    #[arg(long)]
    pub(crate) heads: bool,
    /// Pixels per cell of an ONNX graph: 32, 16 or 8 [default: as trained]
    #[arg(long)]
    pub(crate) stride: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// safetensors with torchvision's names
    Safetensors,
    /// What torch.load reads: .pth
    Torch,
    /// A pickle of numpy arrays with detectron2's names: .pkl
    Detectron2,
    /// A graph with dynamic batch and size, opset 13
    Onnx,
    /// The browser demo: half precision, shards below 25 MiB, a manifest with their hashes
    Web,
}

impl From<ExportFormat> for Format {
    fn from(format: ExportFormat) -> Self {
        match format {
            ExportFormat::Safetensors => Self::Safetensors,
            ExportFormat::Torch => Self::Torch,
            ExportFormat::Detectron2 => Self::Detectron2,
            ExportFormat::Onnx => Self::Onnx,
            ExportFormat::Web => Self::Web,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl config                                   list the presets
  densecl config quickstart > my.toml              start a file of your own from a preset
  densecl config my.toml --set optim.lr=0.1        what that would run with")]
pub(crate) struct Config {
    /// A preset or a TOML file [default: list the presets]
    pub(crate) name: Option<String>,
    /// Set one setting; may be given often
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "name")]
    pub(crate) sets: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
