//! `match`, `synth`, `config`, `completions`, the help, and a closed standard output.

use std::process::Stdio;

use crate::sandbox::{Ran, Sandbox};

#[test]
fn more_cells_than_fit_into_memory_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 1 --out run").succeeded();
    sandbox
        .run("synth --out scenes --count 1 --size 64")
        .succeeded();
    sandbox
        .run(
            "match scenes/images/00000_a.png scenes/images/00000_b.png --device cpu --size 2048 \
             --stride 8 --weights run/weights.safetensors",
        )
        .refused(&["--size 2048", "cells are too many", "larger stride"]);
}

#[test]
fn matches_lie_inside_the_pictures() {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 2 --out run").succeeded();
    sandbox
        .run("synth --out scenes --count 1 --size 96")
        .succeeded();
    // The pictures differ in size, and one is not square.
    let whole = sandbox.picture("scenes/images/00000_b.png");
    let part = image::imageops::crop_imm(&whole, 3, 5, 90, 60).to_image();
    part.save(sandbox.path("b.jpg")).expect("a picture");

    let pictures = "match scenes/images/00000_a.png b.jpg --weights run/weights.safetensors";
    let settings = "--device cpu --size 128 --threshold -1 --border-matches";
    for (feature, stride, cell) in [
        ("stage4", "", 32),
        ("stage4", "--stride 8", 8),
        ("stage3", "", 16),
        // Fused features have the finer grid of the two stages.
        ("stage3+stage4", "", 16),
        ("stage3+stage4", "--stride 8", 8),
        ("dense", "--stride 16", 16),
    ] {
        let ran = sandbox.run(&format!(
            "{pictures} {settings} --feature {feature} {stride} --json -"
        ));
        let ran = ran.succeeded();
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(report["feature"], feature);
        assert_eq!(report["cell_a"][0], f64::from(cell), "{feature} {stride}");
        let matches = report["matches"].as_array().expect("a list");
        assert!(!matches.is_empty());
        for found in matches {
            for (side, [width, height]) in [("a", [96.0, 96.0]), ("b", [90.0, 60.0])] {
                let [x, y] = [0, 1].map(|i| found[side][i].as_f64().expect("a number"));
                assert!(
                    (0.0..=width).contains(&x) && (0.0..=height).contains(&y),
                    "{found}"
                );
            }
            assert!((-1.001..=1.001).contains(&found["score"].as_f64().expect("a number")));
        }
        let picture = sandbox.picture("matches.png");
        assert!(picture.width() > 128 && picture.height() > 128);
    }

    // Both pictures are the same, so every cell must match itself. The peak between cells may lie up to half a cell
    // from the centre of the best one.
    sandbox
        .run(&format!("match b.jpg b.jpg --weights run/weights.safetensors {settings} --out m.png --json m.json"))
        .succeeded();
    let report = sandbox.json("m.json");
    let matches = report["matches"].as_array().expect("a list");
    let cell = [0, 1].map(|i| report["cell_a"][i].as_f64().expect("a number"));
    for found in matches {
        let score = found["score"].as_f64().expect("a number");
        assert!(score > 0.999, "{found}");
        for i in [0, 1] {
            let [a, b] = ["a", "b"].map(|side| found[side][i].as_f64().expect("a number"));
            assert!((a - b).abs() <= 0.5 * cell[i], "{found}");
        }
    }
    let [rows, columns] = [0, 1].map(|i| report["grid_a"][i].as_u64().expect("a number"));
    assert_eq!(matches.len() as u64, rows * columns, "{report}");
    assert_eq!(report["left_out_at_border"], 0);
    // Of three by four cells nearly all would be outermost, so none is left out.
    let settings = settings.replace(" --border-matches", "");
    let same = format!("match b.jpg b.jpg --weights run/weights.safetensors {settings}");
    sandbox
        .run(&format!("{same} --json coarse.json"))
        .succeeded();
    let coarse = sandbox.json("coarse.json");
    assert_eq!(coarse["matches"], report["matches"]);
    assert_eq!(coarse["left_out_at_border"], 0);
}

#[test]
fn matches_at_the_border_are_left_out_unless_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 2 --out run").succeeded();
    sandbox
        .run("synth --out scenes --count 1 --size 96")
        .succeeded();
    let same = "match scenes/images/00000_a.png scenes/images/00000_a.png --device cpu --size 128 --stride 16 \
                --threshold -1 --weights run/weights.safetensors --json m.json";
    let run = |arguments: &str| {
        let ran = sandbox.run(&format!("{same} {arguments}")).succeeded();
        (sandbox.json("m.json"), ran.stderr)
    };
    let (whole, _) = run("--border-matches");
    let (kept, said) = run("");
    assert_eq!(whole["grid_a"], serde_json::json!([8, 8]));
    assert_eq!(whole["border_matches"], true);
    assert_eq!(kept["border_matches"], false);
    // A position in an outermost cell is less than a cell away from an edge, because the similarity's peak is moved
    // between cells only where there are cells on both sides.
    let side = 96.0;
    let cell = side / 8.0 - 1e-3;
    let is_inner = |found: &&serde_json::Value| {
        let numbers =
            ["a", "b"].map(|end| [0, 1].map(|i| found[end][i].as_f64().expect("a number")));
        numbers
            .as_flattened()
            .iter()
            .all(|at| (cell..=side - cell).contains(at))
    };
    let all = whole["matches"].as_array().expect("a list");
    let inner: Vec<_> = all.iter().filter(is_inner).cloned().collect();
    assert!(!inner.is_empty() && inner.len() < all.len(), "{whole}");
    assert_eq!(kept["matches"], serde_json::json!(inner));
    let left_out = all.len() - inner.len();
    assert_eq!(kept["left_out_at_border"], left_out);
    let words = format!(
        "{} mutual matches of 64 and 64 cells of 16 x 16 px, without {left_out} at the border",
        inner.len()
    );
    assert!(said.contains(&words), "{said}");
}

#[test]
fn scenes_are_written_as_the_help_says() {
    let sandbox = Sandbox::new();
    sandbox
        .run("synth --out a --count 2 --size 48 --seed 7")
        .succeeded();
    let classes = sandbox.text("a/classes.txt").lines().count();
    for name in ["00000_a", "00000_b", "00001_a", "00001_b"] {
        assert_eq!(
            sandbox
                .picture(&format!("a/images/{name}.png"))
                .dimensions(),
            (48, 48)
        );
        for folder in ["labels", "instances"] {
            let picture = image::open(sandbox.path(&format!("a/{folder}/{name}.png")));
            let picture = picture.expect("a picture").into_luma8();
            assert_eq!(picture.dimensions(), (48, 48));
            if folder == "labels" {
                assert!(
                    picture
                        .pixels()
                        .all(|class| usize::from(class[0]) < classes)
                );
            }
        }
    }
    for name in ["00000_ab", "00000_ba", "00001_ab", "00001_ba"] {
        let bytes = sandbox.read(&format!("a/correspondence/{name}.npy"));
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert!((10 + length).is_multiple_of(64));
        let header = str::from_utf8(&bytes[10..10 + length]).expect("text");
        let expected = "{'descr': '<f4', 'fortran_order': False, 'shape': (48, 48, 2), }";
        assert_eq!(header.trim_end(), expected);
        assert!(header.ends_with('\n'));
        let (values, rest) = bytes[10 + length..].as_chunks::<4>();
        assert_eq!((values.len(), rest.len()), (48 * 48 * 2, 0));
        let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
        let visible = values.iter().filter(|v| !v.is_nan());
        assert!(visible.clone().count() > values.len() / 4);
        assert!(visible.clone().all(|v| (0.0..=48.0).contains(v)), "{name}");
    }
    sandbox
        .run("synth --out b --count 2 --size 48 --seed 7")
        .succeeded();
    let scene = "images/00001_b.png";
    assert_eq!(
        sandbox.read(&format!("a/{scene}")),
        sandbox.read(&format!("b/{scene}"))
    );

    sandbox
        .run("synth --out a --count 1")
        .refused(&["a is not empty", "--out"]);
    sandbox
        .run("synth --out c --count 0")
        .refused(&["--count 0", "at least 1"]);
    sandbox
        .run("synth --out c --count 1 --size 1")
        .refused(&["--size = 1", "16 to 2048"]);
    sandbox
        .run("synth --out c --count 1 --baseline 7")
        .refused(&["--baseline = 7", "0 to 1"]);
    sandbox.write("file", "");
    sandbox
        .run("synth --out file/c --count 1")
        .refused(&["file/c", "--out"]);
    assert!(!sandbox.path("c").exists());
}

#[test]
fn presets_are_listed_and_print_what_they_resolve_to() {
    let sandbox = Sandbox::new();
    let list = sandbox.run("config").succeeded().stdout;
    for preset in [
        "quickstart",
        "densecl_r50_imagenet_200ep",
        "densecl_r50_coco_800ep",
        "mocov2_r50_coco_800ep",
        "photos_r18",
        "photos_r18_gpu",
        "byol_scenes",
        "byol_r50_imagenet",
        "univip_scenes",
        "univip_r50_coco_800ep",
        "3sat_scenes",
        "3sat_r18_cifar10",
    ] {
        assert!(list.lines().any(|line| line.starts_with(preset)), "{list}");
        let toml = sandbox.run(&format!("config {preset}")).succeeded().stdout;
        sandbox.write("mine.toml", &toml);
        assert_eq!(sandbox.run("config mine.toml").succeeded().stdout, toml);
    }
    let set = sandbox
        .run("config quickstart --set optim.lr=0.25")
        .succeeded();
    assert!(set.stdout.contains("lr = 0.25\n"), "{}", set.stdout);
}

#[test]
fn every_command_has_help_with_examples_and_shells_complete() {
    let sandbox = Sandbox::new();
    let mut commands = vec![String::new()];
    let mut seen = 0;
    while let Some(command) = commands.pop() {
        let help = sandbox.run(&format!("{command} --help")).succeeded().stdout;
        assert!(
            help.contains("Example") && help.contains("\n  densecl"),
            "{command}: {help}"
        );
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
        seen += 1;
        let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        let listed = listed.split("\n\n").next().unwrap_or_default();
        // Descriptions that continue on another line are indented further.
        let names = listed.lines().filter(|line| !line.starts_with("   "));
        let names = names.filter_map(|line| line.split_whitespace().next());
        commands.extend(
            names
                .filter(|name| *name != "help")
                .map(|name| format!("{command} {name}")),
        );
    }
    assert!(seen >= 25, "only {seen} commands were found in the help");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sandbox
            .run(&format!("completions {shell}"))
            .succeeded()
            .stdout;
        assert!(script.contains("pretrain"), "{shell}");
    }
    assert!(
        sandbox
            .run("--version")
            .succeeded()
            .stdout
            .starts_with("densecl ")
    );
    let wrong = sandbox.run("pretrian");
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong
            .stderr
            .contains("similar subcommand exists: 'pretrain'"),
        "{}",
        wrong.stderr
    );
}

/// If the reader of the output (a pager, a closed terminal) is gone, a call still succeeds and a run goes on.
#[cfg(unix)]
#[test]
fn closed_pipes_are_no_error() {
    let sandbox = Sandbox::new();
    for arguments in ["config", "config quickstart", "completions bash"] {
        let mut command = sandbox.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        drop(child.stdout.take());
        let ran = Ran::from(child.wait_with_output().expect("it ends"));
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(0), ""),
            "{arguments}"
        );
    }
    let mut child = sandbox.start("--steps 3 --out run --json -");
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(sandbox.json("run/result.json")["steps"], 3);
}
