//! The demo page and `<dense-match>` in a real Chromium, as part of the one test command.
//!
//! The tests themselves are JavaScript (`suite/`), because they drive a browser; this program gives
//! them what only Rust has, the native numbers ([`reference`]), and decides whether they can run.
//! They need Node, the npm packages beside this file, a Chromium, and the built page. Where one of
//! these is missing they are skipped, loudly, and the rest of `cargo test` goes on;
//! `DENSECL_REQUIRE_BROWSER=1` makes that a failure. CI sets it.
//!
//! Takes the arguments of a Rust test program that make sense here: filters, `--exact`, `--skip`,
//! `--list`.

mod needs;
mod reference;

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use needs::Missing;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    let required = env::var_os("DENSECL_REQUIRE_BROWSER").is_some_and(|value| value == "1");

    let node = match needs::node() {
        Ok(node) => node,
        Err(missing) => return without_browser(&[missing], required, &arguments),
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
    let found = match needs::browser_and_page(&here) {
        Ok(found) => found,
        Err(missing) => return without_browser(&missing, required, &arguments),
    };
    let fixtures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
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

/// Says what is not tested and how to have it tested.
fn without_browser(missing: &[Missing], required: bool, arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--list") {
        println!("0 tests, 0 benchmarks");
        return ExitCode::SUCCESS;
    }
    let verdict = if required { "FAILED" } else { "SKIPPED" };
    let line = "!".repeat(90);
    println!("\n{line}\nBROWSER TESTS {verdict}: the demo page and <dense-match> are NOT tested.");
    for Missing { what, remedy } in missing {
        println!("  missing: {what}\n      get it: {remedy}");
    }
    println!("DENSECL_REQUIRE_BROWSER=1 makes this a failure; tests/browser/README.md says more.");
    println!("{line}\n");
    if required {
        println!("test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
        return ExitCode::FAILURE;
    }
    println!("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}
