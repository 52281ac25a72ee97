//! From a folder of photographs to batches of augmented views: which files there are ([`scan`], or
//! [`pack`] where they are in one), what their pixels are ([`decode`]), and two views of each, ahead of
//! the device ([`loader`]).
//!
//! Nothing here depends on time, on the order of threads or on the order in which a file system
//! lists a folder: a batch is a pure function of the files, the seed and the step.

mod bad_files;
mod contents;
pub(crate) mod decode;
pub(crate) mod index_png;
mod jpeg;
pub(crate) mod loader;
pub(crate) mod pack;
mod permutation;
pub(crate) mod scan;
mod source;
mod worker;

pub(crate) use bad_files::{BadFile, BadFiles};
pub(crate) use source::Source;
