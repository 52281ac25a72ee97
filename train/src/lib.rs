//! Pre-training with DenseCL as a library: from a folder of photographs to weights, without a command line and without
//! a terminal.
//!
//! A `run::RunRequest` describes a run, `run::PreparedRun` checks and starts it, and an
//! [`Observer`](events::Observer) receives its events:
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
//! // A device from `densecl::device::select`; setting the flag stops the run after a step, with a checkpoint.
//! let stop = AtomicBool::new(false);
//! PreparedRun::new(&request)?.run(selected, Box::new(Losses), &stop)?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/train_on_a_folder.rs` is a whole program.
//!
//! # The training loop, which also builds for browsers
//!
//! | module | what is in it |
//! |---|---|
//! | [`config`], [`presets`] | the settings of a run; those that come with the library |
//! | [`settings`] | defaults, overridden by a preset or file, overridden by single keys; error messages for wrong keys |
//! | [`plan`] | number of steps, queue length and schedules, from settings, device and number of images |
//! | [`batch`] | the input of a step, and the trait that supplies it |
//! | [`in_memory`] | batches of images in memory, without threads |
//! | [`trainer`] | the loop: batches in, events out |
//! | [`agree`] | decisions that all ranks of a run take together |
//! | [`events`], [`row`] | the events of a run; the figures of a logged step |
//! | [`published`] | the file of weights that a run publishes |
//! | [`held_out`] | held-out pairs with known correspondence, and the accuracy on them |
//! | [`spread`] | items evenly spread over a list |
//! | [`notes`], [`watch`] | messages for the user; progress of long work |
//!
//! # Files, threads and clock: the feature `files`, on by default
//!
//! | module | what is in it |
//! |---|---|
//! | `run` | a run and its folder: start, checkpoints, result, pictures |
//! | `data` | folders and packs of pictures; decoding; batches made ahead on other threads |
//! | `report` | `metrics.jsonl`, TensorBoard event files, the figure of the curves; text in pictures |
//! | `threads` | ranks as threads of one process |
//! | `weights` | reading weight files and the embedded weights |
//! | `memory` | whether a step fits in memory, and settings that would |
//! | `files`, `folder_lock`, `paths`, `npy` | atomic writes; one writer per folder; paths as text; NumPy's format |
//! | `panics` | catching expected panics; text of unexpected ones for a program's panic hook |

pub mod agree;
pub mod batch;
pub mod config;
pub mod events;
pub mod held_out;
pub mod in_memory;
pub mod notes;
mod order;
pub mod plan;
pub mod presets;
pub mod published;
pub mod row;
mod sample;
pub mod settings;
pub mod spread;
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
pub mod threads;
#[cfg(feature = "files")]
pub mod weights;
