//! The input of a training step, and where it comes from.

use densecl::augment::ViewGeometry;

/// The input of one training step. Sample b of the batch is image `images[b]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Which step of the run this is, from 0.
    pub step: u64,
    /// Which pass over the data the step belongs to, from 0.
    pub epoch: u64,
    /// The query views, [B, 3, S, S]. Bytes, which are a quarter of what the network sees: they wait,
    /// and travel to the device, as such.
    pub query: Vec<u8>,
    /// The key views, [B, 3, S, S].
    pub key: Vec<u8>,
    /// Where the query and the key view of each sample lie in its image.
    pub geometry: Vec<[ViewGeometry; 2]>,
    /// Each sample's index in the data set.
    pub images: Vec<usize>,
}

/// Makes the batches of a run, one after the other.
pub trait Batches {
    /// The next batch, waiting for it if need be.
    ///
    /// # Errors
    /// When there is none: the run ends.
    fn next(&mut self) -> anyhow::Result<Batch>;

    /// Seconds spent waiting for batches so far.
    fn seconds_waited(&self) -> f64;
}
