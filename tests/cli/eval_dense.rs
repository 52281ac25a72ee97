//! `eval correspondence`, `linear-seg` and `knn-seg`: their figures, and their errors for bad input.

use image::{GrayImage, Rgb, RgbImage};
use serde_json::Value;

use crate::sandbox::Sandbox;

const NETWORK: &str = "--device cpu --weights random:resnet10";

/// The figure `name` of backbone number `index`.
fn figure<'a>(report: &'a Value, index: usize, name: &str) -> &'a Value {
    let figures = report["backbones"][index]["figures"].as_array();
    let mut figures = figures.expect("figures").iter();
    let found = figures.find(|figure| figure["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {report}"))
}

fn mean(report: &Value, name: &str) -> f64 {
    figure(report, 0, name)["mean"].as_f64().expect("a number")
}

fn report(sandbox: &Sandbox, arguments: &str) -> Value {
    let ran = sandbox
        .run(&format!("eval {arguments} --json -"))
        .succeeded();
    serde_json::from_str(&ran.stdout).expect("JSON and nothing else")
}

#[test]
fn a_run_for_each_seed_is_one_backbone() {
    let sandbox = Sandbox::new();
    sandbox
        .run("synth --out set --count 2 --size 96")
        .succeeded();
    for seed in [0, 1] {
        sandbox
            .pretrain(&format!("--steps 2 --seed {seed} --out run_{seed}"))
            .succeeded();
    }
    let task = "correspondence --device cpu --data set --size 96 --stride 8 --seeds 2";
    let of = |weights: &str| {
        let report = report(&sandbox, &format!("{task} --weights {weights}"));
        figure(&report, 0, "PCK@0.1").clone()
    };
    let alone = [0, 1].map(|seed| of(&format!("run_{seed}/weights.safetensors"))["mean"].clone());
    assert_ne!(alone[0], alone[1]);
    let together = of("mine=run_{seed}/weights.safetensors");
    assert_eq!(together["values"], serde_json::json!(alone));
    assert_eq!(together["interval_over"], "seeds");
    // A bare `random` beside it has the architecture of the file of the first seed; that of seed 0 need not be there.
    let both = report(
        &sandbox,
        "correspondence --device cpu --data set --size 96 --stride 8 --seed 1 \
         --weights mine=run_{seed}/weights.safetensors --weights random",
    );
    let [mine, random] = [0, 1].map(|column| &both["backbones"][column]);
    assert_eq!(random["name"], "random");
    assert_eq!(random["training"], serde_json::Value::Null);
    assert_eq!(random["model"], mine["model"]);

    // `compare` stores the figures of each seed's weights file, and reuses them in the second run.
    let compare = "eval compare --weights mine=run_{seed}/weights.safetensors --corr set --size 96 \
                   --device cpu --out out --seeds";
    sandbox.run(&format!("{compare} 2")).succeeded();
    let values = sandbox.json("out/compare.json")["parts"][0]["columns"][0][0]["values"].clone();
    assert_eq!(values.as_array().map(Vec::len), Some(2));
    let again = sandbox.run(&format!("{compare} 2")).succeeded();
    assert!(
        again.stderr.contains("2 of 2 seeds known"),
        "{}",
        again.stderr
    );
    sandbox
        .run(&format!("{compare} 3"))
        .refused(&["mine", "run_2/weights.safetensors"]);
}

#[test]
fn scenes_are_matched_better_than_by_chance_and_the_same_each_time() {
    let sandbox = Sandbox::new();
    sandbox
        .run("synth --out set --count 4 --size 96")
        .succeeded();
    sandbox.pretrain("--steps 2 --out run").succeeded();
    let arguments = "correspondence --device cpu --weights run/weights.safetensors --weights random \
                     --data set --size 96 --stride 8 --seeds 2";
    let first = report(&sandbox, arguments);
    assert_eq!(first, report(&sandbox, arguments));

    assert_eq!(first["task"], "correspondence");
    assert_eq!(first["protocol"]["look"]["stride"], 8);
    assert_eq!(first["protocol"]["pairs"], 4);
    assert_eq!(first["seeds"], serde_json::json!([0, 1]));
    let backbones = first["backbones"].as_array().expect("two backbones");
    let names: Vec<&Value> = backbones.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["run", "random"]);
    assert_eq!(backbones[0]["training"]["steps"], 2);
    assert_eq!(backbones[1]["training"], Value::Null);
    // `random` is an untrained network with the architecture of the weights file.
    assert_eq!(backbones[0]["model"], backbones[1]["model"]);
    // A weights file gives one network and one value; `random` gives a different network for each seed.
    let pck = |index| figure(&first, index, "PCK@0.1").clone();
    assert_eq!(pck(0)["values"].as_array().map(Vec::len), Some(1));
    assert_eq!(pck(0)["interval_over"], "pictures");
    assert_eq!(pck(1)["values"].as_array().map(Vec::len), Some(2));
    assert_eq!(pck(1)["interval_over"], "seeds");
    for index in [0, 1] {
        let value = |name: &str| {
            figure(&first, index, name)["mean"]
                .as_f64()
                .expect("a number")
        };
        assert!(
            value("PCK@0.1") > 2.0 * value("PCK@0.1 by chance"),
            "{first}"
        );
        assert!(value("PCK@0.05") <= value("PCK@0.1"));
        assert!(value("end-point error") < value("end-point error by chance"));
        for suffix in ["", " without border"] {
            let near = value(&format!("mutual precision@0.05{suffix}"));
            let nearby = value(&format!("mutual precision@0.1{suffix}"));
            assert!(0.0 < near && near <= nearby && nearby <= 1.0, "{first}");
        }
    }
    assert_eq!(
        figure(&first, 0, "PCK@0.1 by chance")["higher_is_better"],
        Value::Null
    );
    assert_eq!(
        figure(&first, 0, "end-point error")["higher_is_better"],
        false
    );
    let pairs = backbones[0]["details"][0]["pairs"]
        .as_array()
        .expect("pairs");
    assert_eq!(pairs.len(), 4);
    assert!(sandbox.picture("correspondence.png").width() >= 2 * 96);
}

#[test]
fn a_picture_moved_by_whole_cells_is_matched_exactly() {
    let sandbox = Sandbox::new();
    sandbox
        .run("synth --out set --count 1 --size 160")
        .succeeded();
    let whole = sandbox.picture("set/images/00000_a.png");
    let cut = |x| image::imageops::crop_imm(&whole, x, 16, 128, 128).to_image();
    sandbox.write("pair/H_1_2.txt", "1 0 -32\n0 1 0\n0 0 1\n");
    cut(0).save(sandbox.path("pair/1.png")).expect("a picture");
    cut(32).save(sandbox.path("pair/2.png")).expect("a picture");
    sandbox.write(
        "points.csv",
        "image_a,image_b,xa,ya,xb,yb\npair/1.png,pair/2.png,60,60,28,60\npair/1.png,pair/2.png,90.5,40,58.5,40\n",
    );
    for (data, points, feature) in [
        ("pair", 192.0, "stage3"),
        ("points.csv", 2.0, "stage3"),
        ("pair", 192.0, "stage3+stage4"),
    ] {
        let found = report(
            &sandbox,
            &format!(
                "correspondence {NETWORK} --data {data} --size 128 --stride 8 --feature {feature}"
            ),
        );
        assert_eq!(found["protocol"]["look"]["feature"], feature);
        assert_eq!(mean(&found, "points"), points);
        assert!(mean(&found, "PCK@0.1") > 0.7, "{found}");
        // The second picture is shifted by 32 of 128 pixels, so matching the same place is off by 32 pixels.
        assert!((mean(&found, "end-point error at the same place") - 32.0).abs() < 1e-3);
    }
}

#[test]
fn features_of_scenes_tell_classes_apart() {
    let sandbox = Sandbox::new();
    sandbox
        .run("synth --out set --count 12 --size 96")
        .succeeded();
    for task in ["linear-seg --steps 150 --pixels 64", "knn-seg --bank 2000"] {
        let arguments = format!("{task} {NETWORK} --data set --size 96 --stride 8 --seeds 2");
        let first = report(&sandbox, &arguments);
        assert_eq!(first, report(&sandbox, &arguments), "{task}");
        assert_eq!(first["protocol"]["data"]["train"]["pictures"], 18);
        assert_eq!(first["protocol"]["data"]["test"]["pictures"], 6);
        let values = figure(&first, 0, "mIoU")["values"].clone();
        assert_ne!(
            values[0], values[1],
            "two random networks have the same figure"
        );
        assert!(
            mean(&first, "mIoU") > mean(&first, "mIoU of the commonest class"),
            "{first}"
        );
        assert!(
            mean(&first, "pixel accuracy") > mean(&first, "pixel accuracy of the commonest class"),
            "{first}"
        );
        let details = &first["backbones"][0]["details"][0];
        assert_eq!(
            details["iou"].as_object().map(serde_json::Map::len),
            Some(15)
        );
        let name = task.split(' ').next().expect("a name");
        let picture = sandbox.picture(&format!("{name}.png"));
        assert!(
            picture.width() > 600,
            "too narrow for picture, truth and prediction"
        );
    }
    // With another seed the head on the same backbone is trained differently.
    sandbox.pretrain("--steps 1 --out run").succeeded();
    let arguments = "linear-seg --device cpu --weights run/weights.safetensors --data set --size 96 \
                     --steps 30 --seeds 2 --seed 7";
    let found = report(&sandbox, arguments);
    assert_eq!(found["seeds"], serde_json::json!([7, 8]));
    let values = figure(&found, 0, "pixel accuracy")["values"].clone();
    assert_ne!(values[0], values[1]);
}

#[test]
fn fine_tuning_lowers_its_loss() {
    let sandbox = Sandbox::new();
    sandbox
        .run("synth --out set --count 4 --size 64")
        .succeeded();
    sandbox.pretrain("--steps 1 --out run").succeeded();
    let arguments = "linear-seg --fine-tune --device cpu --weights run/weights.safetensors --data set \
                     --size 64 --crop 64 --batch-size 4 --steps 40";
    // With fused features the gradient flows into two stages; at stride 32 stage 4 is interpolated, too.
    for look in [
        "",
        "--feature stage3+stage4",
        "--feature stage3+stage4 --stride 32",
    ] {
        let found = report(&sandbox, &format!("{arguments} {look}"));
        assert_eq!(found["task"], "fine-tune-seg");
        let losses = &found["backbones"][0]["details"][0]["loss_every_10_steps"];
        let loss = |i: usize| losses[i].as_f64().expect("a loss");
        assert_eq!(losses.as_array().map(Vec::len), Some(5));
        assert!(loss(4) < 0.9 * loss(0), "{look}: {losses}");
        assert!((0.0..=1.0).contains(&mean(&found, "mIoU")));
    }
}

#[test]
fn bad_labels_are_one_line_with_the_file() {
    let sandbox = Sandbox::new();
    let refused = |parts: &[&str]| {
        for task in [
            "linear-seg --steps 1",
            "linear-seg --fine-tune --steps 1",
            "knn-seg",
        ] {
            let line = format!("eval {task} {NETWORK} --data set --size 32");
            sandbox.run(&line).refused(parts);
        }
    };
    let label = |name: &str, value: u8| {
        let path = sandbox.path(&format!("set/labels/{name}.png"));
        GrayImage::from_pixel(40, 32, image::Luma([value]))
            .save(path)
            .expect("a label");
    };
    sandbox.write("set/classes.txt", "a\nb\n");
    for name in ["0", "1"] {
        sandbox.write(&format!("set/labels/{name}.png"), "");
        sandbox.write(&format!("set/images/{name}.png"), "");
        let path = sandbox.path(&format!("set/images/{name}.png"));
        RgbImage::from_pixel(40, 32, Rgb([90; 3]))
            .save(path)
            .expect("a picture");
        label(name, 1);
    }
    sandbox.write("set/train.txt", "0\n");
    refused(&["test.txt"]);
    sandbox.write("set/test.txt", "1\n");
    label("0", 2);
    refused(&["labels/0.png", "class 2", "2 classes"]);
    label("0", 255);
    refused(&["set", "no pixel of the split train has a class"]);
    label("0", 0);
    label("1", 255);
    refused(&["set", "no pixel of the split test has a class"]);
    RgbImage::new(40, 32)
        .save(sandbox.path("set/labels/0.png"))
        .expect("a picture");
    refused(&["labels/0.png", "RGB"]);
    GrayImage::new(32, 40)
        .save(sandbox.path("set/labels/0.png"))
        .expect("a picture");
    refused(&["labels/0.png: 32 x 40", "images/0.png has 40 x 32"]);
    std::fs::remove_file(sandbox.path("set/labels/0.png")).expect("removed");
    refused(&["images/0.png has no label", "labels/0.png"]);
    sandbox.write("set/labels/0.png", "no picture");
    refused(&["labels/0.png: not a whole PNG"]);
}

#[test]
fn bad_pairs_and_settings_are_one_line() {
    let sandbox = Sandbox::new();
    sandbox
        .run("synth --out set --count 1 --size 64")
        .succeeded();
    let correspondence = |arguments: &str| sandbox.run(&format!("eval correspondence {arguments}"));
    let network = "--device cpu --weights random:resnet10";
    correspondence(&format!("{network} --data nowhere")).refused(&["nowhere"]);
    correspondence(&format!("{network} --data scenes:0")).refused(&["scenes:0", "scenes:100"]);
    correspondence(&format!("{network} --data set --stride 4"))
        .refused(&["--stride 4", "8, 16 or 32"]);
    correspondence(&format!("{network} --data set --size 5")).refused(&["--size 5"]);
    correspondence(&format!("{network} --data set --size 2048 --stride 8"))
        .refused(&["--size 2048", "cells are too many"]);
    correspondence(&format!("{network} --data set --out a.jpg")).refused(&["a.jpg", ".png"]);
    correspondence(&format!("{network} --data set --out no/a.png")).refused(&["no"]);
    correspondence("--device cpu --weights random --data set").refused(&["random:resnet18"]);
    correspondence("--device cpu --weights random:vit --data set").refused(&["vit", "resnet50"]);
    correspondence("--device cpu --weights set/classes.txt --data set").refused(&["classes.txt"]);
    let pretrained = format!("{network} {network} --data set").replacen("--device cpu", "", 1);
    correspondence(&pretrained).refused(&["called random:resnet10", "NAME="]);

    let field = sandbox.read("set/correspondence/00000_ab.npy");
    sandbox.write("set/correspondence/00000_ab.npy", &field[..field.len() - 4]);
    correspondence(&format!("{network} --data set")).refused(&["00000_ab.npy"]);
    sandbox.write("set/correspondence/00000_ab.npy", &field);
    RgbImage::new(32, 64)
        .save(sandbox.path("set/images/00000_a.png"))
        .expect("a picture");
    correspondence(&format!("{network} --data set"))
        .refused(&["00000_ab.npy is for 64 x 64", "00000_a.png has 32 x 64"]);
}
