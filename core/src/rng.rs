//! Randomness from one seed, split per purpose.
//!
//! Every random decision of a run is a pure function of `(seed, purpose, index)`: no generator is
//! carried from one sample to the next, so the number of loader threads, the order in which they
//! finish and a restart from a checkpoint change nothing.

use rand::{RngExt, SeedableRng};

/// The generator behind every stream: ChaCha with 8 rounds, whose output is fixed by its
/// specification and so is the same on every platform.
pub type Rng = rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is used for; two purposes never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights; index = the hash of the parameter's name.
    Weights = 1,
    /// The order of the images; index = epoch.
    Order = 2,
    /// The two views of a sample; index = position in the run (epoch · images + position in the epoch).
    Views = 3,
    /// The unit vectors that fill a queue at the start; index = which queue.
    Queue = 4,
    /// The permutation of the keys across the groups of split BN; index = micro-batch of the run.
    Shuffle = 5,
    /// A procedural scene; index = its number.
    Scene = 6,
    /// Random matches (the paper's ablation); index = micro-batch of the run.
    Matching = 7,
    /// Pictures drawn for a bootstrap interval; index = draw.
    Bootstrap = 8,
    /// What an evaluation draws: order, pixels, crops; index = step, or picture.
    Evaluation = 9,
    /// A known warp of a picture; index = its number.
    Warp = 10,
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
