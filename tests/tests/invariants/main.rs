//! What holds for every input: queues, matching, grids, both encoders, steps, files.

mod byol;
mod encoders;
mod files;
mod grids;
mod in_view;
mod queue;
mod steps;
