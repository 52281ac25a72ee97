//! Parity with PyTorch: every golden of `golden/model` against the core on the CPU; and those of `golden/byol`, which are
//! NumPy's.
//!
//! The bound is [`densecl_tests::golden::TOLERANCE`], 1e-4 of a tensor's largest magnitude, where its
//! reason stands; matches, accuracies, permutations and queue positions must be equal. Each test ends
//! by asserting that it read every tensor of its file.

mod blocks;
mod byol;
mod features;
mod in_view;
mod losses;
mod training;
