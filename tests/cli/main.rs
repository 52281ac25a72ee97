//! The binary from outside: what a user types, and what comes back. But for the quick start every run
//! is tiny (a narrow ResNet-10 on 64 px views), so that it takes seconds.

mod bad_data;
mod bad_settings;
mod bad_storage;
mod bad_weights;
mod embed;
mod eval_dense;
mod eval_more;
mod interop;
mod kills;
mod memory;
mod odd_names;
mod outputs;
mod ownership;
mod pack;
mod parts_of_files;
mod photos;
mod quickstart;
mod resume;
mod runs;
mod sandbox;
mod tools;
mod variants;
