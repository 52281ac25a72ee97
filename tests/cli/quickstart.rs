//! The quick start: the program called without arguments.

use crate::sandbox::Sandbox;

/// Without arguments and data, the network learns to find the same points in two views. The required gain of
/// 0.02 is a fraction of the measured one (docs/results.md) and several times its spread over seeds.
#[test]
fn without_arguments_it_learns_dense_correspondence() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run("").succeeded();
    let result = sandbox.json("runs/quickstart/result.json");
    let accuracy = |when: &str| {
        let value = &result[format!("correspondence_accuracy_{when}")];
        value.as_f64().expect("a number")
    };
    assert_eq!(result["pairs"], 100);
    assert!(
        accuracy("after") > accuracy("before") + 0.02,
        "{} then {}",
        accuracy("before"),
        accuracy("after")
    );
    assert!(ran.stderr.contains("untrained network"), "{}", ran.stderr);
}
