//! Properties that hold for every input: of queues, matching, grids, both encoders, steps and files.

mod byol;
mod encoders;
mod files;
mod grids;
mod in_view;
mod queue;
mod ranks;
mod steps;
mod three_sat;
mod univip;
