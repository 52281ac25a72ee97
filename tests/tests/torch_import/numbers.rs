//! Checks every value of every file bit for bit, by hashes.

use std::collections::BTreeMap;

use densecl::{
    foreign::torch::{TorchFile, state_dict},
    weights::Stored,
};
use serde_json::Value;

use crate::bytes;

/// 64-bit FNV-1a over the values' little-endian bytes.
fn hash(values: &[f32]) -> String {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[test]
fn every_tensor_has_pytorchs_bits() {
    let index: Value = serde_json::from_slice(&bytes("index.json")).expect("JSON");
    let index = index.as_object().expect("files by name");
    assert!(index.len() > 10, "the index is empty");
    for (file, wanted) in index {
        let found =
            state_dict(&bytes(&format!("{file}.pth"))).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(found.under, wanted["under"], "{file}");
        let wanted = wanted["tensors"].as_object().expect("tensors by name");
        assert_eq!(found.tensors.len(), wanted.len(), "{file}: tensors");
        for (name, stored) in &found.tensors {
            let wanted = &wanted[name];
            let shape = serde_json::to_value(&stored.shape).expect("numbers");
            assert_eq!(shape, wanted["shape"], "{file}: shape of {name}");
            let first: Vec<u32> = stored.values.iter().take(3).map(|v| v.to_bits()).collect();
            let first = serde_json::to_value(first).expect("numbers");
            assert_eq!(first, wanted["first_bits"], "{file}: bits of {name}");
            let hash = hash(&stored.values);
            assert_eq!(wanted["fnv1a64"], *hash, "{file}: all bits of {name}");
        }
    }
}

#[test]
fn strides_are_followed() {
    let tensors: BTreeMap<String, Stored> = state_dict(&bytes("numbers.pth"))
        .expect("a whole file")
        .tensors
        .into_iter()
        .collect();
    let expanded = &tensors["strided.expanded"];
    assert_eq!(expanded.shape, [2, 3]);
    assert_eq!(expanded.values, [7.0, 7.0, 7.0, 8.0, 8.0, 8.0]);
    // The generator stored `arange(60).reshape(3, 4, 5)[1:, ::2, 1:4]`.
    let slice = &tensors["strided.slice"];
    assert_eq!(slice.shape, [2, 2, 3]);
    let wanted = [21, 22, 23, 31, 32, 33, 41, 42, 43, 51, 52, 53];
    assert_eq!(slice.values, wanted.map(|value| value as f32));
}

#[test]
fn what_is_beside_the_tensors_is_named() {
    for file in ["beside.pth", "beside_legacy.pth"] {
        let found = state_dict(&bytes(file)).expect("opaque objects do no harm");
        let names: Vec<&str> = found.beside.iter().map(String::as_str).collect();
        let wanted = [
            "args", "best", "history", "size", "seen", "big", "flag", "nothing", "raw", "cuda",
            "type", "factory", "step",
        ];
        assert_eq!(names, wanted, "{file}");
    }
}

#[test]
fn integers_of_a_checkpoint_can_be_asked_for() {
    let bytes = bytes("authors_checkpoint.pth");
    let file = TorchFile::parse(&bytes).expect("a whole file");
    assert_eq!(file.integer(&["meta", "iter"]), Some(77));
    assert_eq!(file.integer(&["meta", "time"]), None);
    assert_eq!(file.integer(&["nothing", "iter"]), None);
}
