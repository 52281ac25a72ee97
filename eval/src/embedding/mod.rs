//! Pictures to features on disk.
//!
//! [`embed`] computes what a [`Recipe`] says of each picture of a folder and writes one of four formats; [`index`] reads
//! one of them again, in which [`search`] finds the pictures that are most like one.

mod array;
mod contact_sheet;
pub mod index;
mod job;
mod lines;
mod parquet;
mod recipe;
mod search;
mod table;
mod tensors;
mod writer;

pub use job::{Described, EmbedRequest, Embedded, Skipped, embed};
pub use recipe::{Computed, Kind, Origin, Pool, Recipe};
pub use search::{Found, FoundPictures, SearchRequest, search};
pub use writer::side_file;
