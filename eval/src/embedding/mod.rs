//! Pictures to features on disk.
//!
//! [`embed`] computes what a [`Recipe`] says of each picture of a folder and writes one of four formats; [`index`] reads
//! one of them again, to search in.

mod array;
pub mod index;
mod job;
mod lines;
mod parquet;
mod recipe;
mod table;
mod tensors;
mod writer;

pub use job::{EmbedRequest, Embedded, Network, embed};
pub use recipe::{Computed, Kind, Origin, Pool, Recipe};
pub use writer::side_file;
