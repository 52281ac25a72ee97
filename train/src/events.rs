//! What a run tells the world. Front ends consume these and compute nothing.

use std::path::Path;

use densecl::method::Figure;

use crate::held_out::HeldOutFigures;
use crate::row::MetricRow;

/// One thing that happened in a run.
pub enum TrainEvent<'a> {
    /// Training begins, or goes on at `step`.
    Started {
        /// Steps already taken.
        step: u64,
        /// Steps of the whole run.
        total_steps: u64,
        /// Steps of one pass over the data.
        steps_per_epoch: u64,
        /// What the method measures in each step, and how it is shown.
        figures: &'a [Figure],
    },
    /// A step was taken.
    Stepped {
        /// Steps taken so far.
        step: u64,
    },
    /// A step was measured.
    Row(&'a MetricRow),
    /// The correspondence accuracy on held-out pairs.
    Measured {
        /// Steps taken before.
        step: u64,
        /// The figures.
        measured: &'a HeldOutFigures,
    },
    /// A picture was drawn.
    Picture {
        /// What it shows.
        tag: &'a str,
        /// Steps taken before.
        step: u64,
        /// The pixels.
        image: &'a image::RgbImage,
    },
    /// The state was saved.
    Saved {
        /// Where.
        path: &'a Path,
    },
    /// Something the user should read.
    Note(String),
    /// The run has ended and everything is measured.
    Ended,
}

/// Takes part in a run by listening.
pub trait Observer {
    /// # Errors
    /// When what is to be written cannot be: the run then stops.
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()>;
}

/// Several observers as one.
#[derive(Default)]
pub struct Observers(pub Vec<Box<dyn Observer>>);

impl Observer for Observers {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        self.0
            .iter_mut()
            .try_for_each(|observer| observer.event(event))
    }
}
