//! Helpers shared by the integration tests: golden data, and networks and learners filled by its formula.

pub mod byol;
pub mod golden;
pub mod in_view;
pub mod learner;
pub mod needs;
pub mod network;
pub mod three_sat;
pub mod univip;

/// Settings of the property tests: `cases` cases each; failures are not saved to files in the source tree.
pub fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        ..Default::default()
    }
}
