//! The features of a network, by name.

use std::str::FromStr;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::fused;
use crate::{
    error::{Error, Result},
    model::{Encoder, Stages},
    network::{ModelConfig, Network, Stage},
};

/// Which features of the network describe a cell. Files and URLs contain its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Feature {
    /// The backbone's first stage, at stride 4.
    Stage1,
    /// The backbone's second stage, at stride 8.
    Stage2,
    /// The backbone's third stage, at stride 16 or the output stride if that is smaller.
    Stage3,
    /// The backbone's last stage, at the output stride. By default, training matches cells by these features.
    Stage4,
    /// The third and the last stage, each normalised to unit length, concatenated on the finer of their grids.
    /// The cosine of two cells is the mean of both stages' cosines.
    Stage3And4,
    /// The dense head's output.
    Dense,
}

impl Feature {
    /// All features, from the first layers to the last.
    pub const ALL: [Self; 6] = [
        Self::Stage1,
        Self::Stage2,
        Self::Stage3,
        Self::Stage4,
        Self::Stage3And4,
        Self::Dense,
    ];

    /// The features that matching, evaluations and the browser offer for the comparison of cells. The first two
    /// stages are missing, because they describe edges and colours more than objects.
    pub const COMPARED: [Self; 4] = [Self::Stage3, Self::Stage4, Self::Stage3And4, Self::Dense];

    /// The default for matching in `densecl match`, `densecl eval correspondence`, the demo page and the
    /// `<dense-match>` element. JavaScript has copies of it, which a test in `web/src/weights.rs` compares with this.
    pub const MATCHING: Self = Self::Stage4;

    /// The name on the command line, in files and in URLs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage1 => "stage1",
            Self::Stage2 => "stage2",
            Self::Stage3 => "stage3",
            Self::Stage4 => "stage4",
            Self::Stage3And4 => "stage3+stage4",
            Self::Dense => "dense",
        }
    }

    /// A description in one line, for help texts.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Stage1 => "The backbone's first stage, at stride 4",
            Self::Stage2 => "The second stage, at stride 8",
            Self::Stage3 => "The third stage, finer than the last",
            Self::Stage4 => {
                "The last stage: the one to transfer, and the one that training matches by"
            }
            Self::Stage3And4 => {
                "Stages 3 and 4, each of unit length, concatenated on the finer grid: vectors 1.5 times as long"
            }
            Self::Dense => "The dense head",
        }
    }

    /// The stages of the backbone from which this feature is made, the finest grid first; none for the dense head.
    fn stages(self, network: &Network) -> Vec<&Stage> {
        let [stage1, stage2, stage3, stage4] = &network.stages;
        match self {
            Self::Stage1 => vec![stage1],
            Self::Stage2 => vec![stage2],
            Self::Stage3 => vec![stage3],
            Self::Stage4 => vec![stage4],
            Self::Stage3And4 => vec![stage3, stage4],
            Self::Dense => Vec::new(),
        }
    }

    /// Pixels per cell along each axis in a network of `model`; `None` for a dense head that pools to a fixed
    /// number of cells.
    pub fn stride(self, model: &ModelConfig) -> Option<usize> {
        match self.stages(&Network::new(model)).first() {
            Some(finest) => Some(finest.stride),
            None => (model.num_grid == 0).then_some(model.output_stride),
        }
    }

    /// Numbers per cell in a network of `model`.
    pub fn channels(self, model: &ModelConfig) -> usize {
        if self == Self::Dense {
            return model.dim;
        }
        let network = Network::new(model);
        let stages = self.stages(&network);
        stages.iter().map(|stage| stage.channels).sum()
    }

    /// The feature map [B, C, h, w] from the maps of a backbone's stages; vectors are not normalised. `None` for
    /// the dense head, which is not part of a backbone. The gradient flows through.
    pub fn of_backbone(self, stages: &Stages) -> Option<Tensor<4>> {
        let Stages([stage1, stage2, stage3, stage4]) = stages;
        match self {
            Self::Stage1 => Some(stage1.clone()),
            Self::Stage2 => Some(stage2.clone()),
            Self::Stage3 => Some(stage3.clone()),
            Self::Stage4 => Some(stage4.clone()),
            Self::Stage3And4 => Some(fused(stage3.clone(), stage4.clone())),
            Self::Dense => None,
        }
    }

    /// Checks that `encoder` has this feature. A backbone of other programs has no dense head.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when `encoder` does not have the feature.
    pub fn ensure_in(self, encoder: &Encoder) -> Result<()> {
        if self == Self::Dense && encoder.dense_head.is_none() {
            return Err(Error::Mismatch(
                "the weights have no dense head: use the features of a stage, such as stage4 or \
                 stage3+stage4"
                    .to_string(),
            ));
        }
        Ok(())
    }
}

impl FromStr for Feature {
    type Err = Error;

    /// # Errors
    /// [`Error::Mismatch`] when no feature has this name.
    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|feature| feature.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Mismatch(format!("no feature is called {name:?}: there are {names}"))
        })
    }
}

impl TryFrom<String> for Feature {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Feature> for &'static str {
    fn from(feature: Feature) -> Self {
        feature.name()
    }
}
