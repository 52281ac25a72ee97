//! The weights to evaluate, and the frozen networks made from them.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use burn::tensor::{Device, Tensor};
use densecl::config::{Backbone as Architecture, ModelConfig};
use densecl::features::{Feature, feature_map, image_batch};
use densecl::foreign::names::Selection;
use densecl::model::Encoder;
use image::RgbImage;
use serde::{Deserialize, Serialize, de::IntoDeserializer, de::value::Error as Unknown};

use densecl_train::watch::{Unwatched, Watch};
use densecl_train::weights;

/// Placeholder for the seed in a path: `runs/dense_{seed}/weights.safetensors` stands for one run per seed.
const SEED: &str = "{seed}";

/// Weights as named on the command line: `[NAME=]FILE`, `random` or `random:ARCHITECTURE`.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedWeights {
    /// Name of the weights in tables.
    pub name: String,
    given: Given,
    /// What is read of a file of another program.
    selection: Selection,
}

#[derive(Debug, Clone, PartialEq)]
enum Given {
    /// A path, which may contain [`SEED`].
    File(String),
    /// An untrained network.
    Random(ModelConfig),
}

/// How the weights were trained, as recorded in their file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Training {
    /// `densecl`, `mocov2`, …
    pub method: String,
    /// Training steps taken.
    pub steps: u64,
    /// The training data.
    pub data: String,
}

/// A network to evaluate, outside any gradient graph.
#[derive(Debug, Clone)]
pub struct Backbone {
    /// The network and its heads.
    pub encoder: Encoder,
    /// Architecture and output stride of the network.
    pub model: ModelConfig,
    /// How it was trained; `None` for an untrained network.
    pub training: Option<Training>,
    /// The device that holds the network.
    pub device: Device,
    /// Receives the progress of work with the network.
    pub watch: Arc<dyn Watch>,
}

impl NamedWeights {
    /// Parses the values of `--weights`, in their order. A bare `random` takes the architecture of the first file
    /// among them.
    ///
    /// # Errors
    /// For an unknown architecture, a name given twice, and a bare `random` without a file.
    pub fn parse(given: &[String], device: &Device) -> anyhow::Result<Vec<Self>> {
        Self::parse_selected(given, &Selection::default(), 0, device)
    }

    /// The same, of each file of another program what `selection` says. `seed` is one of the seeds that will be
    /// evaluated: where the first path contains `{seed}`, the architecture of a bare `random` is that of its file.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_selected(
        given: &[String],
        selection: &Selection,
        seed: u64,
        device: &Device,
    ) -> anyhow::Result<Vec<Self>> {
        let named: Vec<(Option<&str>, &str)> = given.iter().map(|text| split_name(text)).collect();
        let mut all: Vec<Self> = Vec::new();
        for (name, what) in &named {
            let given = match what.split_once(':') {
                Some(("random", architecture)) => Given::Random(random(architecture)?),
                None if *what == "random" => {
                    Given::Random(like_first_file(&named, selection, seed, device)?)
                }
                _ => Given::File((*what).to_string()),
            };
            let name = match (name, &given) {
                (Some(name), _) => (*name).to_string(),
                (None, Given::File(path)) => short_name(Path::new(path)),
                (None, Given::Random(_)) => (*what).to_string(),
            };
            if all.iter().any(|other| other.name == name) {
                bail!("two of --weights are called {name}: give names, --weights NAME={what}");
            }
            all.push(Self {
                name,
                given,
                selection: selection.clone(),
            });
        }
        Ok(all)
    }

    /// Whether each seed gives another network: another random initialisation, or the file of another run.
    pub(crate) fn differs_by_seed(&self) -> bool {
        match &self.given {
            Given::Random(_) => true,
            Given::File(path) => path.contains(SEED),
        }
    }

    /// The file, or `random`, as recorded in reports.
    pub fn source(&self) -> String {
        match &self.given {
            Given::File(path) => path.clone(),
            Given::Random(_) => "random".to_string(),
        }
    }

    /// Identifies the weights: an untrained network by its architecture, a file by its CRC-32C and length. If the path
    /// contains `{seed}`, this is the file of `seed`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn identity(&self, seed: u64) -> anyhow::Result<serde_json::Value> {
        Ok(match &self.given {
            Given::Random(model) => serde_json::json!({ "random": model }),
            Given::File(path) => {
                let bytes = weights::bytes(Path::new(&*of_seed(path, seed)))?;
                let sum = crc32c::crc32c(&bytes);
                let mut identity =
                    serde_json::json!({ "crc32c": format!("{sum:08x}"), "bytes": bytes.len() });
                // Another part of a file is another network. Older records have no such entry.
                if !self.selection.is_all() {
                    identity["prefix"] = self.selection.prefix.clone().into();
                    identity["ignore"] = self.selection.ignore.clone().into();
                }
                identity
            }
        })
    }

    /// Loads the network. `seed` determines the weights of an untrained one, and the file where the path contains
    /// `{seed}`.
    ///
    /// # Errors
    /// When the file cannot be used, or the stride is not 8, 16 or 32.
    pub fn load(
        &self,
        stride: Option<usize>,
        seed: u64,
        device: &Device,
    ) -> anyhow::Result<Backbone> {
        let (encoder, model, training) = match &self.given {
            Given::File(path) => {
                let path = of_seed(path, seed);
                let (encoder, info) =
                    weights::open(Path::new(&*path), &self.selection, stride, device)?;
                let training = Training {
                    method: info.method,
                    steps: info.steps,
                    data: info.data,
                };
                (encoder, info.model, Some(training))
            }
            Given::Random(model) => {
                let mut model = model.clone();
                model.output_stride = stride.unwrap_or(model.output_stride);
                model.validate()?;
                (Encoder::new(&model, seed, device), model, None)
            }
        };
        Ok(Backbone {
            encoder,
            model,
            training,
            device: device.clone(),
            watch: Arc::new(Unwatched),
        })
    }
}

impl Backbone {
    /// Feature maps [B, C, h, w] of B pictures of one size, not normalised.
    pub fn features(&self, images: &[RgbImage], feature: Feature) -> Tensor<4> {
        feature_map(&self.encoder, image_batch(images, &self.device), feature)
    }

    /// Pixels per cell of a feature map; `None` where the dense head pools to a fixed grid.
    pub fn stride(&self, feature: Feature) -> Option<usize> {
        feature.stride(&self.model)
    }

    /// Channels of a feature map.
    pub fn channels(&self, feature: Feature) -> usize {
        feature.channels(&self.model)
    }
}

/// Splits `name=what`, unless the whole text is the path of a file.
fn split_name(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, what)) if !name.contains(['/', '\\']) && !Path::new(text).exists() => {
            (Some(name), what)
        }
        _ => (None, text),
    }
}

/// The files in the values of `--weights`, one per seed for `seeds` seeds from `first` on.
pub fn files_of(given: &[String], first: u64, seeds: u64) -> Vec<PathBuf> {
    let named = given.iter().map(|text| split_name(text).1);
    let files = named.filter(|what| *what != "random" && !what.starts_with("random:"));
    let of_seeds = |path| {
        (first..)
            .take(seeds as usize)
            .map(move |seed| of_seed(path, seed))
    };
    let mut files: Vec<PathBuf> = files
        .flat_map(|path| of_seeds(path).map(|path| PathBuf::from(&*path)))
        .collect();
    files.dedup();
    files
}

/// The path of the file for this seed.
fn of_seed(path: &str, seed: u64) -> Cow<'_, str> {
    if path.contains(SEED) {
        Cow::Owned(path.replace(SEED, &seed.to_string()))
    } else {
        Cow::Borrowed(path)
    }
}

/// `mine` for `runs/mine/weights.safetensors`, the file's stem for others.
fn short_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let folder = path.parent().and_then(Path::file_name);
    match folder {
        Some(folder) if stem == "weights" => folder.to_string_lossy().into_owned(),
        _ => stem.to_string_lossy().into_owned(),
    }
}

/// A random network of this architecture at its default width.
fn random(architecture: &str) -> anyhow::Result<ModelConfig> {
    let backbone = Architecture::deserialize(architecture.into_deserializer())
        .map_err(|error: Unknown| anyhow::anyhow!("--weights random:{architecture}: {error}"))?;
    Ok(ModelConfig {
        backbone,
        ..ModelConfig::default()
    })
}

fn like_first_file(
    named: &[(Option<&str>, &str)],
    selection: &Selection,
    seed: u64,
    device: &Device,
) -> anyhow::Result<ModelConfig> {
    let is_file = |what: &&str| *what != "random" && !what.starts_with("random:");
    let file = named.iter().map(|(_, what)| *what).find(is_file);
    let file = file.context(
        "--weights random: of which architecture? Write random:resnet18, or give a file beside it",
    )?;
    let (_, info) = weights::open(Path::new(&*of_seed(file, seed)), selection, None, device)?;
    Ok(info.model)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[&str]) -> anyhow::Result<Vec<NamedWeights>> {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        NamedWeights::parse(&given, &Device::flex())
    }

    #[test]
    fn weights_are_called_by_name_run_or_file() {
        let names: Vec<String> = parse(&["a/b.pth", "runs/mine/weights.safetensors", "x=c.pth"])
            .expect("three files")
            .into_iter()
            .map(|weights| weights.name)
            .collect();
        assert_eq!(names, ["b", "mine", "x"]);
    }

    #[test]
    fn untrained_networks_differ_by_seed_and_have_the_stride_asked_for() {
        let given = parse(&["random:resnet10"]).expect("an architecture");
        let load = |seed| {
            let backbone = given[0].load(Some(8), seed, &Device::flex()).expect("made");
            assert_eq!(backbone.model.output_stride, 8);
            let picture = RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8, y as u8, 0]));
            let map = backbone.features(&[picture], Feature::Stage4);
            assert_eq!(map.dims(), [1, 512, 4, 4]);
            map.try_into_vec_as::<f32>().expect("values")
        };
        assert_eq!(load(1), load(1));
        assert_ne!(load(1), load(2));
    }

    #[test]
    fn what_is_no_architecture_or_a_name_twice_is_refused_in_a_line() {
        let message = |given: &[&str]| parse(given).expect_err("refused").to_string();
        let unknown = message(&["random:vit"]);
        assert!(
            unknown.contains("vit") && unknown.contains("resnet50"),
            "{unknown}"
        );
        assert!(message(&["random"]).contains("random:resnet18"));
        assert!(message(&["a/w.pth", "b/w.pth"]).contains("called w"));
    }
}
