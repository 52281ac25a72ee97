//! What the tests of the whole share: golden data, and networks and learners filled from its formula.

pub mod byol;
pub mod golden;
pub mod in_view;
pub mod learner;
pub mod needs;
pub mod network;

/// How property tests run here: few cases, and no files with past failures in the source tree.
pub fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        ..Default::default()
    }
}
