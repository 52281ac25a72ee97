//! `eval detect`, `knn`, `linear` and `compare` on small generated data sets.

use std::fs;

use image::{Rgb, RgbImage};

use crate::sandbox::Sandbox;

/// Makes scenes with boxes, the same for training and for validation, and the weights of a tiny run.
fn scenes(sandbox: &Sandbox) {
    sandbox.run("synth --out s --count 2 --size 96").succeeded();
    for name in sandbox.names("s/images") {
        for part in ["train", "val"] {
            sandbox.write(
                &format!("d/images/{part}/{name}"),
                sandbox.read(&format!("s/images/{name}")),
            );
            let label = name.replace(".png", ".txt");
            let text = sandbox.text(&format!("s/labels/{label}"));
            sandbox.write(&format!("d/labels/{part}/{label}"), text);
        }
    }
    sandbox.write("d/classes.txt", sandbox.read("s/classes.txt"));
    weights(sandbox);
}

fn weights(sandbox: &Sandbox) {
    sandbox
        .pretrain("--steps 1 --out run --overwrite")
        .succeeded();
}

const WEIGHTS: &str = "--weights run/weights.safetensors --device cpu";

/// Makes pictures of two classes that differ in colour, with random brightness.
fn colours(sandbox: &Sandbox, folder: &str, count: u32) {
    for (class, weight) in [("red", [4, 1, 1]), ("blue", [1, 1, 4])] {
        for i in 0..count {
            let picture = RgbImage::from_fn(64, 48, |x, y| {
                let noise = (x * 37 + y * 101 + i * 17) % 23 + 12 + 3 * (i % 5);
                Rgb(weight.map(|w| (w * noise) as u8))
            });
            let path = sandbox.path(&format!("{folder}/{class}/{i}.png"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            picture.save(path).expect("a picture");
        }
    }
}

#[test]
fn a_fine_tuned_detector_learns_a_handful_of_scenes() {
    let sandbox = Sandbox::new();
    scenes(&sandbox);
    let detect = format!(
        "eval detect {WEIGHTS} --data d --size 96 --stride 8 --batch-size 4 --lr 0.05 --fine-tune"
    );
    let ap50 = |steps: u32| {
        let ran = sandbox.run(&format!(
            "{detect} --steps {steps} --json r.json --out r.png"
        ));
        let ran = ran.succeeded();
        assert!(ran.stdout.contains("AP50 %"), "{}", ran.stdout);
        let report = sandbox.json("r.json");
        assert_eq!(report["task"], "fine-tune-detect");
        assert_eq!(report["protocol"]["val_pictures"], 4);
        let figure = &report["backbones"][0]["figures"][1];
        assert_eq!(figure["name"], "AP50");
        figure["mean"].as_f64().expect("a share")
    };
    let (before, after) = (ap50(1), ap50(200));
    // Measured on the CPU: 0.000 after 1 step and 0.488 after 200.
    assert!(before < 0.05, "{before}");
    assert!(after > 0.3, "{after}");
    let picture = sandbox.picture("r.png");
    assert!(picture.width() >= 640 && picture.height() >= 240);
}

#[test]
fn a_frozen_detector_is_a_pure_function_of_its_seed() {
    let sandbox = Sandbox::new();
    scenes(&sandbox);
    let detect =
        format!("eval detect {WEIGHTS} --data d --size 96 --stride 16 --steps 12 --json -");
    let run = |seed: u32| {
        sandbox
            .run(&format!("{detect} --seed {seed}"))
            .succeeded()
            .stdout
    };
    let first = run(3);
    assert_eq!(run(3), first);
    assert_ne!(run(4), first);
}

#[test]
fn colours_are_told_apart_by_neighbours_and_by_a_linear_layer() {
    let sandbox = Sandbox::new();
    weights(&sandbox);
    colours(&sandbox, "c", 12);
    for (task, options) in [("knn", "--k 3"), ("linear", "--epochs 40 --seeds 2")] {
        let ran = sandbox.run(&format!(
            "eval {task} {WEIGHTS} --data c --size 64 {options} --json {task}.json"
        ));
        assert!(ran.succeeded().stdout.contains("top-1 %"));
        let report = sandbox.json(&format!("{task}.json"));
        let figures = &report["backbones"][0]["figures"];
        assert_eq!(report["protocol"]["val_pictures"], 6);
        assert!(
            figures[0]["mean"].as_f64().expect("a share") > 0.9,
            "{figures}"
        );
        // The second figure is the share of the commonest class; the two classes are equally frequent.
        assert_eq!(figures[1]["mean"], 0.5);
        assert!(sandbox.picture(&format!("{task}.png")).width() > 100);
    }
}

/// A green and a red picture are told apart after an attack that is too small, and not after one that may do anything.
#[test]
fn an_attack_in_pixels_has_the_size_it_is_said_to_have() {
    let sandbox = Sandbox::new();
    weights(&sandbox);
    colours(&sandbox, "c", 12);
    let robust = "eval robust --data c --epochs 40 --fine-tune-epochs 4 --attack-steps 10 --epsilon 1/255 --epsilon 1";
    let ran = sandbox.run(&format!("{robust} {WEIGHTS} --json robust.json"));
    let table = ran.succeeded().stdout;
    assert!(
        table.contains("linear, PGD-10 at 1/255")
            && table.contains("fine-tuned, PGD-10 at 255/255")
    );
    let report = sandbox.json("robust.json");
    assert_eq!(report["task"], "robust");
    assert_eq!(report["protocol"]["attacks"][0]["steps"], 10);
    let figures = report["backbones"][0]["figures"]
        .as_array()
        .expect("figures");
    let mean = |at: usize| figures[at]["mean"].as_f64().expect("a share");
    for first in [0, 3] {
        assert!(mean(first) > 0.9, "{figures:?}");
        // The larger attack includes the smaller one.
        assert!(mean(first + 1) <= mean(first), "{figures:?}");
        assert!(mean(first + 2) < mean(first + 1), "{figures:?}");
    }
    let details = &report["backbones"][0]["details"][0];
    assert!(details["linear"][0]["robust"]["1/255"].is_u64());
    assert!(sandbox.picture("robust.png").width() > 300);

    let again = |options: &str| {
        let run = format!("{robust} {WEIGHTS} --classifier linear --json - {options}");
        sandbox.run(&run).succeeded().stdout
    };
    let first = again("");
    assert_eq!(again(""), first);
    assert!(!first.contains("fine-tuned, clean"));
    assert_ne!(again("--seed 1"), first);
}

#[test]
fn objects_of_scenes_are_labelled_data() {
    let sandbox = Sandbox::new();
    weights(&sandbox);
    for (task, options) in [
        ("knn", "--k 3"),
        ("linear", "--epochs 5"),
        ("robust", "--epochs 5 --fine-tune-epochs 1 --attack-steps 1"),
    ] {
        let run = format!(
            "eval {task} {WEIGHTS} --data scenes:8 --size 32 --limit 24 --json {task}.json {options}"
        );
        sandbox.run(&run).succeeded();
        let report = sandbox.json(&format!("{task}.json"));
        assert_eq!(report["protocol"]["classes"], 13);
        assert_eq!(report["protocol"]["train_pictures"], 24);
    }
    sandbox
        .run(&format!("eval knn {WEIGHTS} --data scenes:2"))
        .refused(&["--data scenes:2", "scenes:4 or more"]);
}

#[test]
fn a_comparison_is_kept_and_grows() {
    let sandbox = Sandbox::new();
    scenes(&sandbox);
    colours(&sandbox, "c", 4);
    let compare = "eval compare --weights random,run/weights.safetensors --det d --classify c \
        --corr s --size 96 --steps 2 --device cpu --out out";
    let first = sandbox.run(&format!("{compare} --seeds 1")).succeeded();
    for name in [
        "compare.txt",
        "compare.md",
        "compare.json",
        "compare.png",
        "cells.json",
    ] {
        assert!(sandbox.path(&format!("out/{name}")).exists(), "{name}");
    }
    let markdown = sandbox.text("out/compare.md");
    assert!(
        markdown.starts_with("| task | figure | random | run |\n"),
        "{markdown}"
    );
    for task in ["correspondence s", "detect d", "knn c", "linear c"] {
        assert!(markdown.contains(&format!("| {task} |")), "{markdown}");
    }
    assert_eq!(sandbox.text("out/compare.txt"), first.stdout);
    let seeds = |sandbox: &Sandbox| -> usize {
        sandbox
            .json("out/cells.json")
            .as_array()
            .expect("a list")
            .len()
    };
    assert_eq!(seeds(&sandbox), 8);

    // A second run measures nothing: it reads all figures from out/cells.json.
    let cells = sandbox.read("out/cells.json");
    let again = sandbox.run(&format!("{compare} --seeds 1")).succeeded();
    assert_eq!(again.stdout, first.stdout);
    assert!(
        again.stderr.contains("1 of 1 seeds known"),
        "{}",
        again.stderr
    );
    assert_eq!(sandbox.read("out/cells.json"), cells);

    // A second seed adds the figures that depend on it: all 4 of the untrained network, and those of the
    // detector and the linear layer on the trained one.
    let grown = sandbox.run(&format!("{compare} --seeds 2")).succeeded();
    assert!(grown.stdout.contains('±'), "{}", grown.stdout);
    assert_eq!(seeds(&sandbox), 8 + 4 + 2);

    sandbox.write("out/cells.json", "[");
    sandbox
        .run(&format!("{compare} --seeds 1"))
        .refused(&["cells.json is damaged", "delete it"]);
    sandbox
        .run("eval compare --weights random:resnet10 --out o2")
        .refused(&["--seg", "--corr", "--det", "--classify"]);
}

#[test]
fn bad_data_and_settings_are_refused_in_a_line() {
    let sandbox = Sandbox::new();
    weights(&sandbox);
    sandbox.pictures("p/images", 8);
    let detect = format!("eval detect {WEIGHTS} --data p");
    sandbox
        .run(&detect)
        .refused(&["p: no boxes found", "YOLO", "VOC", "COCO"]);
    sandbox.write("p/classes.txt", "cat\n");
    sandbox.write("p/labels/x.txt", "");
    sandbox
        .run(&detect)
        .refused(&["none of 8 pictures has labels", "labels/001.txt"]);
    for name in sandbox.names("p/images") {
        if name != "below" {
            let label = name[..3].to_string() + ".txt";
            sandbox.write(&format!("p/labels/{label}"), "");
        }
    }
    for i in [0, 4] {
        sandbox.write(&format!("p/labels/below/{i:03}.txt"), "");
    }
    sandbox
        .run(&detect)
        .refused(&["p: the pictures for training have no object"]);
    let wrong = "0 0.5 0.5 1.9 0.5\n".repeat(4);
    sandbox.write("p/labels/003.txt", format!("0 0.5 0.5 0.5 0.5\n{wrong}"));
    sandbox.run(&detect).refused(&[
        "4 of 5 objects are wrong",
        "labels/003.txt: line 2",
        "outside its picture of 48 x 40",
    ]);
    sandbox
        .run("eval detect --weights random:resnet10 --data nowhere")
        .refused(&["nowhere", "folder"]);
    sandbox
        .run(&format!("eval knn {WEIGHTS} --data p/images"))
        .refused(&["p/images: found 1 classes", "at least 2"]);
    sandbox
        .run(&format!("eval linear {WEIGHTS} --data nowhere"))
        .refused(&["nowhere cannot be read"]);

    scenes(&sandbox);
    for (options, parts) in [
        ("--size 100", &["--size 100", "multiple of 32"][..]),
        ("--steps 0", &["--steps 0"]),
        ("--batch-size 0", &["--batch-size 0"]),
        ("--lr -1", &["--lr -1", "above 0"]),
        ("--lr 1e30 --steps 30 --size 96", &["not finite", "--lr"]),
        (
            "--feature dense --fine-tune",
            &["--feature dense", "stage4"],
        ),
        ("--stride 7", &["--stride 7", "8, 16 or 32"]),
    ] {
        let run = format!("eval detect {WEIGHTS} --data d {options}");
        sandbox.run(&run).refused(parts);
    }
    colours(&sandbox, "c", 4);
    for (task, options, parts) in [
        ("knn", "--k 0", &["--k 0"][..]),
        ("knn", "--temperature 0", &["--temperature 0"]),
        ("linear", "--epochs 0", &["--epochs 0"]),
        ("linear", "--lr nan", &["--lr NaN"]),
        ("robust", "--epsilon 0", &["--epsilon = 0", "above 0"]),
        (
            "robust",
            "--epsilon 256/255",
            &["--epsilon = 1.0", "at most 1"],
        ),
        (
            "robust",
            "--attack-step 3/255",
            &["--attack-step = 0.01", "at most --epsilon"],
        ),
        (
            "robust",
            "--attack-steps 0",
            &["--attack-steps = 0", "1 to 10,000"],
        ),
        ("robust", "--fine-tune-epochs 0", &["--fine-tune-epochs 0"]),
    ] {
        let run = format!("eval {task} {WEIGHTS} --data c --size 64 {options}");
        sandbox.run(&run).refused(parts);
    }
    let wrong = sandbox.run(&format!("eval robust {WEIGHTS} --data c --epsilon eight"));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("\"eight\"") && wrong.stderr.contains("8/255"));
    sandbox
        .run(&format!("eval robust {WEIGHTS} --data c --size 40"))
        .refused(&["--size 40", "multiple of 32"]);
    // A file that is not a picture.
    sandbox.write("c/red/0.png", "no picture");
    sandbox
        .run(&format!("eval knn {WEIGHTS} --data c --size 64"))
        .refused(&["c/red/0.png", "not a JPEG, PNG, WebP or PNM"]);
}
