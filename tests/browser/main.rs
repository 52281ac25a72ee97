//! Runs the tests of the demo page and `<dense-match>` in Chromium as part of `cargo test`.
//!
//! The tests are written in JavaScript (`suite/`), because they control a browser. This program computes the
//! native features and training steps that they compare with ([`reference`], [`training`]) and checks whether they
//! can run: they need Node, the npm packages beside this file, Chromium, the built page and the program. If one of
//! these is missing, they are not run and `cargo test` goes on, unless `DENSECL_REQUIRE` makes it a failure, as in CI
//! ([`densecl_tests::needs`]).
//!
//! Of the arguments of Rust test programs it supports filters, `--exact`, `--skip` and `--list`.

mod machine;
mod reference;
mod training;

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use densecl_tests::needs::{self, Need};
use machine::Missing;

/// The name for all of these tests in the list of tests that were not run.
const SUITE: &str = "browser (all of tests/browser)";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");

    let node = match machine::node() {
        Ok(node) => node,
        Err(missing) => return without_browser(&[missing], &arguments),
    };
    let runner = |extra: &[&str]| {
        let mut command = Command::new(&node);
        command.arg(here.join("run.js")).args(&arguments);
        command.args(extra);
        command
    };
    if arguments.iter().any(|argument| argument == "--list") {
        return exit(runner(&[]));
    }
    // `cargo test some_name` passes the filter to every test program. If it selects no browser test, nothing
    // has to be built.
    if !selects_any(runner(&["--list"])) {
        return exit(runner(&["--none"]));
    }
    let found = match machine::browser_and_page(&here) {
        Ok(found) => found,
        Err(missing) => return without_browser(&missing, &arguments),
    };
    let fixtures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    needs::forget(SUITE);
    reference::write(&fixtures, &found.root);
    training::write(&fixtures);
    let mut command = runner(&[]);
    command
        .env("CHROME", &found.chromium)
        .env("DENSECL_PROGRAM", &found.program)
        .env("DENSECL_BROWSER_FIXTURES", &fixtures);
    exit(command)
}

/// Runs the command and maps its exit status to this program's exit code.
fn exit(mut command: Command) -> ExitCode {
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("node could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether `--list` with the given filters prints a test.
fn selects_any(mut list: Command) -> bool {
    list.output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(": test"))
}

/// Notes and prints that the browser tests were not run, and why.
fn without_browser(missing: &[Missing], arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--list") {
        println!("0 tests, 0 benchmarks");
        return ExitCode::SUCCESS;
    }
    let join = |part: fn(&Missing) -> &String| {
        let parts: Vec<&str> = missing
            .iter()
            .map(|missing| part(missing).as_str())
            .collect();
        parts.join("; ")
    };
    let what = join(|missing| &missing.what);
    let remedy = join(|missing| &missing.remedy);
    // Panics if DENSECL_REQUIRE names the browser.
    needs::not_run(Need::Browser, SUITE, &what, &remedy);
    println!("the demo page and <dense-match> are not tested: {what}");
    println!("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}
