//! Random numbers from one seed, with an independent stream for each purpose.
//!
//! Every random decision of a run is a pure function of `(seed, purpose, index)`. No generator is carried
//! from one sample to the next, so results do not depend on the number of loader threads, the order in
//! which they finish, or a restart from a checkpoint.

use rand::{RngExt, SeedableRng};

/// The generator of every stream: ChaCha with 8 rounds, whose output is specified and therefore the same
/// on every platform.
pub type Rng = rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is used for; two purposes never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights; index = the hash of the parameter's name.
    Weights = 1,
    /// The order of the images; index = epoch.
    Order = 2,
    /// The views of a sample; index = position in the run (epoch · images + position in the epoch).
    Views = 3,
    /// The unit vectors that fill a queue at the start; index = number of the queue.
    Queue = 4,
    /// The permutation of the keys across the groups of split batch normalisation; index = number of the
    /// micro-batch in the run.
    Shuffle = 5,
    /// A procedural scene; index = its number.
    Scene = 6,
    /// Random matches (an ablation of the paper); index = number of the micro-batch in the run.
    Matching = 7,
    /// Pictures drawn for a bootstrap interval; index = number of the draw.
    Bootstrap = 8,
    /// Random choices of an evaluation (order, pixels, crops); index = step or picture.
    Evaluation = 9,
    /// A known warp of a picture; index = its number.
    Warp = 10,
    /// The region that the crops of a sample are drawn from; index as for the views.
    Region = 11,
    /// The instances of a sample and their augmentation; index as for the views.
    Instances = 12,
    /// The start of an attack on pixels; index = number of the micro-batch in the run, or of the batch in an
    /// evaluation.
    Attack = 13,
}

/// The stream for `purpose` and `index` of the run with this `seed`.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> Rng {
    let mut key = [0u8; 32];
    key[0..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    key[16..24].copy_from_slice(&index.to_le_bytes());
    Rng::from_seed(key)
}

/// Two independent standard normal numbers (Box–Muller).
pub(crate) fn normal_pair(rng: &mut Rng) -> [f64; 2] {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
    [radius * cos, radius * sin]
}
