//! Properties that hold for every input: of queues, matching, grids, both encoders, steps and files.

mod encoders;
mod files;
mod grids;
mod in_view;
mod queue;
mod steps;
