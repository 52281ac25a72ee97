//! Every fuzz target over the small corpus in `fuzz/replay`, and over each of its files cut short: an input that once
//! broke a reader stays here, and needs no fuzzer.

#[allow(dead_code)]
#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::path::{Path, PathBuf};

/// Lengths to which an input is cut.
const CUTS: usize = 16;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Calls the target for each file of its corpus.
fn replay(target: &str) {
    let found = bodies::TARGETS.iter().find(|(name, _)| *name == target);
    let (_, run) = found.expect("a target");
    let folder = fuzz().join("replay").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut accepted = 0;
    for entry in entries {
        let path = entry.expect("listed").path();
        let bytes = fs::read(&path).expect("an input");
        accepted += usize::from(run(&bytes));
        for cut in 0..CUTS {
            run(&bytes[..bytes.len() * cut / CUTS]);
        }
    }
    assert!(
        accepted > 0,
        "{target} accepts no input of {}",
        folder.display()
    );
    let _ = fs::remove_dir_all(bodies::scratch(target));
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*

        #[test]
        fn every_target_is_replayed_and_has_a_fuzzer() {
            let replayed = [$(stringify!($target)),*];
            let targets = bodies::TARGETS.map(|(name, _)| name);
            assert_eq!(replayed, targets);
            let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
            for target in targets {
                assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
                assert!(fuzz().join(format!("fuzz_targets/{target}.rs")).is_file(), "{target}");
            }
        }
    };
}

replays! {
    boxes checkpoint image index keys layers_model lists pack run_files settings torch torch_pickle training_state truth
    weights
}
