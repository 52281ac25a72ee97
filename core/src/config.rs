//! The settings of method and optimizer, as serde structs. Defaults are those of the authors
//! (`configs/selfsup/densecl/densecl_imagenet_200ep.py`) unless a comment says otherwise.

mod attack;
mod method;
mod optim;

use serde::{Deserialize, Serialize};

pub use self::{
    attack::{Attack, Fraction},
    method::{MAX_DEFAULT_QUEUE, MethodConfig, MethodName},
    optim::{OptimConfig, OptimizerName, Precision, SchedulePer},
};
pub use crate::network::{Backbone, ModelConfig, Stem};

/// How the positive key cell of a query cell is chosen (the paper's ablation, table 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// The key cell with the most similar backbone features: the paper's choice.
    Backbone,
    /// The key cell with the most similar output of the dense head.
    Dense,
    /// As `Backbone`, after subtracting from each cell's features their mean over the batch at that cell. Zero
    /// padding makes features depend on the position of the cell, in the same way in every image; subtracting
    /// the mean removes that part. Not in the paper.
    Centred,
    /// A random key cell: the baseline of the ablation.
    Random,
    /// The key cell that contains the centre of the query cell, according to the geometry of the views, as in
    /// VADeR (Pinheiro et al., 2020) and PixContrast (Xie et al., 2021). Query cells whose centre lies outside
    /// the key view are excluded from the dense losses.
    Geometry,
}

/// Which key cells of the same image are the positives of a query cell in the in-view loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InViewPositives {
    /// The cell chosen by [`MethodConfig::matching`].
    Match,
    /// As in PixContrast, for any `matching`: every key cell whose centre is near that of the query cell in the
    /// source image. Near is a distance of at most 0.7 times the diagonal of a cell. If the cells of the two
    /// views differ in size, the larger diagonal counts.
    Near,
}

/// The schedule of m of the momentum encoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentumSchedule {
    /// m is constant, as in MoCo and DenseCL.
    #[default]
    Constant,
    /// m rises from its value to 1 along a cosine, as in BYOL.
    Cosine,
}
