//! From files to batches of augmented views: [`scan`] lists the files of a folder (a pack holds many in one file),
//! [`decode`] decodes them, and `loader` makes the views of each, ahead of the device.
//!
//! Nothing here depends on time, on the scheduling of threads or on the order in which a file system lists a folder:
//! a batch is a pure function of the files, the seed and the step.

mod bad_files;
pub(crate) mod boxes;
mod contents;
pub mod decode;
mod decode_error;
pub mod index_png;
mod jpeg;
pub(crate) mod loader;
mod pack;
mod packing;
pub mod scan;
mod scenes;
mod source;
mod speed;
mod worker;

pub use bad_files::{BadFile, BadFiles};
pub use boxes::{FoundBoxes, count_boxed, find_boxes};
pub use pack::Pack;
pub use packing::{Packed, pack_pictures};
pub use scenes::write_scenes;
pub use source::Source;
pub use speed::{LoaderSpeed, Stages, loader_speed};
