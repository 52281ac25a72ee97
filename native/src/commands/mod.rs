//! What the program can do, a file per command.

pub(crate) mod embed;
pub(crate) mod import;
pub(crate) mod matching;
pub(crate) mod plot;
pub(crate) mod pretrain;
pub(crate) mod search;
pub(crate) mod synth;
