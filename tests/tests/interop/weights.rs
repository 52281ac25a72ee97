//! `Weights::read` reads weights of every origin: each layout, as safetensors and as torch files.

use std::collections::BTreeMap;

use densecl::{
    Error,
    features::Feature,
    foreign::{names::Layout, torch},
    weights::{Container, FilePrecision, Stored, Weights},
};
use densecl_tests::network::{cpu, named_values};
use safetensors::{Dtype, serialize, tensor::TensorView};

use crate::bytes;

type Tensors = Vec<(String, Stored)>;

/// The state dict of a golden checkpoint.
fn tensors(file: &str) -> Tensors {
    let found = torch::state_dict(&bytes("torch", file));
    found.expect("a whole file").tensors
}

/// A safetensors file of these tensors as other programs write it: without metadata, counters as int64.
fn as_safetensors(tensors: &[(String, Stored)]) -> Vec<u8> {
    let data: Vec<(&str, &[usize], Dtype, Vec<u8>)> = tensors
        .iter()
        .map(|(name, stored)| {
            let (dtype, bytes) = if name.ends_with("num_batches_tracked") {
                let counts = stored.values.iter();
                (
                    Dtype::I64,
                    counts.flat_map(|&v| (v as i64).to_le_bytes()).collect(),
                )
            } else {
                (Dtype::F32, stored.le_bytes())
            };
            (name.as_str(), stored.shape.as_slice(), dtype, bytes)
        })
        .collect();
    let views = data.iter().map(|(name, shape, dtype, bytes)| {
        let view = TensorView::new(*dtype, shape.to_vec(), bytes).expect("fitting bytes");
        (*name, view)
    });
    serialize(views, None).expect("written")
}

fn error(bytes: &[u8]) -> Error {
    let error = Weights::read(bytes).expect_err("something is wrong");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

/// The values of all tensors, for comparison.
fn all(weights: &Weights) -> BTreeMap<String, Stored> {
    let tensors = weights.tensors().iter();
    tensors
        .map(|(name, stored)| (name.to_string(), stored.clone()))
        .collect()
}

const LAYOUTS: [(&str, Layout, [bool; 2]); 10] = [
    ("authors_backbone.pth", Layout::Backbone, [false, false]),
    ("authors_checkpoint.pth", Layout::Authors, [true, true]),
    ("authors_legacy.pth", Layout::Authors, [true, true]),
    ("moco_v1.pth", Layout::Moco, [false, false]),
    ("moco_v2_legacy.pth", Layout::Moco, [true, false]),
    ("torchvision_r50.pth", Layout::Torchvision, [false, false]),
    ("mmselfsup.pth", Layout::OpenMmlab, [true, true]),
    ("mmpretrain.pth", Layout::OpenMmlab, [false, false]),
    ("lightly.pth", Layout::Lightly, [false, false]),
    ("ours.pth", Layout::Densecl, [true, true]),
];

#[test]
fn every_layout_loads_from_both_containers() {
    for (file, layout, [global, dense]) in LAYOUTS {
        let whole = tensors(file);
        let weights =
            Weights::read(&bytes("torch", file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let account = &weights.account;
        assert_eq!(account.layout, layout, "{file}");
        assert_eq!(
            account.used.len() + account.dropped.len(),
            whole.len(),
            "{file}"
        );
        assert_eq!(
            account.used.len(),
            weights.tensors().names().count(),
            "{file}"
        );
        let heads = weights.heads();
        assert_eq!([heads.global, heads.dense], [global, dense], "{file}");

        let other =
            Weights::read(&as_safetensors(&whole)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(other.account.container, Container::Safetensors, "{file}");
        assert_eq!(other.account.layout, layout, "{file}");
        assert_eq!(all(&other), all(&weights), "{file}");
        assert_eq!(other.info, weights.info, "{file}");

        // Writing the weights as densecl's own file and reading it keeps the tensors and the information on
        // their origin.
        let ours = weights.to_bytes(FilePrecision::F32).expect("written");
        let ours = Weights::read(&ours).expect("ours");
        assert_eq!(ours.account.layout, Layout::Densecl, "{file}");
        assert_eq!(all(&ours), all(&weights), "{file}");
        assert_eq!(ours.info, weights.info, "{file}");
        assert!(ours.account.dropped.is_empty(), "{file}");

        let expected = all(&weights);
        let (encoder, _) = weights.encoder(None, &cpu()).expect("an encoder");
        assert_eq!(Feature::Dense.ensure_in(&encoder).is_ok(), dense, "{file}");
        let values = named_values(&encoder);
        assert_eq!(values.len(), expected.len(), "{file}");
        for (name, stored) in expected {
            assert_eq!(values[&name], stored.values, "{file}: {name}");
        }
    }
}

/// Half precision stores tensors of two or more dimensions, the kernels, in f16; the others stay f32.
#[test]
fn half_precision_is_for_kernels() {
    let whole = tensors("ours.pth");
    let weights = Weights::read(&as_safetensors(&whole)).expect("whole");
    let half = weights.to_bytes(FilePrecision::Half).expect("written");
    assert!(half.len() < 3 * weights.to_bytes(FilePrecision::F32).expect("written").len() / 4);
    let half = all(&Weights::read(&half).expect("ours"));
    for (name, stored) in all(&weights) {
        let rounded = &half[&name];
        if stored.shape.len() < 2 {
            assert_eq!(rounded, &stored, "{name}");
        }
        for (a, b) in rounded.values.iter().zip(&stored.values) {
            // Half a unit in the last place: f16 has 11 significant bits, and below 2⁻¹⁴ a fixed step of 2⁻²⁴.
            assert!(
                (a - b).abs() <= b.abs() / 2048.0 + 3e-8,
                "{name}: {a} for {b}"
            );
        }
    }
}

#[test]
fn what_is_wrong_with_safetensors_is_named() {
    let good = tensors("authors_backbone.pth");
    let with = |change: &dyn Fn(&mut Tensors)| {
        let mut changed = good.clone();
        change(&mut changed);
        error(&as_safetensors(&changed)).to_string()
    };
    let nan = with(&|t| t[0].1.values[3] = f32::NAN);
    assert!(nan.ends_with("conv1.weight holds NaN"), "{nan}");
    let depth = with(&|t| t.retain(|(name, _)| !name.starts_with("layer4")));
    assert!(depth.contains("[1, 1, 1, 0] basic blocks"), "{depth}");
    let missing = with(&|t| t.retain(|(name, _)| name != "bn1.bias"));
    assert!(missing.contains("missing tensors: bn1.bias"), "{missing}");
    let unknown = with(&|t| t.push(("extra".to_string(), t[1].1.clone())));
    assert!(unknown.contains("no part of it: extra"), "{unknown}");
    let vit = with(&|t| {
        t.retain_mut(|(name, _)| {
            *name = format!("patch_embed.{name}");
            true
        })
    });
    assert!(vit.contains("a vision transformer"), "{vit}");
}

#[test]
fn what_is_no_file_of_weights_says_so() {
    for (bytes, part) in [
        (&b""[..], "an empty file"),
        (b"<!DOCTYPE html><html>", "neither safetensors nor"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "git lfs pull",
        ),
        (b"\x80\x02}q\x00.", "not one that torch.save wrote"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "may be truncated"),
    ] {
        let error = error(bytes).to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    for file in ["torchvision_r18.pth", "authors_legacy.pth"] {
        let whole = bytes("torch", file);
        for length in [9, 100, whole.len() / 2, whole.len() - 1] {
            let error = error(&whole[..length]);
            assert!(
                matches!(error, Error::Format(_)),
                "{file} {length}: {error:?}"
            );
        }
    }
}
