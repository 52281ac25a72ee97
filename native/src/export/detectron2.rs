//! detectron2's model zoo format: a pickle of numpy arrays under detectron2's names.
//!
//! As the authors' `convert-pretrain-to-detectron2.py` writes it. The counters of batches stay behind:
//! detectron2's batch normalisations are frozen.

use std::path::Path;

use densecl::weights::{Stored, Weights};

use super::pickle::Pickle;
use super::state_dict::{Value, entries};
use crate::files::write_atomically;

/// The place in the memo of the type of all arrays.
const DTYPE: u8 = 0;

/// Writes the file; returns its bytes.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(path: &Path, weights: &Weights) -> anyhow::Result<usize> {
    let bytes = pickle(&entries(weights, false)?);
    write_atomically(path, &bytes)?;
    Ok(bytes.len())
}

/// `{"model": {name: array}, "__author__": …, "matching_heuristics": True}`; the last lets detectron2
/// find the backbone in whatever model it is a part of.
fn pickle(entries: &[(String, Value)]) -> Vec<u8> {
    let mut pickle = Pickle::new(3);
    pickle.dict(|p| {
        p.text("__author__");
        p.text("densecl");
        p.text("matching_heuristics");
        p.bool(true);
        p.text("model");
        float32(p);
        p.remember(DTYPE);
        p.pop();
        p.dict(|p| {
            for (name, value) in entries {
                if let Value::Floats(stored) = value {
                    p.text(&renamed(name));
                    array(p, stored);
                }
            }
        });
    });
    pickle.finish()
}

/// `layer1.0.bn2.bias` → `res2.0.conv2.norm.bias`.
fn renamed(name: &str) -> String {
    let mut parts: Vec<String> = name.split('.').map(str::to_string).collect();
    let stage = parts[0]
        .strip_prefix("layer")
        .and_then(|n| n.parse::<u32>().ok());
    match stage {
        Some(stage) => parts[0] = format!("res{}", stage + 1),
        None => parts.insert(0, "stem".to_string()),
    }
    let name = parts.join(".");
    let name = ["1", "2", "3"].iter().fold(name, |name, n| {
        name.replace(&format!(".bn{n}."), &format!(".conv{n}.norm."))
    });
    name.replace(".downsample.0.", ".shortcut.")
        .replace(".downsample.1.", ".shortcut.norm.")
}

/// `numpy.dtype("f4")`, little-endian.
fn float32(p: &mut Pickle) {
    p.global("numpy", "dtype");
    p.tuple(|p| {
        p.text("f4");
        p.bool(false);
        p.bool(true);
    });
    p.call();
    p.tuple(|p| {
        p.int(3);
        p.text("<");
        for _ in 0..3 {
            p.none();
        }
        p.int(-1);
        p.int(-1);
        p.int(0);
    });
    p.set_state();
}

/// An array as numpy pickles it. Its module has had another name since numpy 2, which still knows this
/// one.
fn array(p: &mut Pickle, stored: &Stored) {
    p.global("numpy.core.multiarray", "_reconstruct");
    p.tuple(|p| {
        p.global("numpy", "ndarray");
        p.sizes(&[0]);
        p.bytes(b"b");
    });
    p.call();
    p.tuple(|p| {
        p.int(1);
        p.sizes(&stored.shape);
        p.recall(DTYPE);
        p.bool(false);
        p.bytes(&stored.le_bytes());
    });
    p.set_state();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_detectron2s() {
        for (ours, theirs) in [
            ("conv1.weight", "stem.conv1.weight"),
            ("bn1.running_mean", "stem.conv1.norm.running_mean"),
            ("layer1.0.conv3.weight", "res2.0.conv3.weight"),
            ("layer4.2.bn3.bias", "res5.2.conv3.norm.bias"),
            ("layer2.0.downsample.0.weight", "res3.0.shortcut.weight"),
            (
                "layer3.0.downsample.1.running_var",
                "res4.0.shortcut.norm.running_var",
            ),
        ] {
            assert_eq!(renamed(ours), theirs);
        }
    }
}
