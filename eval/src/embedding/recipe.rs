//! Describes and computes the features of a picture.

use anyhow::{Context, bail};
use burn::tensor::{Device, Tensor};
use densecl::config::ModelConfig;
use densecl::features::{Feature, Fit, SIDES, image_batch, map_of, square, stages};
use densecl::matching::l2_normalize;
use densecl::model::Encoder;
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// A feature of a picture. Files contain its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Kind {
    /// A feature map: a vector per cell.
    Map(Feature),
    /// The output of the global head: a vector per picture, without cells.
    Global,
}

impl Kind {
    /// The feature map; `None` for the global head.
    fn map(self) -> Option<Feature> {
        match self {
            Self::Map(feature) => Some(feature),
            Self::Global => None,
        }
    }

    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Map(feature) => feature.name(),
            Self::Global => "global",
        }
    }
}

impl TryFrom<String> for Kind {
    type Error = densecl::Error;

    /// # Errors
    /// When neither a feature nor the global head has this name.
    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name == Self::Global.name() {
            return Ok(Self::Global);
        }
        name.parse().map(Self::Map)
    }
}

impl From<Kind> for &'static str {
    fn from(kind: Kind) -> Self {
        kind.name()
    }
}

/// How the cells of a feature map are pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The mean of all cells: one vector per picture.
    Mean,
    /// No pooling: a vector per cell.
    None,
}

/// Describes what is computed of each picture; together with the weights it determines every number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The features, without repetitions.
    pub features: Vec<Kind>,
    /// Pooling of feature maps.
    pub pool: Pool,
    /// Whether to normalise vectors to unit length.
    pub unit_length: bool,
    /// Side in pixels of the network's input.
    pub size: u32,
    /// How a picture is made square.
    pub fit: Fit,
    /// Pixels per cell of the last stage.
    pub stride: usize,
}

/// One feature of a batch.
pub struct Computed {
    /// Shape of the feature of one picture: `[C]`, or `[C, h, w]` without pooling.
    pub shape: Vec<usize>,
    /// One picture after the other, row major.
    pub values: Vec<f32>,
}

impl Recipe {
    /// # Errors
    /// For the first setting that is out of range; the message names its option.
    pub fn validate(&self) -> anyhow::Result<()> {
        if !SIDES.contains(&self.size) {
            let (least, most) = (SIDES.start(), SIDES.end());
            bail!(
                "--size {}: must be between {least} and {most} pixels",
                self.size
            );
        }
        for (i, kind) in self.features.iter().enumerate() {
            if self.features[..i].contains(kind) {
                bail!("--feature {}: given twice", kind.name());
            }
        }
        if self.features.is_empty() {
            bail!("--feature: give at least one");
        }
        Ok(())
    }

    /// Checks that `encoder` has all features: foreign weights may lack a head.
    ///
    /// # Errors
    /// For the first feature that it lacks.
    pub fn ensure_in(&self, encoder: &Encoder) -> anyhow::Result<()> {
        for kind in &self.features {
            match kind.map() {
                Some(feature) => feature.ensure_in(encoder)?,
                None if encoder.global_head.is_none() => bail!(
                    "the weights have no global head: use the features of a stage, which --pool mean \
                     makes one vector per picture"
                ),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether every feature is one vector per picture.
    pub(crate) fn is_vectors(&self) -> bool {
        self.pool == Pool::Mean || self.features.iter().all(|kind| kind.map().is_none())
    }

    /// Makes a picture square and resizes it for the network.
    pub fn prepare(&self, image: &RgbImage) -> RgbImage {
        square(image, self.size, self.fit)
    }

    /// Computes the features of prepared pictures, in the order of [`Self::features`].
    ///
    /// # Errors
    /// When the device fails, or a value is NaN or infinite, which means that the weights are damaged.
    ///
    /// # Panics
    /// When the encoder lacks a feature; [`Self::ensure_in`] checks this.
    pub fn compute(
        &self,
        encoder: &Encoder,
        images: &[RgbImage],
        device: &Device,
    ) -> anyhow::Result<Vec<Computed>> {
        let stages = stages(encoder, image_batch(images, device));
        let compute = |&kind: &Kind| match kind.map() {
            None => {
                let [.., last] = &stages.0;
                let head = encoder.global_head.as_ref().expect("asked for before");
                self.read(kind, head.forward(last.clone()))
            }
            Some(feature) => {
                let map = map_of(encoder, &stages, feature);
                match self.pool {
                    Pool::None => self.read(kind, map),
                    Pool::Mean => {
                        let [b, c, h, w] = map.dims();
                        let mean = map.reshape([b, c, h * w]).mean_dim(2).reshape([b, c]);
                        self.read::<2>(kind, mean)
                    }
                }
            }
        };
        self.features.iter().map(compute).collect()
    }

    fn read<const D: usize>(&self, kind: Kind, features: Tensor<D>) -> anyhow::Result<Computed> {
        let features = if self.unit_length {
            l2_normalize(features, 1)
        } else {
            features
        };
        let shape = features.dims()[1..].to_vec();
        let values: Vec<f32> = features
            .try_into_vec_as()
            .context("reading features back from the device")?;
        if values.iter().any(|value| !value.is_finite()) {
            bail!(
                "the features of {} are not finite: the weights are damaged, or not of this network",
                kind.name()
            );
        }
        Ok(Computed { shape, values })
    }
}

/// How the features of a file were computed; stored in its metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// [`densecl::weights::FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// SHA-256 of the file of weights, in hexadecimal.
    pub weights_sha256: String,
    /// Path of the weights, as given.
    pub weights: String,
    /// The network.
    pub model: ModelConfig,
    /// What was computed.
    pub recipe: Recipe,
    /// The folder to which names are relative.
    pub images: String,
}
