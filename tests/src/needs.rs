//! Requirements of some tests that not every machine meets: a GPU adapter, a browser, MPI.
//!
//! If a requirement is missing, the test does nothing and leaves a note through this module. The last test
//! program of `cargo test` (`tests/what_was_not_run.rs`) lists all notes with how to install what is missing.
//! With `DENSECL_REQUIRE=gpu,browser,mpi`, which CI sets, a test fails if one of the named requirements is
//! missing.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    thread,
};

use densecl::device::{DeviceChoice, Selected, select};

/// A requirement that a machine may not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A Vulkan adapter, in hardware or in software.
    Gpu,
    /// Node, Chromium and the built page.
    Browser,
    /// `mpiexec` and its library.
    Mpi,
}

/// The environment variable that lists mandatory requirements.
pub const REQUIRE: &str = "DENSECL_REQUIRE";

impl Need {
    const ALL: [Self; 3] = [Self::Gpu, Self::Browser, Self::Mpi];

    /// The name used in [`REQUIRE`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Browser => "browser",
            Self::Mpi => "mpi",
        }
    }

    /// Whether a test fails, instead of doing nothing, if this requirement is missing.
    ///
    /// # Panics
    /// If [`REQUIRE`] has an unknown name.
    pub fn is_required(self) -> bool {
        let listed = env::var(REQUIRE).unwrap_or_default();
        names(&listed).contains(&self.name())
    }
}

/// Splits a list such as `gpu,browser` into its names, all of which must be known.
fn names(list: &str) -> Vec<&str> {
    let names: Vec<&str> = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    for name in &names {
        let known = Need::ALL.map(Need::name);
        assert!(
            known.contains(name),
            "{REQUIRE} names {name:?}; it may name {}",
            known.join(", ")
        );
    }
    names
}

/// The Vulkan adapter. If there is none, notes that the calling test was not run and returns `None`.
///
/// # Panics
/// If there is none and it is required.
pub fn gpu() -> Option<Selected> {
    let remedy = "install the driver of the GPU, or the software adapter: apt-get install mesa-vulkan-drivers";
    match pollster::block_on(select(DeviceChoice::Vulkan)) {
        Ok(selected) => {
            forget(&test());
            Some(selected)
        }
        Err(error) => {
            not_run(Need::Gpu, &test(), &error.to_string(), remedy);
            None
        }
    }
}

/// Name of the test that runs in this thread.
fn test() -> String {
    let program = env::current_exe().unwrap_or_default();
    let program = program.file_stem().unwrap_or_default().to_string_lossy();
    // Cargo appends a hash to the program's name.
    let program = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
    format!("{program}::{}", thread::current().name().unwrap_or("?"))
}

/// Notes that `test` was not run because of `missing`.
///
/// # Panics
/// If the missing requirement is mandatory.
pub fn not_run(need: Need, test: &str, missing: &str, remedy: &str) {
    let why = format!("{missing}\n{remedy}");
    assert!(
        !need.is_required(),
        "{REQUIRE} asks for {}: {missing}; to get it: {remedy}",
        need.name()
    );
    // If the note could not be written, the test would pass unnoticed: better to panic.
    let folder = folder();
    fs::create_dir_all(&folder).expect("the build folder can be written to");
    fs::write(note(&folder, test), format!("{test}\n{why}")).expect("the note is written");
}

/// Removes the note that an earlier run left about a test that is run now.
pub fn forget(test: &str) {
    let _ = fs::remove_file(note(&folder(), test));
}

fn note(folder: &Path, test: &str) -> PathBuf {
    folder.join(test.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

/// The folder of the notes, beside the test programs.
fn folder() -> PathBuf {
    let program = env::current_exe().expect("a running program has a path");
    program.with_file_name("not-run")
}

/// All notes as text, grouped by what is missing; empty if every test was run. Removes the notes.
pub fn report() -> String {
    let entries = fs::read_dir(folder()).into_iter().flatten().flatten();
    let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in entries {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let _ = fs::remove_file(entry.path());
        if let Some((test, why)) = text.split_once('\n') {
            by_reason
                .entry(why.to_string())
                .or_default()
                .push(test.to_string());
        }
    }
    as_text(&by_reason)
}

fn as_text(by_reason: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = String::new();
    for (why, tests) in by_reason {
        let (missing, remedy) = why.split_once('\n').unwrap_or((why, ""));
        text += &format!("NOT RUN, for want of: {missing}\n  to get it: {remedy}\n");
        for test in tests {
            text += &format!("  {test}\n");
        }
    }
    if !text.is_empty() {
        text += &format!("{REQUIRE}=gpu,browser,mpi makes what is named a failure instead.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_needs_may_be_required() {
        assert_eq!(names(" gpu, mpi"), ["gpu", "mpi"]);
        assert!(names("").is_empty());
        std::panic::catch_unwind(|| names("gpu,brwoser")).expect_err("a misspelt need");
    }

    #[test]
    fn the_list_has_each_reason_once_with_its_tests() {
        let why = "no adapter\nbuy one".to_string();
        let text = as_text(&BTreeMap::from([(
            why,
            vec!["a".to_string(), "b".to_string()],
        )]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "NOT RUN, for want of: no adapter",
                "  to get it: buy one",
                "  a",
                "  b"
            ]
        );
        assert_eq!(as_text(&BTreeMap::new()), "");
    }
}
