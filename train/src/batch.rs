//! The input of a training step, and where it comes from.

use densecl::augment::ViewGeometry;

/// The input of one training step, or the part of it that belongs to a rank. Sample b of the batch is image
/// `images[b]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Which step of the run this is, from 0.
    pub step: u64,
    /// Which pass over the data the step belongs to, from 0.
    pub epoch: u64,
    /// The views of the images, in the order in which the method lists them.
    pub views: Vec<ViewBytes>,
    /// Each sample's index in the data set.
    pub images: Vec<usize>,
}

/// One view of each of B images. Pixels stay bytes until they are on the device: a quarter of the memory and of the
/// transfer that float32 takes.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewBytes {
    /// S: side length of a view in pixels.
    pub size: usize,
    /// RGB in [0, 255], [B, 3, S, S], row major.
    pub pixels: Vec<u8>,
    /// The crop of each view in its image, `[B]`.
    pub geometry: Vec<ViewGeometry>,
}

impl Batch {
    /// A batch of a step without samples, whose views have these sides; with room for `count` samples.
    pub(crate) fn empty(
        step: u64,
        epoch: u64,
        sides: impl Iterator<Item = u32>,
        count: usize,
    ) -> Self {
        let views = sides.map(|side| ViewBytes {
            size: side as usize,
            pixels: Vec::with_capacity(count * 3 * side as usize * side as usize),
            geometry: Vec::with_capacity(count),
        });
        Self {
            step,
            epoch,
            views: views.collect(),
            images: Vec::with_capacity(count),
        }
    }

    /// Adds a sample of `image`: its views, one after the other in `views`, and their crops.
    pub(crate) fn push(&mut self, image: usize, views: &[u8], geometry: Vec<ViewGeometry>) {
        let mut rest = views;
        for (view, geometry) in self.views.iter_mut().zip(geometry) {
            let (pixels, others) = rest.split_at(3 * view.size * view.size);
            view.pixels.extend_from_slice(pixels);
            view.geometry.push(geometry);
            rest = others;
        }
        self.images.push(image);
    }
}

/// Makes the batches of a run, one after the other.
pub trait Batches {
    /// The next batch; blocks until it is ready.
    ///
    /// # Errors
    /// When no batch can be made; the run then ends.
    fn next(&mut self) -> anyhow::Result<Batch>;

    /// Seconds spent waiting for batches so far.
    fn seconds_waited(&self) -> f64;
}
