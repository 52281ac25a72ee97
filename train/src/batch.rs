//! The input of a training step, and where it comes from.

use densecl::augment::ViewGeometry;

/// The input of one training step. Sample b of the batch is image `images[b]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Which step of the run this is, from 0.
    pub step: u64,
    /// Which pass over the data the step belongs to, from 0.
    pub epoch: u64,
    /// The views of the images, in the order of the method.
    pub views: Vec<ViewBytes>,
    /// Each sample's index in the data set.
    pub images: Vec<usize>,
}

/// One view of each of B images, as bytes, which are a quarter of what the network sees: they wait, and travel to the
/// device, as such.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewBytes {
    /// S: pixels of a side.
    pub size: usize,
    /// [B, 3, S, S].
    pub pixels: Vec<u8>,
    /// Where each view lies in its image.
    pub geometry: Vec<ViewGeometry>,
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
