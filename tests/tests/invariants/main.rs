//! What holds for every input: queues, matching, grids, both encoders, steps, files.

mod encoders;
mod files;
mod grids;
mod queue;
mod steps;
