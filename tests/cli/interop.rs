//! Import of weights from other programs, and export to them.

use std::collections::BTreeMap;
use std::fs;

use densecl::foreign::torch;
use densecl::weights::{Stored, Weights};
use serde_json::Value;

use crate::sandbox::{SafeTensors, Sandbox};

/// The path of a golden checkpoint, given as folder/name.
pub(crate) fn golden(file: &str) -> String {
    format!("{}/../tests/golden/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn state_dict(bytes: &[u8]) -> BTreeMap<String, Stored> {
    let found = torch::state_dict(bytes).expect("a state dict");
    found.tensors.into_iter().collect()
}

fn bits(stored: &Stored) -> Vec<u32> {
    stored.values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_checkpoint_of_torch_comes_back_bit_for_bit() {
    let sandbox = Sandbox::new();
    for depth in [18, 50] {
        let original = golden(&format!("interop/torchvision_r{depth}.pth"));
        let ran = sandbox
            .run(&format!("import {original} --out w.safetensors"))
            .succeeded();
        assert!(
            ran.stdout.contains("a ResNet of torchvision"),
            "{}",
            ran.stdout
        );
        assert!(
            ran.stdout.contains("the classifier; a backbone has none"),
            "{}",
            ran.stdout
        );
        sandbox
            .run("export w.safetensors --out back.pth")
            .succeeded();
        sandbox
            .run("export back.pth --out again.safetensors --to safetensors")
            .succeeded();
        sandbox
            .run("export again.safetensors --out again.pth")
            .succeeded();

        let mut original = state_dict(&fs::read(original).expect("a golden file"));
        original.retain(|name, _| !name.starts_with("fc."));
        let back = state_dict(&sandbox.read("back.pth"));
        assert!(back.keys().eq(original.keys()));
        for (name, stored) in &original {
            assert_eq!(back[name].shape, stored.shape, "{name}");
            assert_eq!(bits(&back[name]), bits(stored), "{name}");
        }
        assert_eq!(sandbox.read("again.pth"), sandbox.read("back.pth"));
        let counters = back
            .iter()
            .filter(|(name, _)| name.ends_with("num_batches_tracked"));
        assert!(counters.clone().count() >= 20);
        assert!(counters.clone().all(|(_, count)| count.values == [1234.0]));
    }
}

#[test]
fn the_account_names_every_tensor() {
    let sandbox = Sandbox::new();
    let file = golden("torch/moco_v2_legacy.pth");
    let ran = sandbox.run(&format!("import {file} --json -")).succeeded();
    let account: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let count = |key: &str| account[key].as_array().expect("a list").len();
    let whole = state_dict(&fs::read(&file).expect("a golden file")).len();
    assert_eq!(count("used") + count("dropped"), whole);
    assert_eq!(account["layout"], "a checkpoint of MoCo");
    assert_eq!(account["under"], "state_dict");
    assert_eq!(account["lacking"], serde_json::json!(["dense head"]));
    assert_eq!(account["not_read"], serde_json::json!(["epoch", "arch"]));
    let reasons = account["dropped"].as_array().expect("a list");
    let part = "part of a training state, not of weights";
    assert!(reasons.iter().any(|dropped| dropped["reason"] == part));
    assert!(
        sandbox.names("").is_empty(),
        "a file was written without --out"
    );

    let ran = sandbox
        .run(&format!("import {file} --out w.safetensors --json a.json"))
        .succeeded();
    assert!(
        ran.stdout.contains("lacking   dense head"),
        "{}",
        ran.stdout
    );
    assert_eq!(sandbox.json("a.json")["used"], account["used"]);
    assert_eq!(sandbox.names(""), ["a.json", "w.safetensors"]);
}

/// The weights of a tiny run, and a folder with two pictures.
fn run_and_pictures() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 1 --out run").succeeded();
    sandbox
        .run("synth --out scenes --count 1 --size 64")
        .succeeded();
    sandbox
}

const PICTURES: &str =
    "match scenes/images/00000_a.png scenes/images/00000_b.png --device cpu --size 64";

#[test]
fn every_export_of_a_run_can_be_read() {
    let sandbox = run_and_pictures();
    let export = "export run/weights.safetensors";
    for (out, more) in [
        ("w.pth", ""),
        ("heads.pt", "--heads"),
        ("w.safetensors", "--to safetensors --heads"),
        ("w.pkl", ""),
        ("w.onnx", "--heads --stride 16"),
        ("web", "--to web"),
        ("web2", "--web"),
    ] {
        let ran = sandbox
            .run(&format!("{export} --out {out} {more}"))
            .succeeded();
        assert!(ran.stderr.contains("resnet10 of width 8"), "{}", ran.stderr);
    }
    let whole = Weights::read(&sandbox.read("run/weights.safetensors")).expect("ours");
    let all = |weights: &Weights| -> BTreeMap<String, Stored> {
        let tensors = weights.tensors().iter();
        tensors
            .map(|(name, stored)| (name.to_string(), stored.clone()))
            .collect()
    };
    let backbone: BTreeMap<_, _> = all(&whole)
        .into_iter()
        .filter(|(name, _)| !name.contains("_head."))
        .collect();
    let read = |file: &str| all(&Weights::read(&sandbox.read(file)).expect("an export"));
    assert_eq!(read("w.pth"), backbone);
    assert_eq!(read("heads.pt"), all(&whole));
    assert_eq!(read("w.safetensors"), all(&whole));
    assert_eq!(
        state_dict(&sandbox.read("w.pth"))["bn1.num_batches_tracked"].values,
        [1.0]
    );

    // The exported weights can be used directly and as the browser's bundle.
    sandbox
        .run(&format!("{PICTURES} --weights heads.pt --feature dense"))
        .succeeded();
    let manifest = sandbox.json("web/manifest.json");
    assert_eq!(manifest["format"], "densecl-web-bundle");
    assert_eq!(manifest["info"]["model"]["width"], 8);
    assert!(manifest["info"].get("config").is_none());
    let bundle = sandbox.read("web/web-000.bin");
    assert_eq!(manifest["shards"][0]["bytes"], bundle.len());
    assert_eq!(manifest["shards"][0]["sha256"], manifest["sha256"]);
    assert_eq!(
        sandbox.json("web2/manifest.json")["sha256"],
        manifest["sha256"]
    );
    sandbox.write("bundle.safetensors", bundle);
    sandbox
        .run(&format!(
            "{PICTURES} --weights bundle.safetensors --feature dense"
        ))
        .succeeded();
}

/// An export keeps the placement of the stride that was given on import, if its format can express it.
#[test]
fn the_placement_of_the_stride_is_kept_by_what_can_say_it() {
    let sandbox = Sandbox::new();
    let file = golden("torch/torchvision_r50.pth");
    sandbox
        .run(&format!("import {file} --out usual.safetensors"))
        .succeeded();
    let ran = sandbox
        .run(&format!(
            "import {file} --stride-in-1x1 --out v1.safetensors"
        ))
        .succeeded();
    let placement = "with the stride in the 1x1 convolution";
    assert!(ran.stdout.contains(placement), "{}", ran.stdout);

    let told = |weights: &str, out: &str, line: Option<&str>| {
        let ran = sandbox
            .run(&format!(
                "export {weights}.safetensors --out {weights}{out}"
            ))
            .succeeded();
        let has = |line: &str| ran.stderr.contains(line);
        match line {
            Some(line) => assert!(has(line), "{weights}{out}: {}", ran.stderr),
            None => assert!(!has("torchvision's ResNet"), "{}", ran.stderr),
        }
    };
    told("v1", ".pkl", Some("STRIDE_IN_1X1: True"));
    told("usual", ".pkl", Some("STRIDE_IN_1X1: False"));
    told("v1", ".pth", Some("torchvision's ResNet"));
    told("usual", ".pth", None);
    told("v1", ".onnx", None);
    told("usual", ".onnx", None);
    assert_ne!(sandbox.read("v1.onnx"), sandbox.read("usual.onnx"));
    // Both files hold the same numbers; only the advice that `export` prints differs.
    assert_eq!(sandbox.read("v1.pth"), sandbox.read("usual.pth"));

    // Importing the exported pickle for detectron2 restores the placement.
    for (name, in_1x1) in [("v1", true), ("usual", false)] {
        let ran = sandbox
            .run(&format!("import {name}.pkl --out back.safetensors"))
            .succeeded();
        assert!(
            ran.stdout.contains("a backbone of detectron2"),
            "{}",
            ran.stdout
        );
        assert_eq!(ran.stdout.contains(placement), in_1x1, "{}", ran.stdout);
        sandbox
            .run("export back.safetensors --out back.pth")
            .succeeded();
        let tensors = |file: &str| {
            let mut tensors = state_dict(&sandbox.read(file));
            tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
            tensors
        };
        assert_eq!(tensors("back.pth"), tensors("usual.pth"));
    }

    sandbox
        .run("export v1.safetensors --web --out web")
        .succeeded();
    let model = &sandbox.json("web/manifest.json")["info"]["model"];
    assert_eq!(model["stride_in_1x1"], true);
    sandbox
        .run("export usual.safetensors --web --out usual")
        .succeeded();
    let model = &sandbox.json("usual/manifest.json")["info"]["model"];
    assert!(model.get("stride_in_1x1").is_none());

    let basic = golden("torch/torchvision_r18.pth");
    sandbox
        .run(&format!(
            "import {basic} --stride-in-1x1 --out b.safetensors"
        ))
        .refused(&["--stride-in-1x1", "resnet50"]);
}

/// Shards of an earlier bundle that the new manifest does not list are removed; other files stay.
#[test]
fn a_bundle_replaces_the_earlier_one() {
    let sandbox = Sandbox::new();
    for file in ["mine-007.bin", "mine-01.bin", "other-000.bin"] {
        sandbox.write(&format!("mine/{file}"), "x");
    }
    let weights = golden("torch/ours.pth");
    sandbox
        .run(&format!("export {weights} --web --out mine"))
        .succeeded();
    let names = [
        "manifest.json",
        "mine-000.bin",
        "mine-01.bin",
        "other-000.bin",
    ];
    assert_eq!(sandbox.names("mine"), names);
}

#[test]
fn weights_of_others_match_pictures() {
    let sandbox = Sandbox::new();
    sandbox
        .run("synth --out scenes --count 1 --size 64")
        .succeeded();
    for file in [
        "interop/torchvision_r50.pth",
        "torch/lightly.pth",
        "torch/mmselfsup.pth",
    ] {
        let ran = sandbox
            .run(&format!("{PICTURES} --weights {}", golden(file)))
            .succeeded();
        // Weights that are loaded in part are always reported.
        assert!(ran.stderr.contains("tensors used") && ran.stderr.contains("dropped"));
    }
    let backbone = golden("interop/torchvision_r50.pth");
    sandbox
        .run(&format!("{PICTURES} --weights {backbone} --feature dense"))
        .refused(&[
            "--feature dense",
            "torchvision_r50.pth",
            "no dense head",
            "stage4",
        ]);
}

const NARROW: &str = "--set model.backbone=resnet18 --set model.width=3";

#[test]
fn a_run_begins_with_the_weights_of_another_program() {
    let sandbox = Sandbox::new();
    let file = golden("interop/torchvision_r18.pth");
    // With a learning rate of 0 the written weights are those loaded.
    let still = "--set optim.lr=0 --steps 1 --out run";
    let ran = sandbox
        .pretrain(&format!("{NARROW} {still} --init {file}"))
        .succeeded();
    let told = "backbone from it, global head at random, dense head at random";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    let original = state_dict(&fs::read(&file).expect("a golden file"));
    let begun = Weights::read(&sandbox.read("run/weights.safetensors")).expect("ours");
    for name in ["conv1.weight", "layer4.1.bn2.bias"] {
        assert_eq!(begun.tensors().get(name), Some(&original[name]), "{name}");
    }
    assert!(
        sandbox
            .text("run/config.toml")
            .contains(&format!("init = \"{file}\""))
    );

    let ran = sandbox.pretrain(&format!("--steps 1 --out other --init {file}"));
    ran.refused(&["--init", "resnet18 of width 3", "resnet10 of width 8"]);
    assert!(sandbox.names("other/checkpoints").is_empty());
    let ours = "run/weights.safetensors --out again --set optim.lr=0 --steps 1";
    let ran = sandbox
        .pretrain(&format!("{NARROW} --init {ours}"))
        .succeeded();
    let told = "backbone from it, global head from it, dense head from it";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
}

const AUTHORS: &str = "--set model.backbone=resnet10 --set model.width=4 --set model.dim=8 \
    --set method.queue=0 --set method.queue_exceeds_data=true";

#[test]
fn training_goes_on_from_the_authors_state() {
    let sandbox = Sandbox::new();
    let file = golden("interop/authors_training.pth");
    let run = format!("{AUTHORS} --continue-from {file}");
    let ran = sandbox
        .pretrain(&format!("{run} --steps 5 --out run"))
        .succeeded();
    let told = "a training state of the authors' DenseCL at step 3";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    let steps: Vec<Value> = sandbox
        .metrics("run")
        .iter()
        .map(|row| row["step"].clone())
        .collect();
    assert_eq!(steps, [4, 5]);
    assert_eq!(sandbox.json("run/result.json")["steps"], 5);
    assert!(sandbox.text("run/config.toml").contains("queue = 20"));
    // After these steps the run can be resumed like any other.
    sandbox.run("pretrain --resume run --steps 6").succeeded();
    assert_eq!(sandbox.metrics("run").len(), 3);

    sandbox
        .pretrain(&format!("{run} --steps 3 --out late"))
        .refused(&["authors_training.pth", "step 3 already", "--steps"]);
    sandbox
        .pretrain(&format!("{run} --set model.width=8 --steps 5 --out wide"))
        .refused(&["authors_training.pth", "width 4", "width 8"]);
    sandbox
        .pretrain(&format!(
            "{run} --set method.queue=16 --steps 5 --out short"
        ))
        .refused(&["its queues have 20 keys, the run's 16"]);
    let backbone = golden("interop/torchvision_r18.pth");
    sandbox
        .pretrain(&format!("--continue-from {backbone} --steps 5 --out none"))
        .refused(&["torchvision_r18.pth", "without a key encoder", "--init"]);
}

/// The tensors of a run in a safetensors file without densecl's metadata.
#[test]
fn safetensors_without_our_metadata_load() {
    let sandbox = run_and_pictures();
    let mut file = SafeTensors::parse(&sandbox.read("run/weights.safetensors"));
    let header = file.header.as_object_mut().expect("an object");
    header.remove("__metadata__").expect("ours");
    sandbox.write("bare.safetensors", file.to_bytes());
    sandbox
        .run(&format!(
            "{PICTURES} --weights bare.safetensors --feature dense"
        ))
        .succeeded();
}
