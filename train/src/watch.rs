//! How far a long piece of work is, for whoever waits for it.

use std::fmt::Debug;

/// Is told when pieces of work begin, and how far they are: a terminal draws bars, a service writes a log.
pub trait Watch: Debug + Send + Sync {
    /// Work of so many parts begins. It ends when the value is dropped.
    fn begin(&self, label: &str, parts: u64) -> Box<dyn Gauge>;
}

/// One piece of work, for who watches it.
pub trait Gauge: Send + Sync {
    /// So many more parts are done.
    fn advance(&self, parts: u64);

    /// What is to be shown in the place of its label.
    fn relabel(&self, label: &str);
}

/// Nobody watches.
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
