//! One run: where it begins, the folder that it lives in, and what it leaves behind.

mod failure;
pub mod folder;
mod images;
mod pictures;
mod plot;
mod pretrain;
pub mod result;
mod start;
mod training;

pub use plot::plot;
pub use pretrain::{PreparedRun, RunRequest, preset_or_file, settings_and_folder};
