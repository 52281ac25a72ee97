//! A training run: its start, its folder, and its results.

mod boxes;
mod describe;
mod failure;
mod folder;
mod images;
mod kernels;
mod pictures;
mod plot;
mod pretrain;
mod ranks;
mod request;
mod result;
mod start;
mod together;
mod training;

pub use folder::RunDir;
pub use plot::plot;
pub use pretrain::{Finished, MakeMethod, PreparedRun};
pub use request::{RunRequest, preset_or_file, settings_and_folder};
pub use result::RunResult;
pub use together::{Follower, MemberRun, prepare_together};
