//! Pre-training with DenseCL as a library: from a folder of photographs to weights, without a command line and without
//! a terminal.
//!
//! A run is asked for by a `run::RunRequest`, made ready by `run::PreparedRun`, and tells
//! what happens to an [`Observer`](events::Observer):
//!
//! ```no_run
//! # #[cfg(feature = "files")]
//! # fn example(selected: &densecl::device::Selected) -> anyhow::Result<()> {
//! use std::sync::atomic::AtomicBool;
//!
//! use densecl_train::events::{Observer, TrainEvent};
//! use densecl_train::run::{PreparedRun, RunRequest};
//!
//! struct Losses;
//!
//! impl Observer for Losses {
//!     fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
//!         if let TrainEvent::Row(row) = event {
//!             println!("step {}: loss {:.3}", row.step, row.loss);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let request = RunRequest {
//!     config: Some("photos_r18".to_string()),
//!     sets: vec!["data.source=photos".to_string()],
//!     ..RunRequest::default()
//! };
//! // A device of `densecl::device::select`; the flag stops the run after a step, with a checkpoint.
//! let stop = AtomicBool::new(false);
//! PreparedRun::new(&request)?.run(selected, Box::new(Losses), &stop)?;
//! # Ok(())
//! # }
//! ```
//!
//! # The loop, which builds for a browser
//!
//! | module | what is in it |
//! |---|---|
//! | [`config`], [`presets`] | the settings of a run; those that come with the library |
//! | [`settings`] | defaults < preset or file < overrides; which key is wrong |
//! | [`plan`] | what follows from the settings, the device and the number of images |
//! | [`batch`] | the input of a step, and where it comes from |
//! | [`trainer`] | the loop: batches in, events out |
//! | [`events`], [`row`] | what a run tells its observers; the figures of a logged step |
//! | [`held_out`] | pairs with known truth, and the measurement on them |
//! | [`notes`], [`watch`] | lines for the user from the depth of a library; how far long work is |
//!
//! # What needs files, threads and a clock: the feature `files`, on by default
//!
//! | module | what is in it |
//! |---|---|
//! | `run` | a run in its folder: its begin, its checkpoints, its result, its pictures |
//! | `data` | folders and packs of pictures; decoding; batches made ahead on other threads |
//! | `report` | `metrics.jsonl`, TensorBoard's files, the figure of the curves; text in pictures |
//! | `weights` | files of weights, and those that are part of the program |
//! | `memory` | whether a step fits in memory, and what would |
//! | `files`, `folder_lock`, `paths`, `npy` | whole writes; one writer; paths as text; NumPy's format |
//! | `panics` | panics that are expected, and for a program's hook those that are not |

pub mod batch;
pub mod config;
pub mod events;
pub mod held_out;
pub mod notes;
pub mod plan;
pub mod presets;
pub mod row;
pub mod settings;
pub mod trainer;
pub mod watch;

#[cfg(feature = "files")]
pub mod data;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "files")]
pub mod folder_lock;
#[cfg(feature = "files")]
pub mod memory;
#[cfg(feature = "files")]
pub mod npy;
#[cfg(feature = "files")]
pub mod panics;
#[cfg(feature = "files")]
pub mod paths;
#[cfg(feature = "files")]
pub mod report;
#[cfg(feature = "files")]
pub mod run;
#[cfg(feature = "files")]
pub mod weights;
