//! Features of many pictures in a file, and search in it.
//!
//! [`embed`] computes the features described by a [`Recipe`] for each picture of a folder and writes them in one of
//! four formats. [`index`] reads one of these formats, and [`search`] finds the most similar pictures in it.

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
