//! Runs the programs in `examples/` and checks that they do what their headers promise. Cargo builds them
//! before it runs the tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
};

use densecl::device::{DeviceChoice, select};
use densecl_train::events::{Observer, TrainEvent};
use densecl_train::run::{PreparedRun, RunRequest};
use image::{GrayImage, Luma, Rgb, RgbImage};

/// A temporary folder with 20 different pictures in `photos/`.
fn photos() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("photos")).expect("a folder");
    for number in 0..20u32 {
        let pixel =
            |x, y| Rgb([x * 3 + number * 9, y * 5, (x * y) ^ (number * 7)].map(|v| v as u8));
        let picture = RgbImage::from_fn(80, 72, pixel);
        let path = folder.path().join(format!("photos/{number}.png"));
        picture.save(path).expect("a picture");
    }
    folder
}

/// Runs an example in `folder` and returns its standard output.
fn run(example: &str, arguments: &[&str], folder: &Path) -> String {
    let test = std::env::current_exe().expect("a running program has a path");
    let folders = test.ancestors().nth(2).expect("the build folder");
    let program: PathBuf = folders.join("examples").join(example);
    let output = Command::new(&program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; cargo build --release --examples",
                program.display()
            )
        });
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example}: {told}{errors}");
    told
}

/// Adds `labelled/`: eight pictures whose left half has one class and whose right half another.
fn label(folder: &Path) {
    for part in ["images", "labels"] {
        fs::create_dir_all(folder.join("labelled").join(part)).expect("a folder");
    }
    fs::write(folder.join("labelled/classes.txt"), "left\nright\n").expect("a list");
    for number in 0..8u32 {
        let right = |x: u32| u8::from(x >= 32);
        let pixel = |x, y: u32| Rgb([right(x) * 200, ((y * number) % 90) as u8, 40]);
        let picture = RgbImage::from_fn(64, 64, pixel);
        let labels = GrayImage::from_fn(64, 64, |x, _| Luma([right(x)]));
        let path = |part: &str| folder.join(format!("labelled/{part}/{number}.png"));
        picture.save(path("images")).expect("a picture");
        labels.save(path("labels")).expect("labels");
    }
}

/// The five things that the front page of the API documentation lists, with the weights of one run.
#[test]
fn a_folder_is_trained_on_and_its_weights_are_used() {
    let folder = photos();
    let told = run("train_on_a_folder", &["photos", "6"], folder.path());
    for part in [
        "step   5: loss ",
        "% of the matches are right",
        "weights: runs/example/weights.safetensors",
    ] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    let weights = "runs/example/weights.safetensors";
    let arguments = [weights, "photos/1.png", "photos/1.png", "matches.png"];
    let told = run("match_two_pictures", &arguments, folder.path());
    // Both pictures are the same, so every cell must match itself; 18 x 18 are not at the border.
    let cells = "20 x 20 cells of 128 numbers";
    assert!(
        told.contains(cells) && told.contains("324 cells away from the border choose each other"),
        "{told}"
    );
    assert!(folder.path().join("matches.png").exists());

    let told = run("dense_features", &[weights, "photos/1.png"], folder.path());
    // 80 x 72 pixels become 320 x 288, at 16 pixels per cell.
    let cells = "18 x 20 cells of 128 numbers";
    assert!(
        told.contains(cells) && told.contains("has length 1.000"),
        "{told}"
    );

    // Written with torchvision's names, and read again as another program's file.
    for (from, to) in [(weights, "backbone.pth"), ("backbone.pth", "backbone.onnx")] {
        let told = run("convert_weights", &[from, to], folder.path());
        assert!(told.contains(" tensors used"), "{told}");
    }
    let graph = fs::read(folder.path().join("backbone.onnx")).expect("a graph");
    assert!(graph.windows(8).any(|bytes| bytes == b"features"));

    label(folder.path());
    let told = run("evaluate_a_backbone", &[weights, "labelled"], folder.path());
    for part in ["trained", "random", "mIoU %", "pixel accuracy %"] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
}

#[test]
fn a_method_of_ones_own_is_trained_and_logged() {
    let folder = photos();
    let told = run("a_method_of_your_own", &["photos", "11"], folder.path());
    assert!(told.contains("step  11: loss "), "{told}");
    let log = fs::read_to_string(folder.path().join("runs/simclr/metrics.jsonl")).expect("a log");
    let losses: Vec<f64> = log
        .lines()
        .map(|row| {
            serde_json::from_str::<serde_json::Value>(row).expect("JSON")["loss"]
                .as_f64()
                .expect("a number")
        })
        .collect();
    assert!(
        losses.iter().all(|loss| loss.is_finite()) && losses.len() == 3,
        "{losses:?}"
    );
    let weights = fs::read(folder.path().join("runs/simclr/weights.safetensors")).expect("weights");
    let metadata = String::from_utf8_lossy(&weights[..4096]).replace('\\', "");
    assert!(metadata.contains(r#""method":"simclr""#), "{metadata}");
    for file in [
        "curves.png",
        "checkpoints/step_00000011.safetensors",
        "weights.safetensors",
    ] {
        assert!(
            folder.path().join("runs/simclr").join(file).exists(),
            "{file}"
        );
    }
}

struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: &TrainEvent) -> anyhow::Result<()> {
        Ok(())
    }
}

#[test]
fn the_boxes_and_the_plan_of_a_run_are_drawn() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run");
    let sets = [
        "train.steps=2",
        "data.scene_count=16",
        "scenes.size=64",
        "views.instances.min_side=8",
        "model.width=8",
        "method.projector_hidden=16",
        "method.projector_dim=8",
        "eval.pairs=0",
    ];
    let request = RunRequest {
        config: Some("univip_scenes".to_string()),
        sets: sets.map(String::from).to_vec(),
        out: Some(out.clone()),
        ..RunRequest::default()
    };
    let device = pollster::block_on(select(DeviceChoice::Cpu)).expect("always there");
    let prepared = PreparedRun::new(&request).expect("valid settings");
    let ended = prepared.run(&device, Box::new(Silent), &AtomicBool::new(false));
    ended.expect("a run").expect("not stopped");
    let arguments = ["run", "plan.png"];
    run("boxes_and_plan", &arguments, folder.path());
    let drawn = image::open(folder.path().join("plan.png"))
        .expect("a picture")
        .to_rgb8();
    // Three rows of 320 px with two gaps; the picture is as wide as high, and so is the plan.
    assert_eq!(drawn.dimensions(), (320 + 8 + 320, 3 * 320 + 2 * 8));
    let colours: std::collections::BTreeSet<[u8; 3]> = drawn.pixels().map(|p| p.0).collect();
    assert!(colours.len() > 100, "{}", colours.len());
}
