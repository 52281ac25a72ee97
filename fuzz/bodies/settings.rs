//! Settings of a run, as a file of TOML and as `--set`: the first line is the latter.

use densecl_train::config::RunConfig;
use densecl_train::settings::{resolve, to_toml};

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let (set, file) = text.split_once('\n').unwrap_or(("", text));
    let sets: Vec<String> = Some(set)
        .filter(|set| !set.is_empty())
        .map(String::from)
        .into_iter()
        .collect();
    match resolve::<RunConfig>(&[("file.toml", file)], &sets) {
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error says something");
            false
        }
        Ok(config) => {
            // What is written is read to the same; some integers cannot be written.
            if let Ok(text) = to_toml(&config) {
                let again: RunConfig = resolve(&[("again.toml", &text)], &[]).expect("our own");
                assert_eq!(to_toml(&again).ok(), Some(text));
            }
            true
        }
    }
}
