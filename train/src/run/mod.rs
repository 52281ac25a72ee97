//! One run: where it begins, the folder that it lives in, and what it leaves behind.

pub(crate) mod failure;
pub mod folder;
mod images;
mod pictures;
mod plot;
mod pretrain;
pub mod result;
mod start;

pub use plot::plot;
pub use pretrain::{PreparedRun, RunRequest, resolve, settings_and_folder};
