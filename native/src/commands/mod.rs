//! What the program can do, a file per command.

mod compare;
pub(crate) mod eval;
pub(crate) mod matching;
pub(crate) mod plot;
pub(crate) mod pretrain;
pub(crate) mod synth;
