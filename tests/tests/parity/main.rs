//! Parity with PyTorch: compares the core on the CPU with every golden of `golden/model`, `golden/univip` and
//! `golden/three_sat`; and with those of `golden/byol`, which are NumPy's.
//!
//! Errors may be up to [`densecl_tests::golden::TOLERANCE`], 1e-4 of a tensor's largest magnitude; the reason
//! is given there. Matches, accuracies, permutations and queue positions must be equal. Each test ends by
//! asserting that it has read every tensor of its file.

mod blocks;
mod byol;
mod features;
mod in_view;
mod losses;
mod three_sat;
mod training;
mod univip;
