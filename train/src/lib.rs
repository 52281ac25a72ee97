//! Pre-training with DenseCL as a library: data, the loop, the folder of a run, its checkpoints and figures.

pub mod config;
pub mod data;
pub mod events;
pub mod files;
pub mod folder_lock;
pub mod held_out;
pub mod memory;
pub mod notes;
pub mod npy;
pub mod panics;
pub mod paths;
pub mod report;
pub mod row;
pub mod run;
pub mod settings;
pub mod trainer;
pub mod watch;
pub mod weights;
