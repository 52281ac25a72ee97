//! From a folder of photographs to batches of augmented views: which files there are ([`scan`], or
//! a pack where they are in one file), what their pixels are ([`decode`]), and two views of each, ahead of
//! the device (`loader`).
//!
//! Nothing here depends on time, on the order of threads or on the order in which a file system
//! lists a folder: a batch is a pure function of the files, the seed and the step.

mod bad_files;
mod contents;
pub mod decode;
mod decode_error;
pub mod index_png;
mod jpeg;
pub(crate) mod loader;
mod pack;
mod packing;
mod permutation;
pub mod scan;
mod scenes;
mod source;
mod speed;
mod spread;
mod worker;

pub use bad_files::{BadFile, BadFiles};
pub use pack::Pack;
pub use packing::{Packed, pack_pictures};
pub use scenes::write_scenes;
pub use source::Source;
pub use speed::{LoaderSpeed, Stages, loader_speed};
pub use spread::spread;
