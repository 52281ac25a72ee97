//! Lists the tests that did nothing because this machine lacks what they need. Cargo runs the programs of a package by
//! name, so this is its last.

use densecl_tests::needs;

fn main() {
    // As a test program answers who asks for its tests.
    if std::env::args().any(|argument| argument == "--list") {
        println!("0 tests, 0 benchmarks");
        return;
    }
    let report = needs::report();
    if !report.is_empty() {
        println!("\n{report}");
    }
}
