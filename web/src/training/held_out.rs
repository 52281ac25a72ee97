//! The held-out pairs of a training, made when they are first needed, and the measurement on them in slices.

use burn::tensor::Device;
use densecl::model::Encoder;
use densecl_train::config::RunConfig;
use densecl_train::held_out::{FEATURE, HeldOutFigures, Measurement, Pair};
use image::RgbImage;

/// Pairs rendered and measured in one slice: some tenths of a second on a CPU.
const AT_ONCE: usize = 2;

/// The pairs.
pub(super) struct Pairs {
    config: RunConfig,
    /// The held-out pictures; none where the pairs are rendered scenes.
    pictures: Vec<RgbImage>,
    made: Vec<Pair>,
}

impl Pairs {
    /// `pictures` are those held out; none for a training on scenes.
    pub(super) fn new(config: &RunConfig, pictures: Vec<RgbImage>) -> Self {
        Self {
            config: config.clone(),
            pictures,
            made: Vec::new(),
        }
    }

    /// The number of pictures that are held out.
    pub(super) fn pictures(&self) -> usize {
        self.pictures.len()
    }

    /// The number of pairs.
    pub(super) fn count(&self) -> usize {
        if self.pictures.is_empty() {
            self.config.eval.pairs
        } else {
            self.pictures.len()
        }
    }

    fn get(&mut self, from: usize, count: usize) -> &[Pair] {
        let to = (from + count).min(self.count());
        while self.made.len() < to {
            let (number, seed) = (self.made.len(), self.config.train.seed);
            self.made.push(match self.pictures.get(number) {
                Some(picture) => Pair::of_views(picture, &self.config.views, seed, number),
                None => Pair::of_scene(&self.config.scenes, seed, number),
            });
        }
        &self.made[from..to]
    }
}

/// A measurement that is under way.
pub(super) struct Measuring {
    encoder: Encoder,
    measurement: Measurement,
}

impl Measuring {
    /// Of an encoder outside any gradient graph.
    pub(super) fn begin(encoder: Encoder) -> Self {
        Self {
            encoder,
            measurement: Measurement::new(FEATURE),
        }
    }

    /// Pairs measured so far.
    pub(super) fn done(&self) -> usize {
        self.measurement.pairs()
    }

    /// Measures the next pairs. Returns the figures after the last.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) async fn go_on(
        &mut self,
        pairs: &mut Pairs,
        device: &Device,
    ) -> anyhow::Result<Option<HeldOutFigures>> {
        let next = pairs.get(self.done(), AT_ONCE);
        self.measurement.add(&self.encoder, next, device).await?;
        Ok((self.done() >= pairs.count()).then(|| self.measurement.figures()))
    }
}
