//! Runs the program end to end at tiny sizes. No test depends on the measured times.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Runs `densecl-bench --quick` in a temporary folder.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_densecl-bench"))
            .args(["--quick", "--threads", "1"])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("the program starts")
    }

    fn json(&self, name: &str) -> Value {
        let text = std::fs::read_to_string(self.path(name)).expect("a file");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Writes a shell script that is passed as `--python`.
    #[cfg(unix)]
    fn fake_python(&self, script: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path("python");
        std::fs::write(&path, format!("#!/bin/sh\n{script}")).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("allowed");
        path
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[track_caller]
fn succeeded(output: &Output) -> (String, String) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    (stdout, stderr)
}

#[track_caller]
fn refused(output: &Output, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let last = stderr.lines().last().expect("a line");
    assert!(last.starts_with("error: "), "{stderr}");
    for part in parts {
        assert!(last.contains(part), "`{part}` is not in: {last}");
    }
}

#[test]
fn without_python_our_side_is_measured_row_by_row() {
    let bench = Bench::new();
    let arguments = "--python none --rows step,parts,loss,scale --runs 2 --seconds 0.001 --json all.json --markdown all.md \
                     --plot scale.png";
    let output = bench.run(&arguments.split_whitespace().collect::<Vec<_>>());
    let (stdout, stderr) = succeeded(&output);
    assert!(!stderr.contains("failed"), "{stderr}");

    let report = bench.json("all.json");
    let rows = report["rows"].as_array().expect("rows");
    let of = |group: &str| rows.iter().filter(|row| row["group"] == group).count();
    // `parts` has a row for the whole step, its eight parts and the in-view loss. `scale` has 3 axes of 2
    // sizes, but the smallest size of each axis is one common row.
    assert_eq!(["step", "parts", "loss", "scale"].map(of), [1, 10, 1, 4]);
    for row in rows {
        let ours = &row["contenders"][0];
        assert_eq!(ours["name"], "densecl");
        assert_eq!(ours["seconds"].as_array().expect("runs").len(), 2, "{row}");
        assert!(ours["seconds"][0].as_f64().expect("a time") > 0.0);
        assert!(row["ratio"].is_null());
        let name = row["name"].as_str().expect("a name");
        assert!(stdout.contains(name), "{name} is not in the table");
    }
    assert_eq!(report["ours"]["device"], "cpu");
    assert!(report["machine"]["cores"].as_u64() >= Some(1));
    assert!(report["theirs"].is_null());

    let markdown = std::fs::read_to_string(bench.path("all.md")).expect("a file");
    assert!(
        markdown.contains("### Parts of a training step"),
        "{markdown}"
    );

    let picture = image::open(bench.path("scale.png")).expect("a picture");
    assert_eq!(picture.width(), 1500);
}

/// A stand-in for `pytorch.py` that answers the protocol with fixed figures and fails for `channels_last`.
#[cfg(unix)]
const FAKE: &str = r#"
echo '{"versions": {"torch": "0.0-fake"}, "device": "cpu"}'
while read -r line; do
    case "$line" in
        *channels_last*) echo '{"error": "no such layout"}' ;;
        *prepare*) echo '{"resident": 1000000.0}' ;;
        *run*) echo '{"seconds": 1000.0, "iterations": 1}' ;;
        *finish*) echo '{"peak": 3000000.0, "device_peak": null}' ;;
    esac
done
"#;

#[cfg(unix)]
#[test]
fn both_sides_stand_in_a_row_and_what_fails_is_said_in_it() {
    let bench = Bench::new();
    let python = bench.fake_python(FAKE);
    let arguments = [
        "--rows",
        "step,loss",
        "--runs",
        "3",
        "--python",
        &python,
        "--seconds",
        "0.001",
    ];
    let files = ["--json", "both.json", "--markdown", "both.md"];
    let (stdout, _) = succeeded(&bench.run(&[&arguments[..], &files].concat()));
    assert!(stdout.contains("torch 0.0-fake"), "{stdout}");

    let report = bench.json("both.json");
    let [step, loss] = [0, 1].map(|index| &report["rows"][index]);
    for row in [step, loss] {
        assert_eq!(row["best"], "eager");
        // The stand-in reports 1000 seconds per iteration, so densecl is always faster.
        assert!(row["ratio"]["median"].as_f64().expect("a ratio") > 1.0);
        let theirs = row["contenders"][1]["seconds"].as_array().expect("runs");
        assert_eq!(theirs.len(), 3);
    }
    assert_eq!(step["contenders"][2]["error"], "no such layout");
    let markdown = std::fs::read_to_string(bench.path("both.md")).expect("a file");
    assert!(
        markdown.contains("channels_last failed (no such layout)"),
        "{markdown}"
    );
    // The loss shows its peak memory (3 MB) minus the memory of its inputs (1 MB).
    assert!(markdown.contains("2.00 MB"), "{markdown}");
}

#[cfg(unix)]
#[test]
fn a_python_without_torch_is_told_in_a_line_and_left_out() {
    let bench = Bench::new();
    let without = "echo \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1";
    let python = bench.fake_python(without);
    for python in [python.as_str(), "/nowhere/python"] {
        let output = bench.run(&["--rows", "loss", "--runs", "1", "--python", python]);
        let (stdout, stderr) = succeeded(&output);
        assert!(stderr.contains("pip install torch"), "{stderr}");
        assert!(stdout.contains("64 cells × 256 keys"), "{stdout}");
        assert!(!stdout.contains("PyTorch"), "{stdout}");
    }
}

#[test]
fn bad_requests_are_refused_in_a_line() {
    let bench = Bench::new();
    let run = |arguments: &str| bench.run(&arguments.split_whitespace().collect::<Vec<_>>());
    refused(&run("--rows loss --device gpu"), &["\"gpu\"", "vulkan"]);
    refused(&run("--rows loss --seconds 0"), &["--seconds 0", "above 0"]);
    let no_densecl = run("--rows loader --python none --densecl /nowhere/densecl");
    refused(&no_densecl, &["/nowhere/densecl", "cargo build --release"]);
    let no_rows = run("--rows loss --python none --runs 1 --plot x.png");
    refused(&no_rows, &["--plot x.png", "scale"]);
    let no_folder = run("--rows loss --python none --runs 1 --json none/x.json");
    refused(&no_folder, &["none/x.json"]);
    assert!(!Path::new(&bench.path("x.png")).exists());
}
