//! The binary from outside: what a user types, and what comes back. Every run is tiny (a narrow
//! ResNet-10 on 64 px views), so that the file takes seconds.

mod bad_data;
mod bad_settings;
mod bad_storage;
mod resume;
mod runs;
mod sandbox;
mod tools;
mod variants;
