//! The demo page and `<dense-match>` in a real Chromium, as part of the one test command.
//!
//! The tests themselves are JavaScript (`suite/`), because they drive a browser; this program gives
//! them what only Rust has, the native numbers ([`reference`]), and decides whether they can run.
//! They need Node, the npm packages beside this file, a Chromium, and the built page. Where one of
//! these is missing they are not run, and the rest of `cargo test` goes on; `densecl_tests::needs` says how to
//! make that a failure, as CI does.
//!
//! Takes the arguments of a Rust test program that make sense here: filters, `--exact`, `--skip`,
//! `--list`.

mod machine;
mod reference;

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use densecl_tests::needs::{self, Need};
use machine::Missing;

/// What stands for all of these tests in a list.
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
    // `cargo test some_name` gives the filter to every test program: most have nothing to do.
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
    let mut command = runner(&[]);
    command
        .env("CHROME", &found.chromium)
        .env("DENSECL_BROWSER_FIXTURES", &fixtures);
    exit(command)
}

/// The runner's own exit code.
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

/// Whether `--list` under the given filters names a test.
fn selects_any(mut list: Command) -> bool {
    list.output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(": test"))
}

/// Notes what is not tested and how to have it tested.
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
    // Ends the program with an error where a browser is required.
    needs::not_run(Need::Browser, SUITE, &what, &remedy);
    println!("the demo page and <dense-match> are not tested: {what}");
    println!("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}
