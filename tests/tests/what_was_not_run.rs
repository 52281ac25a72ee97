//! Lists the tests that did nothing because this machine does not meet their requirements. Cargo runs the test
//! programs of a package in alphabetical order, so this one is the last.

use densecl_tests::needs;

fn main() {
    // `cargo test -- --list` expects this format from every test program.
    if std::env::args().any(|argument| argument == "--list") {
        println!("0 tests, 0 benchmarks");
        return;
    }
    let report = needs::report();
    if !report.is_empty() {
        println!("\n{report}");
    }
}
