//! What is computed of each picture.

use anyhow::{Context, bail};
use burn::tensor::{Device, Tensor};
use densecl::config::ModelConfig;
use densecl::features::{Feature, Fit, SIDES, image_batch, map_of, square, stages};
use densecl::matching::l2_normalize;
use densecl::model::Encoder;
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// What can be computed of a picture. Files hold its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Kind {
    /// A map: a vector per cell.
    Map(Feature),
    /// The global head: a vector per picture, without cells.
    Global,
}

impl Kind {
    /// The map it is; `None` for the global head.
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

/// What becomes of the cells of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Their mean: one vector per picture
    Mean,
    /// They stay: a vector per cell
    None,
}

/// What is computed of each picture; with the weights it decides every number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Each once.
    pub features: Vec<Kind>,
    /// What becomes of maps.
    pub pool: Pool,
    /// Whether vectors are divided by their length.
    pub unit_length: bool,
    /// Pixels of a side at which the network looks.
    pub size: u32,
    /// How a picture becomes square.
    pub fit: Fit,
    /// Pixels per cell of the last stage.
    pub stride: usize,
}

/// One feature of a batch.
pub struct Computed {
    /// The shape of one picture's: `[C]`, or `[C, h, w]` where cells stay.
    pub shape: Vec<usize>,
    /// Picture after picture, row major.
    pub values: Vec<f32>,
}

impl Recipe {
    /// # Errors
    /// Naming the option that is out of range.
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

    /// Whether `encoder` has all of the features: weights from elsewhere may lack a head.
    ///
    /// # Errors
    /// Naming the one that it has not.
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

    /// A picture as the network sees it.
    pub fn prepare(&self, image: &RgbImage) -> RgbImage {
        square(image, self.size, self.fit)
    }

    /// The features of prepared pictures, in the order of [`Self::features`].
    ///
    /// # Errors
    /// When the device fails, or a number is not finite: weights with a NaN in them are no weights.
    ///
    /// # Panics
    /// When the encoder lacks one; ask [`Self::ensure_in`] first.
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

/// How features came to be: what a file says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// [`densecl::weights::FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// SHA-256 of the file of weights, in hexadecimal.
    pub weights_sha256: String,
    /// That file, as given.
    pub weights: String,
    /// The network.
    pub model: ModelConfig,
    /// What was computed.
    pub recipe: Recipe,
    /// The folder that the names are relative to.
    pub images: String,
}
