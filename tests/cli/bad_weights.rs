//! Weights that cannot be used and exports that cannot be made: the error is one line with the file and the
//! reason, and nothing is written.

use std::fs;
use std::process::Command;

use crate::interop::golden;
use crate::sandbox::{Ran, SafeTensors, Sandbox};

#[test]
fn what_is_wrong_with_a_file_is_named() {
    let sandbox = Sandbox::new();
    let whole = fs::read(golden("torch/authors_backbone.pth")).expect("a golden file");
    sandbox.write("short.pth", &whole[..whole.len() / 2]);
    sandbox.write("empty.pth", "");
    sandbox.write("page.pth", "<!DOCTYPE html>");
    let header = r#"{"blocks.0.attn.qkv.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"cls_token":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    sandbox.write("vit.safetensors", safetensors(header, 8));
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    sandbox.write("overlap.safetensors", safetensors(overlap, 12));
    let outside = r#"{"a":{"dtype":"F32","shape":[200],"data_offsets":[0,800]}}"#;
    sandbox.write("outside.safetensors", safetensors(outside, 8));
    let sandboxed = [
        ("missing.pth", "No such file"),
        ("short.pth", "it may be truncated"),
        ("empty.pth", "an empty file"),
        ("page.pth", "neither safetensors nor"),
        ("vit.safetensors", "a vision transformer"),
        ("overlap.safetensors", "not a whole safetensors file"),
        ("outside.safetensors", "not a whole safetensors file"),
    ];
    for (file, part) in sandboxed {
        for command in ["import", "export --out w.pth"] {
            sandbox
                .run(&format!("{command} {file}"))
                .refused(&[file, part]);
        }
    }
    let hostile = [
        ("refused_malicious.pth", "posix.system"),
        ("refused_module.pth", "would have to run Python code"),
        ("refused_expanded.pth", "more numbers than it has bytes"),
        ("refused_compressed.pth", "compressed or encrypted"),
        ("refused_torchscript.pth", "TorchScript"),
        ("refused_list.pth", "a list with tensors in it"),
    ];
    for (file, part) in hostile {
        let path = golden(&format!("torch/{file}"));
        sandbox
            .run(&format!("import {path} --out w.safetensors"))
            .refused(&[file, part]);
    }
    assert!(sandbox.names("").iter().all(|name| !name.starts_with("w.")));
}

#[test]
fn nan_is_named() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&format!(
            "import {} --out w.safetensors",
            golden("torch/ours.pth")
        ))
        .succeeded();
    let mut file = SafeTensors::parse(&sandbox.read("w.safetensors"));
    let place = file.header["layer2.0.bn1.weight"]["data_offsets"][0]
        .as_u64()
        .expect("a number");
    file.data[place as usize..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    sandbox.write("nan.safetensors", file.to_bytes());
    for command in ["import", "export --out w.onnx"] {
        sandbox
            .run(&format!("{command} nan.safetensors"))
            .refused(&["nan.safetensors", "layer2.0.bn1.weight holds NaN"]);
    }
}

#[test]
fn names_and_formats_must_agree() {
    let sandbox = Sandbox::new();
    let ours = golden("torch/ours.pth");
    let backbone = golden("torch/half.pth");
    for (arguments, parts) in [
        (
            format!("export {ours} --to onnx --out w.pth"),
            vec!["w.pth", "--to onnx", ".onnx"],
        ),
        (
            format!("export {ours} --to torch --out w"),
            vec!["--to torch", ".pth or .pt"],
        ),
        (
            format!("export {ours} --out w.bin"),
            vec!["w.bin", "tells no format", "--to"],
        ),
        (
            format!("export {ours} --to web --out w.onnx"),
            vec!["w.onnx", "is a folder"],
        ),
        (
            format!("export {ours} --out w.pth --stride 8"),
            vec!["--stride", "onnx"],
        ),
        (
            format!("export {ours} --out w.onnx --stride 12"),
            vec!["output_stride = 12", "8, 16 or 32"],
        ),
        (
            format!("export {ours} --out w.pkl --heads"),
            vec!["--heads", "detectron2"],
        ),
        (
            format!("export {backbone} --out w.onnx --heads"),
            vec!["--heads", "no dense head"],
        ),
        (
            format!("export {backbone} --out w.pth --heads"),
            vec!["--heads", "have none"],
        ),
        (
            format!("import {ours} --out w.pth"),
            vec!["w.pth", ".safetensors"],
        ),
        (
            format!("export {ours} --out none/w.pth"),
            vec!["none/w.pth"],
        ),
    ] {
        sandbox.run(&arguments).refused(&parts);
    }
    sandbox.write("file", "mine");
    sandbox
        .run(&format!("export {ours} --web --out file"))
        .refused(&["file", "a folder"]);
    assert_eq!(sandbox.names(""), ["file"]);
    let both =
        sandbox.pretrain("--steps 1 --out run --set train.init=a --set train.continue_from=b");
    both.refused(&["train.init and train.continue_from"]);
}

/// The header declares the widest network, whose tensors would take gigabytes, but the file does not hold
/// them. With 1 GB of address space the program must refuse the file instead of running out of memory.
#[cfg(target_os = "linux")]
#[test]
fn a_header_that_promises_more_than_the_file_holds_costs_no_memory() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&format!(
            "import {} --out w.safetensors",
            golden("torch/ours.pth")
        ))
        .succeeded();
    let mut file = SafeTensors::parse(&sandbox.read("w.safetensors"));
    let info = file.header["__metadata__"]["densecl"]
        .as_str()
        .expect("metadata");
    let mut info: serde_json::Value = serde_json::from_str(info).expect("JSON");
    info["model"]["backbone"] = "resnet101".into();
    info["model"]["width"] = 256.into();
    info["model"]["dim"] = 4096.into();
    file.header["__metadata__"]["densecl"] = info.to_string().into();
    sandbox.write("greedy.safetensors", file.to_bytes());
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -v 1000000; exec \"$0\" import greedy.safetensors",
        ])
        .arg(env!("CARGO_BIN_EXE_densecl"))
        .current_dir(sandbox.path(""))
        .output()
        .expect("a shell");
    Ran::from(output).refused(&["greedy.safetensors", "resnet101 of width 256", "resnet10"]);
}

/// A safetensors file with this header and `zeros` bytes of zeros as data.
fn safetensors(header: &str, zeros: usize) -> Vec<u8> {
    let length = header.len() as u64;
    [&length.to_le_bytes(), header.as_bytes(), &vec![0; zeros]].concat()
}

#[test]
fn a_layers_model_is_read_with_the_files_it_names() {
    let sandbox = Sandbox::new();
    let model = |paths: &str| {
        format!(
            r#"{{"format": "layers-model", "modelTopology": {{"config": {{"layers": []}}}},
               "weightsManifest": [{{"paths": [{paths}], "weights": []}}]}}"#
        )
    };
    sandbox.write("keras/model.json", model(r#""a.bin""#));
    for path in ["keras", "keras/model.json"] {
        sandbox
            .run(&format!("import {path}"))
            .refused(&["keras/a.bin", "No such file"]);
    }
    sandbox.write("keras/a.bin", "four");
    sandbox
        .run("import keras")
        .refused(&["keras cannot be used", "4 bytes", "need 0"]);
    sandbox.write("keras/model.json", model(r#""../a.bin""#));
    sandbox
        .run("import keras")
        .refused(&["keras/model.json cannot be used", "not in its folder"]);
    sandbox.write("keras/model.json", "{}");
    sandbox
        .run("import keras/model.json")
        .refused(&["model.json", "TensorFlow.js"]);
}
