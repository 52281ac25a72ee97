//! Checks for every path argument of every command that an output cannot be an input at the same time.

use std::collections::BTreeSet;
use std::fs;

use clap::{Arg, CommandFactory, Parser, ValueHint};

use super::*;
use crate::cli::Cli;

/// The commands without subcommands below `command`, each with the words that select it.
fn leaves(command: &clap::Command, words: &[String]) -> Vec<(Vec<String>, clap::Command)> {
    let below: Vec<_> = command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
        .flat_map(|sub| leaves(sub, &[words, &[sub.get_name().to_string()]].concat()))
        .collect();
    if below.is_empty() {
        vec![(words.to_vec(), command.clone())]
    } else {
        below
    }
}

/// Whether an argument is a path, by its value hint or its name in the help.
fn is_path(arg: &Arg) -> bool {
    let hint = matches!(
        arg.get_value_hint(),
        ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
    );
    let called = arg.get_value_names().unwrap_or_default().iter();
    let called = called.map(|name| name.to_string()).collect::<String>();
    hint || ["FILE", "DIR", "PATH", "RUN"]
        .iter()
        .any(|word| called.contains(word))
}

fn is_output(arg: &Arg) -> bool {
    ["out", "json"].contains(&arg.get_id().as_str())
}

/// The words that give an argument this value on a command line.
fn written(arg: &Arg, value: &str) -> Vec<String> {
    match arg.get_long() {
        Some(long) => vec![format!("--{long}"), value.to_string()],
        None => vec![value.to_string()],
    }
}

/// Checks the command `words` with the values that `value` returns for its arguments.
fn check(
    words: &[String],
    command: &clap::Command,
    value: impl Fn(&Arg) -> Option<String>,
) -> (Files, anyhow::Result<()>) {
    let mut line = vec!["densecl".to_string()];
    line.extend_from_slice(words);
    for arg in command.get_arguments() {
        if let Some(value) = value(arg) {
            line.extend(written(arg, &value));
        }
    }
    if words == ["pretrain"] {
        // `pretrain` refuses to start without any setting.
        line.extend(["--steps", "1"].map(String::from));
    }
    let cli = Cli::try_parse_from(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let files = declared::of(cli.command.as_ref());
    let files = files.unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let checked = files.check();
    (files, checked)
}

/// A folder with the folder of a run, and with an empty file for each argument. An empty file is a valid list and valid
/// settings; weights are not parsed in these tests.
struct Playground(tempfile::TempDir);

impl Playground {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(root.path().join("run")).expect("made");
        fs::write(root.path().join("run/config.toml"), "").expect("written");
        Self(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        let path = self.path(name);
        fs::write(&path, "").expect("written");
        path.display().to_string()
    }

    /// The value of an argument that is not under test.
    fn usual(&self, arg: &Arg) -> Option<String> {
        let name = arg.get_id().as_str();
        match name {
            _ if !arg.is_required_set() => None,
            "run" => Some(self.path("run").display().to_string()),
            _ if is_path(arg) => Some(self.file(&format!("usual_{name}.npy"))),
            "shell" => Some("bash".to_string()),
            _ => Some("1".to_string()),
        }
    }

    /// The value of an argument under test: a file, or the folder of a run where one is required.
    fn own(&self, arg: &Arg) -> String {
        match arg.get_id().as_str() {
            "run" | "resume" => self.path("run").display().to_string(),
            name => self.file(&format!("own_{name}.npy")),
        }
    }
}

/// Commands that write no files.
const READERS: [&str; 2] = ["config", "completions"];

#[test]
fn every_path_of_every_command_is_declared() {
    let playground = Playground::new();
    let mut seen = 0;
    for (words, command) in leaves(&Cli::command(), &[]) {
        if words.iter().any(|word| READERS.contains(&word.as_str())) {
            continue;
        }
        for arg in command.get_arguments().filter(|arg| is_path(arg)) {
            let own = playground.own(arg);
            let (files, checked) = check(&words, &command, |other| {
                if other.get_id() == arg.get_id() {
                    Some(own.clone())
                } else {
                    playground.usual(other)
                }
            });
            assert!(
                files.mentions(Path::new(&own)),
                "{words:?} {}: {files:?}",
                arg.get_id()
            );
            checked.unwrap_or_else(|error| panic!("{words:?} {}: {error}", arg.get_id()));
            seen += 1;
        }
    }
    assert!(
        seen > 50,
        "{seen} paths: the walk through the command line finds too few"
    );
}

#[test]
fn no_output_of_any_command_may_be_another_path_of_it() {
    let playground = Playground::new();
    let mut refused = BTreeSet::new();
    for (words, command) in leaves(&Cli::command(), &[]) {
        let paths: Vec<&Arg> = command.get_arguments().filter(|arg| is_path(arg)).collect();
        for output in paths.iter().filter(|arg| is_output(arg)) {
            for other in paths.iter().filter(|arg| arg.get_id() != output.get_id()) {
                let conflict = command
                    .get_arg_conflicts_with(output)
                    .iter()
                    .any(|arg| arg.get_id() == other.get_id());
                if conflict {
                    continue;
                }
                let both = match other.get_id().as_str() {
                    // The whole folder of a run is an input.
                    "run" | "resume" => playground.path("run").join("config.toml"),
                    _ => PathBuf::from(playground.file("both.npy")),
                };
                let detour = playground.path("run/../both.npy");
                for spelling in [both.clone(), detour] {
                    let run = both.ends_with("config.toml");
                    let spelling = if run { both.clone() } else { spelling };
                    let (_, checked) = check(&words, &command, |arg| {
                        if arg.get_id() == output.get_id() {
                            Some(spelling.display().to_string())
                        } else if arg.get_id() != other.get_id() {
                            playground.usual(arg)
                        } else if run {
                            Some(playground.path("run").display().to_string())
                        } else {
                            Some(both.display().to_string())
                        }
                    });
                    let case = format!("{words:?}: {} = {}", output.get_id(), other.get_id());
                    let error = checked.err().unwrap_or_else(|| panic!("{case}: accepted"));
                    assert!(!error.to_string().contains('\n'), "{case}: {error}");
                    refused.insert(case);
                }
            }
        }
    }
    assert!(refused.len() > 40, "{refused:?}");
}

fn folder(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    for file in files {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "").expect("written");
    }
    root
}

fn message(files: &Files) -> String {
    let error = files.check().expect_err("refused").to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn a_file_in_a_folder_of_inputs_is_not_replaced_and_a_new_one_may_be_written_there() {
    let root = folder(&["photos/a.jpg", "photos/features.npy", "data/labels.txt"]);
    let at = |path: &str| root.path().join(path);
    let pictures = |out: &str| {
        let mut files = Files::default();
        files
            .reads_pictures("--images", &at("photos"))
            .writes("--out", &at(out));
        files
    };
    for out in ["photos/a.jpg", "photos/../photos/a.jpg", "photos"] {
        let error = message(&pictures(out));
        assert!(error.contains("--images"), "{error}");
    }
    // No conflict: the output is no picture, or its file does not exist yet.
    for out in [
        "photos/features.npy",
        "photos/new.jpg",
        "elsewhere/a.jpg",
        "a.jpg",
    ] {
        pictures(out).check().expect(out);
    }
    let mut data = Files::default();
    data.reads_data("--data", &at("data"))
        .writes("--json", &at("data/labels.txt"));
    message(&data);
}

#[test]
fn what_a_list_names_is_not_replaced() {
    let root = folder(&["photos/a.jpg", "b.jpg"]);
    let at = |path: &str| root.path().join(path);
    fs::write(at("list.txt"), "photos/a.jpg\n").expect("written");
    fs::write(at("points.csv"), "b.jpg,photos/a.jpg,1,2\n").expect("written");
    let with = |out: &str| {
        let mut list = Files::default();
        list.reads_pictures("--images", &at("list.txt"))
            .writes("--out", &at(out));
        let mut csv = Files::default();
        csv.reads_data("--data", &at("points.csv"))
            .writes("--out", &at(out));
        [list, csv]
    };
    for files in with("photos/a.jpg") {
        message(&files);
    }
    let [list, csv] = with("b.jpg");
    list.check().expect("not in the list");
    message(&csv);
    let [list, _] = with("list.txt");
    message(&list);
}

#[cfg(unix)]
#[test]
fn links_do_not_hide_an_input() {
    use std::os::unix::fs::symlink;
    let root = folder(&["real/a.jpg", "w.safetensors", "photos/b.jpg"]);
    let at = |path: &str| root.path().join(path);
    symlink(at("real"), at("photos/linked")).expect("a link");
    symlink(at("w.safetensors"), at("link.safetensors")).expect("a link");
    fs::hard_link(at("w.safetensors"), at("hard.safetensors")).expect("a link");
    for out in [
        "link.safetensors",
        "hard.safetensors",
        "real/a.jpg",
        "photos/linked/a.jpg",
    ] {
        let mut files = Files::default();
        files
            .reads("--weights", &at("w.safetensors"))
            .reads_pictures("--images", &at("photos"))
            .writes("--out", &at(out));
        message(&files);
    }
}

#[test]
fn two_outputs_are_two_files_and_none_is_the_folder_of_another() {
    let root = folder(&[]);
    let at = |path: &str| root.path().join(path);
    let two = |out: &str, json: &str| {
        let mut files = Files::default();
        files
            .writes_folder("--out", &at(out), vec![at(out).join("result.json")])
            .writes("--json", &at(json));
        files.check()
    };
    two("run", "result.json").expect("two files");
    two("run", "run/mine.json").expect("two files");
    for json in ["run", "run/result.json", "x/../run/result.json"] {
        two("run", json).expect_err(json);
    }
    two("a/run", "a").expect_err("a file above the folder");
}

#[test]
fn a_run_does_not_put_its_pictures_among_those_it_trains_on() {
    let root = folder(&["photos/a.jpg"]);
    let at = |path: &str| root.path().join(path);
    let run = |out: &str| {
        let mut files = Files::default();
        files
            .reads_pictures("--data", &at("photos"))
            .keeps_pictures_apart("--out", &at(out))
            .writes_folder("--out", &at(out), vec![at(out).join("curves.png")]);
        files.check()
    };
    let error = run("photos/runs/x").expect_err("refused").to_string();
    assert!(
        error.contains("--out") && error.contains("elsewhere"),
        "{error}"
    );
    run("photos").expect_err("refused");
    run("runs/x").expect("apart");
    run("photos/.runs/x").expect("a folder that no search looks into");
}
