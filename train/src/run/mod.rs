//! A training run: its start, its folder, and its results.

mod boxes;
mod describe;
mod failure;
mod folder;
mod images;
mod pictures;
mod plot;
mod pretrain;
mod result;
mod start;
mod training;

pub use folder::RunDir;
pub use plot::plot;
pub use pretrain::{MakeMethod, PreparedRun, RunRequest, preset_or_file, settings_and_folder};
pub use result::RunResult;
