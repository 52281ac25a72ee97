//! Folders that cannot be written, full disks, and files of the wrong kind.

use std::process::Command;

use serde_json::json;

use crate::sandbox::{Ran, SafeTensors, Sandbox};

#[test]
fn folders_that_cannot_be_written_are_found_at_the_start() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    let ran = sandbox.pretrain("--steps 1 --out file/run");
    ran.refused(&["file/run cannot be written to", "--out"]);
    if cfg!(target_os = "linux") {
        // Not even root can create a folder in /proc.
        sandbox
            .pretrain("--steps 1 --out /proc/run")
            .refused(&["/proc/run cannot be written to", "--out"]);
    }
    sandbox.pretrain("--steps 1 --out run").succeeded();
    sandbox
        .run("plot run --out nowhere/x.png")
        .refused(&["nowhere/x.png"]);
    sandbox
        .run("plot run --out x.jpg")
        .refused(&["x.jpg", ".png"]);
    sandbox
        .run("plot file")
        .refused(&["file is not the folder of a run"]);
    std::fs::remove_file(sandbox.path("run/metrics.jsonl")).expect("removed");
    sandbox
        .run("plot run")
        .refused(&["run has no logged step yet"]);
}

/// A limit on the size of files simulates a full disk: writing a checkpoint fails midway.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_earlier_checkpoint_whole() {
    let sandbox = Sandbox::new();
    sandbox
        .pretrain("--steps 2 --out run --set log.tensorboard=false")
        .succeeded();
    let before = sandbox.names("run/checkpoints");
    let good = sandbox.read("run/checkpoints/step_00000002.safetensors");
    // The shell counts in blocks of 512 or 1024 bytes; the limit is below the checkpoint's size in either.
    let blocks = good.len() / 2048;
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" pretrain --resume run --steps 4"
        ))
        .arg(env!("CARGO_BIN_EXE_densecl"))
        .current_dir(sandbox.path(""))
        .output();
    let ran = Ran::from(output.expect("a shell"));
    ran.refused(&[
        "saving a checkpoint failed",
        "earlier checkpoints are untouched",
        "step_00000004",
    ]);
    assert_eq!(sandbox.names("run/checkpoints"), before);
    assert_eq!(
        sandbox.read("run/checkpoints/step_00000002.safetensors"),
        good
    );
    sandbox.run("pretrain --resume run --steps 4").succeeded();
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 2 --out run").succeeded();
    let path = "run/checkpoints/step_00000002.safetensors";
    let good = sandbox.read(path);
    let resume = || sandbox.run("pretrain --resume run --steps 3");

    sandbox.write(path, &good[..good.len() / 2]);
    resume().refused(&["step_00000002", "truncated", "the one before"]);
    sandbox.write(path, b"random bytes, not a checkpoint");
    resume().refused(&["step_00000002", "not a whole safetensors file"]);
    let mut missing = SafeTensors::parse(&good);
    let tensors = missing.header.as_object_mut().expect("an object");
    let layer = tensors.remove("query.conv1.weight").expect("the stem");
    tensors.insert("query.conv2.weight".into(), layer);
    sandbox.write(path, missing.to_bytes());
    resume().refused(&["step_00000002", "its checksum is wrong"]);
    sandbox.write(path, &good);

    let settings = sandbox.text("run/config.toml");
    sandbox.write(
        "run/config.toml",
        settings.replace("width = 8", "width = 16"),
    );
    resume().refused(&["resnet10 (width 8", "resnet10 (width 16"]);
    sandbox.write(
        "run/config.toml",
        settings.replace("queue = 8", "queue = 12"),
    );
    resume().refused(&["queue.global", "[8, 128]", "[12, 128]"]);
    sandbox.write("run/config.toml", settings);
    resume().succeeded();
}

#[test]
fn weights_that_are_none_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 1 --out run").succeeded();
    let good = sandbox.read("run/weights.safetensors");
    let matched = |bytes: &[u8]| {
        sandbox.write("w.safetensors", bytes);
        sandbox.run(
            "match run/matches.png run/matches.png --weights w.safetensors --device cpu --size 64",
        )
    };
    matched(&good).succeeded();
    matched(&good[..good.len() - 1000]).refused(&["w.safetensors", "truncated"]);
    matched(&[]).refused(&["w.safetensors", "an empty file"]);
    let noise: Vec<u8> = (0..5000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    matched(&noise).refused(&["w.safetensors", "neither safetensors nor"]);

    let mut newer = SafeTensors::parse(&good);
    let mut info = sandbox.weights_info("run");
    info["format_version"] = json!(99);
    newer.header["__metadata__"]["densecl"] = json!(info.to_string());
    matched(&newer.to_bytes()).refused(&["newer densecl", "format 99"]);
    let mut other = SafeTensors::parse(&good);
    info["format_version"] = json!(1);
    info["model"]["width"] = json!(12);
    other.header["__metadata__"]["densecl"] = json!(info.to_string());
    matched(&other.to_bytes()).refused(&["resnet10 of width 12", "resnet10 of width 8"]);

    let missing = sandbox.run("match a b --weights none.safetensors --device cpu");
    missing.refused(&["none.safetensors", "No such file"]);
    let folder = sandbox.run("match a b --weights run --device cpu");
    folder.refused(&["run", "directory"]);
}
