//! The events of a training run. Front ends show them and compute nothing themselves.

use std::path::Path;

use densecl::method::Figure;

use crate::held_out::HeldOutFigures;
use crate::row::MetricRow;

/// One thing that happened in a run.
pub enum TrainEvent<'a> {
    /// Training begins, or is resumed at `step`.
    Started {
        /// Steps already taken.
        step: u64,
        /// Steps of the whole run.
        total_steps: u64,
        /// Steps of one pass over the data.
        steps_per_epoch: u64,
        /// The figures that the method measures in each step, and where each is shown.
        figures: &'a [Figure],
    },
    /// A step was taken.
    Stepped {
        /// Steps taken so far.
        step: u64,
    },
    /// The network as it is now, for observers that show or store its weights: before the first step, after each step,
    /// and before [`Started`](Self::Started) the untrained network that is measured.
    Weights {
        /// Steps taken.
        step: u64,
        /// Makes the content of `weights.safetensors` with the weights of this moment. It waits for the device and
        /// copies all weights, so an observer that has no use for them does not call it.
        file: &'a dyn Fn() -> anyhow::Result<Vec<u8>>,
    },
    /// The figures of a logged step.
    Row(&'a MetricRow),
    /// The correspondence accuracy on held-out pairs.
    Measured {
        /// Steps taken before the measurement.
        step: u64,
        /// The figures.
        measured: &'a HeldOutFigures,
    },
    /// A picture was drawn.
    Picture {
        /// Name of the picture.
        tag: &'a str,
        /// Steps taken before it was drawn.
        step: u64,
        /// The pixels.
        image: &'a image::RgbImage,
    },
    /// A checkpoint was written.
    Saved {
        /// Where it was written.
        path: &'a Path,
    },
    /// A message for the user.
    Note(String),
    /// The run has ended, and all its results are written.
    Ended,
}

/// Receives the events of a run.
pub trait Observer {
    /// Handles one event.
    ///
    /// # Errors
    /// When the observer cannot do its work, such as writing a file; the run then stops.
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()>;
}

/// Passes each event to several observers, in their order.
#[derive(Default)]
pub struct Observers(pub Vec<Box<dyn Observer>>);

impl Observer for Observers {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        self.0
            .iter_mut()
            .try_for_each(|observer| observer.event(event))
    }
}
