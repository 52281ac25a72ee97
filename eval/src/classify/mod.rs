//! `eval knn` and `eval linear`: classification of whole pictures by frozen features, averaged over the cells.

mod folders;
pub(crate) mod labelled;
mod picture;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::{Tensor, TensorData};
use densecl::features::network_picture;
use densecl::metrics::{in_top_k, knn_votes};
use densecl::transfer::linear::{LinearConfig, LinearProbe, Samples};
use image::RgbImage;
use serde_json::json;

use super::backbone::Backbone;
use super::figures::{Figure, bootstrap};
use super::stream::stream;
use super::{Evaluation, Look, Measured};
use densecl_train::paths;
use labelled::{Labelled, Sample};

/// Number of classes from which on top-5 accuracy is reported.
const TOP_5_FROM: usize = 6;
/// Validation pictures compared at once with all training pictures.
const ROWS: usize = 256;

/// Default number of neighbours that vote.
pub const NEIGHBOURS: usize = 20;
/// Default temperature τ of the votes.
pub const TEMPERATURE: f64 = 0.07;

/// The classifier.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// k-nearest-neighbour vote among the training pictures.
    Knn {
        /// Number of neighbours.
        k: usize,
        /// τ: the weight of a vote is exp(cosine/τ).
        temperature: f64,
    },
    /// A linear layer.
    Linear(LinearConfig),
}

impl Method {
    /// k-nearest-neighbour with [`NEIGHBOURS`] and [`TEMPERATURE`].
    pub fn knn() -> Self {
        Self::Knn {
            k: NEIGHBOURS,
            temperature: TEMPERATURE,
        }
    }

    /// # Errors
    /// For the first setting that is out of range; the message names its option.
    fn validate(&self) -> anyhow::Result<()> {
        match self {
            Self::Knn { k: 0, .. } => bail!("--k 0: at least one neighbour has to vote"),
            Self::Knn { temperature, .. } if !(*temperature > 0.0 && temperature.is_finite()) => {
                bail!("--temperature {temperature}: must be above 0")
            }
            Self::Linear(config) if !(1..=100_000).contains(&config.epochs) => {
                bail!("--epochs {}: must be between 1 and 100,000", config.epochs)
            }
            Self::Linear(config) if !(config.lr > 0.0 && config.lr.is_finite()) => {
                bail!("--lr {}: must be above 0", config.lr)
            }
            _ => Ok(()),
        }
    }
}

/// Classification as an evaluation.
pub struct Classify {
    data: PathBuf,
    look: Look,
    method: Method,
    set: Labelled,
}

/// One vector per picture, row major.
struct Pooled {
    values: Vec<f32>,
    width: usize,
}

impl Classify {
    /// Reads the folders in `data`, or cuts objects from scenes where it is `scenes` or `scenes:N`; at most `limit`
    /// pictures of each part.
    ///
    /// # Errors
    /// For settings out of range, and for data that cannot be used.
    pub fn open(
        data: &Path,
        limit: Option<usize>,
        look: Look,
        method: Method,
    ) -> anyhow::Result<Self> {
        method.validate()?;
        Ok(Self {
            data: data.to_path_buf(),
            set: Labelled::open(data, limit)?,
            look,
            method,
        })
    }

    /// Features of the pictures, averaged over their cells (global average pooling).
    fn pool(&self, backbone: &Backbone, samples: &[Sample]) -> anyhow::Result<Pooled> {
        let mut pooled = Pooled {
            values: Vec::new(),
            width: backbone.channels(self.look.feature),
        };
        stream(
            backbone,
            self.look.feature,
            samples.len(),
            "features",
            |i| Ok((self.open_picture(&samples[i])?, ())),
            |_, (), map| {
                let [_, channels, h, w] = map.dims();
                let mean: Tensor<3> = map.reshape([1, channels, h * w]).mean_dim(2);
                let values = mean.try_into_vec_as::<f32>();
                pooled
                    .values
                    .extend(values.context("reading features back from the device")?);
                Ok(())
            },
        )?;
        Ok(pooled)
    }

    fn open_picture(&self, sample: &Sample) -> anyhow::Result<RgbImage> {
        let image = sample.picture.open()?;
        Ok(network_picture(&image, self.look.size))
    }

    /// The figures from the score of every class for each validation picture.
    fn measured(&self, scores: &[f64], picture: RgbImage, seed: u64) -> Measured {
        let Labelled {
            classes,
            train,
            val,
        } = &self.set;
        let count = classes.len();
        let rows: Vec<&[f64]> = scores.chunks_exact(count).collect();
        let accuracy = |k: usize| {
            let right: Vec<bool> = rows
                .iter()
                .zip(val)
                .map(|(row, s)| in_top_k(row, s.class, k))
                .collect();
            let share = |drawn: &[usize]| {
                let sum = drawn.iter().filter(|&&i| right[i]).count();
                Some(sum as f64 / drawn.len() as f64)
            };
            let all: Vec<usize> = (0..right.len()).collect();
            Figure::share(&format!("top-{k}"), share(&all).unwrap_or(0.0))
                .with_interval(bootstrap(right.len(), share))
        };
        let mut figures = vec![accuracy(1)];
        if count >= TOP_5_FROM {
            figures.push(accuracy(5));
        }
        let of = |samples: &[Sample], class| samples.iter().filter(|s| s.class == class).count();
        let common = (0..count)
            .max_by_key(|&class| of(train, class))
            .unwrap_or(0);
        let share = of(val, common) as f64 / val.len() as f64;
        figures.push(Figure::share("always the commonest class", share).baseline());
        let per_class = classes.iter().enumerate().map(|(class, name)| {
            let own = rows
                .iter()
                .zip(val)
                .filter(|(_, sample)| sample.class == class);
            let right = own
                .clone()
                .filter(|(row, _)| in_top_k(row, class, 1))
                .count();
            json!({ "class": name, "pictures": own.count(), "right": right })
        });
        Measured {
            details: json!({ "seed": seed, "per_class": per_class.collect::<Vec<_>>() }),
            figures,
            picture: Some(picture),
        }
    }

    fn knn(
        &self,
        [train, val]: [&Pooled; 2],
        backbone: &Backbone,
        k: usize,
        temperature: f64,
    ) -> anyhow::Result<Measured> {
        let labels: Vec<usize> = self.set.train.iter().map(|s| s.class).collect();
        let keys = unit_rows(train, backbone).transpose();
        let queries = unit_rows(val, backbone);
        let mut scores = Vec::new();
        let mut nearest = Vec::new();
        for rows in queries.split(ROWS, 0) {
            let similarity = rows.matmul(keys.clone()).try_into_vec_as::<f32>();
            let similarity = similarity.context("reading similarities back from the device")?;
            for row in similarity.chunks_exact(labels.len()) {
                let votes = knn_votes(row, &labels, self.set.classes.len(), k, temperature);
                scores.extend(votes);
                nearest.push(picture::best(row));
            }
        }
        let picture = picture::neighbours(&self.set, &nearest)?;
        Ok(self.measured(&scores, picture, 0))
    }

    fn linear(
        &self,
        [train, val]: [&Pooled; 2],
        backbone: &Backbone,
        config: &LinearConfig,
        seed: u64,
    ) -> anyhow::Result<Measured> {
        let labels: Vec<usize> = self.set.train.iter().map(|s| s.class).collect();
        let classes = self.set.classes.len();
        let device = &backbone.device;
        let probe = LinearProbe::train(train.samples(), &labels, classes, config, seed, device);
        let logits = probe
            .forward(val.samples(), device)
            .try_into_vec_as::<f32>();
        let logits = logits.context("reading logits back from the device")?;
        let scores: Vec<f64> = logits.into_iter().map(f64::from).collect();
        let picture = picture::confusion(&self.set, &scores)?;
        Ok(self.measured(&scores, picture, seed))
    }
}

impl Pooled {
    fn samples(&self) -> Samples<'_> {
        Samples {
            values: &self.values,
            width: self.width,
        }
    }
}

/// Scales the rows of [N, C] to unit length.
fn unit_rows(pooled: &Pooled, backbone: &Backbone) -> Tensor<2> {
    let shape = [pooled.samples().len(), pooled.width];
    let rows = TensorData::new(pooled.values.clone(), shape);
    let rows: Tensor<2> = Tensor::from_data(rows, &backbone.device);
    densecl::matching::l2_normalize(rows, 1)
}

impl Evaluation for Classify {
    fn name(&self) -> &'static str {
        match self.method {
            Method::Knn { .. } => "knn",
            Method::Linear(_) => "linear",
        }
    }

    fn protocol(&self) -> serde_json::Value {
        let Labelled {
            classes,
            train,
            val,
        } = &self.set;
        let method = match &self.method {
            Method::Knn { k, temperature } => json!({ "k": k, "temperature": temperature }),
            Method::Linear(LinearConfig {
                epochs,
                batch,
                lr,
                weight_decay,
            }) => json!({
                "epochs": epochs, "batch": batch, "lr": lr, "weight_decay": weight_decay,
            }),
        };
        json!({
            "data": paths::text(&self.data),
            "classes": classes.len(),
            "train_pictures": train.len(),
            "val_pictures": val.len(),
            "look": self.look,
            "method": method,
        })
    }

    fn look(&self) -> Look {
        self.look
    }

    fn is_random(&self) -> bool {
        matches!(self.method, Method::Linear(_))
    }

    fn measure(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<Vec<Measured>> {
        let train = self.pool(backbone, &self.set.train)?;
        let val = self.pool(backbone, &self.set.val)?;
        let both = [&train, &val];
        match &self.method {
            Method::Knn { k, temperature } => {
                let measured = self.knn(both, backbone, *k, *temperature)?;
                Ok(vec![measured; seeds.len()])
            }
            Method::Linear(config) => {
                let one = |&seed| self.linear(both, backbone, config, seed);
                seeds.iter().map(one).collect()
            }
        }
    }
}
