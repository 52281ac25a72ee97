//! What the program can do, a file per command.

mod compare;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod import;
pub(crate) mod loader_speed;
pub(crate) mod matching;
pub(crate) mod pack;
pub(crate) mod plot;
pub(crate) mod pretrain;
pub(crate) mod search;
pub(crate) mod synth;
