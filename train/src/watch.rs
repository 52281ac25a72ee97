//! Progress of long work, for display.

use std::fmt::Debug;

/// Receives the start and progress of pieces of work, for instance to draw progress bars or write a log.
pub trait Watch: Debug + Send + Sync {
    /// Begins a piece of work of `parts` parts. It ends when the returned value is dropped.
    fn begin(&self, label: &str, parts: u64) -> Box<dyn Gauge>;
}

/// The progress of one piece of work.
pub trait Gauge: Send + Sync {
    /// Adds `parts` completed parts.
    fn advance(&self, parts: u64);

    /// Replaces the label.
    fn relabel(&self, label: &str);
}

/// Discards all progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _: &str, _: u64) -> Box<dyn Gauge> {
        Box::new(Self)
    }
}

impl Gauge for Unwatched {
    fn advance(&self, _: u64) {}

    fn relabel(&self, _: &str) {}
}
