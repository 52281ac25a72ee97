//! Whole runs, and the files they write.

use serde_json::Value;

use crate::sandbox::Sandbox;

#[test]
fn a_run_leaves_weights_figures_and_pictures() {
    let sandbox = Sandbox::new();
    let ran = sandbox
        .pretrain("--steps 3 --seed 5 --out runs/a --json -")
        .succeeded();

    let result = sandbox.json("runs/a/result.json");
    let printed: Value = serde_json::from_str(&ran.stdout).expect("only JSON on standard output");
    assert_eq!(printed, result);
    for accuracy in ["before", "after"] {
        let value = &result[format!("correspondence_accuracy_{accuracy}")];
        assert!((0.0..=1.0).contains(&value.as_f64().expect("a number")));
    }
    assert_eq!(
        result["correspondence_feature"],
        sandbox.json("runs/a/before.json")["feature"]
    );
    assert_eq!(result["pairs"], 2);
    assert_eq!(result["seed"], 5);
    assert_eq!(result["steps"], 3);
    assert_eq!(result["device"], "cpu");
    assert_eq!(result["interrupted"], false);
    assert_eq!(result["bad_files"], 0);
    assert!(result["seconds"].as_f64().expect("a number") > 0.0);
    // The run takes less than an hour, so hour 0 has all of its memory figures.
    let resident = &result["resident_bytes_by_hour"];
    let bytes = resident["0"].as_u64().expect("bytes");
    assert!((10 << 20..16 << 30).contains(&bytes), "{resident}");

    assert_eq!(sandbox.metrics("runs/a").len(), 3);
    assert_eq!(
        sandbox.names("runs/a/checkpoints"),
        ["step_00000003.safetensors"]
    );
    let events = sandbox.names("runs/a/tensorboard");
    assert!(
        events.len() == 1 && events[0].starts_with("events.out.tfevents."),
        "{events:?}"
    );
    let info = sandbox.weights_info("runs/a");
    assert_eq!(
        (&info["method"], &info["steps"]),
        (&"densecl".into(), &3.into())
    );
    // The weights contain the settings of the run, in a form that can be used for another run.
    assert_eq!(info["config"], sandbox.text("runs/a/config.toml"));
    sandbox.run("config runs/a/config.toml").succeeded();
    let (before, both) = (
        sandbox.picture("runs/a/matches_before.png"),
        sandbox.picture("runs/a/matches.png"),
    );
    assert!(both.height() > 2 * before.height());

    // Parts of what the user reads on the terminal.
    for said in [
        "device: cpu",
        "16 images from scenes",
        "held-out pairs",
        "step 3/3",
        "densecl match",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    assert_eq!(ran.stderr.matches("step 3/3").count(), 1, "{}", ran.stderr);

    let curves = sandbox.read("runs/a/curves.png");
    std::fs::remove_file(sandbox.path("runs/a/curves.png")).expect("removed");
    let plotted = sandbox.run("plot runs/a").succeeded();
    assert_eq!(plotted.stdout, "runs/a/curves.png\nruns/a/matches.png\n");
    assert_eq!(sandbox.read("runs/a/curves.png"), curves);
    assert_eq!(sandbox.picture("runs/a/matches.png"), both);
}

#[test]
fn before_and_after_are_measured_by_one_feature() {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 1 --out run").succeeded();
    let measured = sandbox.json("run/before.json");
    // Changes before.json into that of an older program, which measured with another feature.
    let mut other = measured.clone();
    (other["feature"], other["accuracy"]) = ("stage1".into(), 0.987.into());
    sandbox.write("run/before.json", other.to_string());
    let drawn = sandbox.read("run/matches.png");
    sandbox.run("plot run").succeeded();
    assert_ne!(
        sandbox.read("run/matches.png"),
        drawn,
        "the second half is not drawn with the feature of before.json"
    );
    sandbox
        .run("pretrain --resume run --steps 2 --json result.json")
        .succeeded();
    assert_eq!(sandbox.json("run/before.json"), measured);
    let result = sandbox.json("result.json");
    assert_eq!(
        result["correspondence_accuracy_before"],
        measured["accuracy"]
    );
    assert_eq!(result["correspondence_feature"], measured["feature"]);
}

#[test]
fn folders_and_lists_of_every_format_are_trained_on() {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 24);
    let ran = sandbox
        .pretrain("--epochs 1 --data photos --out a")
        .succeeded();
    let said = "23 images from photos (1 more are held out for the measurement)";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    let result = sandbox.json("a/result.json");
    // One picture in 20 is held out of training.
    assert_eq!(
        (&result["images"], &result["pairs"]),
        (&23.into(), &1.into())
    );
    assert_eq!(result["steps"], 5);

    let list = "# mine\n\n001.png\n002.webp\nbelow/000.jpg\n003.jpg\n005.webp\n";
    sandbox.write("photos/list.txt", list);
    sandbox
        .pretrain("--steps 1 --data photos/list.txt --set method.queue=4 --out b")
        .succeeded();
    let result = sandbox.json("b/result.json");
    assert_eq!(
        (&result["images"], &result["pairs"]),
        (&5.into(), &0.into())
    );
    assert_eq!(result["correspondence_accuracy_after"], Value::Null);
}

#[test]
fn an_earlier_run_is_replaced_only_when_asked_and_only_by_one_that_starts() {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 2 --out run").succeeded();
    sandbox.write("run/notes.txt", "mine");
    let weights = sandbox.read("run/weights.safetensors");

    let again = sandbox.pretrain("--steps 2 --out run");
    again.refused(&[
        "run already holds a run (at step 2)",
        "--resume run",
        "--overwrite",
        "--out",
    ]);
    let mistyped = sandbox.pretrain("--steps 1 --out run --overwrite --data fotos");
    mistyped.refused(&["fotos does not exist"]);
    assert_eq!(sandbox.read("run/weights.safetensors"), weights);

    sandbox
        .pretrain("--steps 1 --seed 9 --out run --overwrite")
        .succeeded();
    assert_ne!(sandbox.read("run/weights.safetensors"), weights);
    assert_eq!(sandbox.metrics("run").len(), 1);
    assert_eq!(
        sandbox.names("run/checkpoints"),
        ["step_00000001.safetensors"]
    );
    assert_eq!(sandbox.text("run/notes.txt"), "mine");
}

#[test]
fn a_config_toml_of_something_else_is_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("project/config.toml", "theme = \"mine\"\n");
    let ran = sandbox.pretrain("--steps 1 --out project");
    ran.refused(&[
        "project/config.toml is there already",
        "--overwrite",
        "--out",
    ]);
    assert_eq!(sandbox.text("project/config.toml"), "theme = \"mine\"\n");
}
