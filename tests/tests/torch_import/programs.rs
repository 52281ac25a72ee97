//! Checkpoints of other self-supervised programs, by the names and shapes that `golden/programs` states.

use std::{collections::BTreeMap, fs, path::PathBuf};

use densecl::{
    features::{Feature, feature_map},
    foreign::names::{Reason, Selection},
    weights::{Stored, Weights},
};
use densecl_tests::{
    golden::{TOLERANCE, assert_close, parameter},
    network::{cpu, input, values},
};
use safetensors::{Dtype, serialize, tensor::TensorView};
use serde_json::Value;

type Keys = Vec<(String, Vec<usize>)>;

fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", "programs", file]
        .iter()
        .collect()
}

/// A program as `programs.json` describes it.
struct Program {
    name: String,
    layout: String,
    backbone: String,
    keys: Keys,
}

fn programs() -> Vec<Program> {
    let text = fs::read_to_string(path("programs.json")).expect("beside its generator");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let programs = all["programs"].as_object().expect("an object");
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let key = |line: &Value| {
        let line = text(line);
        let mut words = line.split(' ');
        let name = words.next().expect("a name").to_string();
        (
            name,
            words.map(|side| side.parse().expect("a side")).collect(),
        )
    };
    let programs = programs.iter().map(|(name, program)| Program {
        name: name.clone(),
        layout: text(&program["layout"]),
        backbone: text(&program["backbone"]),
        keys: program["tensors"]
            .as_array()
            .expect("a list")
            .iter()
            .map(key)
            .collect(),
    });
    programs.collect()
}

/// A file of these tensors, as another program writes safetensors: no metadata of ours.
fn file(tensors: &[(String, Stored)]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, stored)| stored.le_bytes())
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, stored), bytes)| {
        let view = TensorView::new(Dtype::F32, stored.shape.clone(), bytes).expect("fitting bytes");
        (name.as_str(), view)
    });
    serialize(views, None).expect("written")
}

/// Values of a tensor: by torchvision's name where it is part of the backbone, else other ones.
fn filled(key: &str, shape: &[usize], ours: &BTreeMap<&str, &str>) -> Stored {
    let count: usize = shape.iter().product();
    let values = match ours.get(key) {
        Some(name) => parameter(name, shape),
        None if key.ends_with("num_batches_tracked") => vec![1234.0; count],
        None => vec![0.5; count],
    };
    Stored {
        shape: shape.to_vec(),
        values,
    }
}

/// Reads the program's file, in which the backbone has the formula's values for torchvision's names.
fn read(keys: &Keys, selection: &Selection) -> Weights {
    let zeros: Vec<(String, Stored)> = keys
        .iter()
        .map(|(key, shape)| (key.clone(), filled(key, shape, &BTreeMap::new())))
        .collect();
    let first = Weights::read_selected(&file(&zeros), selection).expect("recognised");
    let ours = first.account.used.iter();
    let ours = ours
        .map(|(key, name)| (key.as_str(), name.as_str()))
        .collect();
    let tensors: Vec<(String, Stored)> = keys
        .iter()
        .map(|(key, shape)| (key.clone(), filled(key, shape, &ours)))
        .collect();
    Weights::read_selected(&file(&tensors), selection).expect("the same names")
}

/// The last stage of the network for one picture.
fn features(weights: Weights) -> Vec<f32> {
    let (encoder, _) = weights.encoder(Some(16), &cpu()).expect("a network");
    let map = feature_map(&encoder, input("picture", [1, 3, 64, 96]), Feature::Stage4);
    values(&map)
}

#[test]
fn each_program_is_recognised_and_its_backbone_is_torchvisions() {
    for program in programs() {
        let Program {
            name,
            layout,
            backbone,
            keys,
        } = &program;
        let weights = read(keys, &Selection::default());
        let account = &weights.account;
        let said = account.layout.to_string();
        assert!(said.contains(layout), "{name}: {said}");
        assert_eq!(weights.info.model.backbone.name(), backbone, "{name}");
        assert_eq!(
            account.used.len() + account.dropped.len(),
            keys.len(),
            "{name}: a tensor without an account"
        );
        assert_eq!(weights.info.steps, 1234, "{name}: the counters");

        // The same numbers under torchvision's own names.
        let model = &weights.info.model;
        let bare: Vec<(String, Stored)> = densecl::network::Network::new(model)
            .tensors()
            .map(|tensor| {
                let values = parameter(&tensor.name, &tensor.shape);
                let shape = tensor.shape;
                (tensor.name, Stored { shape, values })
            })
            .collect();
        let torchvision = Weights::read(&file(&bare)).expect("torchvision's names");
        assert_eq!(
            weights.tensors().checksum(),
            torchvision.tensors().checksum(),
            "{name}"
        );
        assert_close(name, &features(weights), &features(torchvision), TOLERANCE);
    }
}

#[test]
fn heads_and_second_encoders_are_dropped_for_a_reason() {
    for program in programs() {
        let weights = read(&program.keys, &Selection::default());
        for (key, reason) in &weights.account.dropped {
            let counter = key.ends_with("num_batches_tracked");
            let classifier = ["fc.", "classifier."].iter().any(|part| key.contains(part));
            let right = match reason {
                Reason::Counter => counter,
                Reason::Classifier => classifier,
                Reason::OtherMethod => !counter,
                _ => false,
            };
            assert!(right, "{}: {key} is dropped as {reason}", program.name);
        }
    }
}

#[test]
fn nested_checkpoints_are_found() {
    for (name, under, beside) in [
        ("vissl", "classy_state_dict.base_model.model", "iteration"),
        ("dino", "teacher", "student"),
    ] {
        let bytes = fs::read(path(&format!("{name}.pth"))).expect("beside its generator");
        let weights = Weights::read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(weights.account.under, under);
        assert!(
            weights.account.beside.iter().any(|key| key == beside),
            "{name}"
        );
        let programs = programs();
        let program = programs.iter().find(|program| program.name == name);
        let keys = &program.expect("named so").keys;
        let account = &weights.account;
        assert_eq!(
            account.used.len() + account.dropped.len(),
            keys.len(),
            "{name}"
        );
    }
}

/// A network of torchvision's below a name that no program here uses, beside others.
fn unknown_layout() -> Keys {
    let programs = programs();
    let torchvision = programs
        .iter()
        .find(|program| program.name == "counters_of_length_1");
    let keys = &torchvision.expect("named so").keys;
    let mut all: Keys = keys
        .iter()
        .map(|(key, shape)| (format!("net.trunk.{key}"), shape.clone()))
        .collect();
    all.push(("net.trunk.gate.weight".to_string(), vec![2]));
    all.push(("loss.centre".to_string(), vec![3]));
    all
}

#[test]
fn prefix_and_patterns_open_what_is_not_recognised() {
    let keys = unknown_layout();
    let selection = |prefix: &str, ignore: &[&str]| Selection {
        prefix: prefix.to_string(),
        ignore: ignore.iter().map(ToString::to_string).collect(),
    };
    let weights = read(&keys, &selection("net.trunk.", &["*.gate.*"]));
    let account = &weights.account;
    assert_eq!(account.used.len() + account.dropped.len(), keys.len());
    let of = |key: &str| account.dropped.iter().find(|(name, _)| name == key);
    let (_, ignored) = of("net.trunk.gate.weight").expect("dropped");
    assert_eq!(*ignored, Reason::Ignored("*.gate.*".to_string()));
    let (_, outside) = of("loss.centre").expect("dropped");
    assert_eq!(*outside, Reason::OutsidePrefix("net.trunk.".to_string()));

    let tensors: Vec<(String, Stored)> = keys
        .iter()
        .map(|(key, shape)| (key.clone(), filled(key, shape, &BTreeMap::new())))
        .collect();
    let message = |selection: &Selection| {
        let error = Weights::read_selected(&file(&tensors), selection).expect_err("refused");
        error.to_string()
    };
    let unknown = message(&Selection::default());
    assert!(unknown.contains("try --prefix net.trunk."), "{unknown}");
    let gate = message(&selection("net.trunk.", &[]));
    assert!(
        gate.contains("no part of it: net.trunk.gate.weight"),
        "{gate}"
    );
    assert!(gate.contains("--ignore"), "{gate}");
    let none = message(&selection("trunk.", &[]));
    assert!(none.contains("--prefix trunk."), "{none}");
    let none = message(&selection("", &["gate"]));
    assert!(none.contains("--ignore gate"), "{none}");
}

#[test]
fn files_of_ours_are_read_as_a_whole() {
    let programs = programs();
    let weights = read(&programs[0].keys, &Selection::default());
    let ours = weights
        .to_bytes(densecl::weights::FilePrecision::F32)
        .expect("written");
    let selection = Selection {
        prefix: "nothing.".to_string(),
        ignore: vec!["nothing".to_string()],
    };
    let again = Weights::read_selected(&ours, &selection).expect("ours");
    assert_eq!(again.tensors().checksum(), weights.tensors().checksum());
}
