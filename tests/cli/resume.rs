//! A run that was interrupted and resumed ends as an uninterrupted one.

use std::io::{BufRead, BufReader};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

#[cfg(unix)]
use crate::sandbox::interrupt;
use crate::sandbox::{Ran, Sandbox, wait_for_checkpoint};

/// Arguments of a run long enough to be interrupted even on a fast machine.
const LONG: &str = "--steps 60 --data photos --set checkpoint.every_steps=7";

fn photos() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 30);
    sandbox
}

fn assert_same(sandbox: &Sandbox, run: &str, reference: &str) {
    assert_eq!(sandbox.metrics(run), sandbox.metrics(reference));
    assert!(
        sandbox.weights(run) == sandbox.weights(reference),
        "{run}: the weights differ"
    );
    let [ours, theirs] = [run, reference].map(|run| sandbox.json(&format!("{run}/result.json")));
    for key in [
        "steps",
        "loss",
        "interrupted",
        "correspondence_accuracy_after",
    ] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
}

#[cfg(unix)]
#[test]
fn killed_runs_end_as_those_that_were_not() {
    let sandbox = photos();
    sandbox.pretrain(&format!("{LONG} --out whole")).succeeded();

    for (run, more) in [("killed_early", 0), ("killed_later", 40)] {
        let mut child = sandbox.start(&format!("{LONG} --out {run}"));
        wait_for_checkpoint(&sandbox.path(run));
        sleep(Duration::from_millis(more));
        child.kill().expect("killed");
        assert_eq!(
            child.wait().expect("ended").code(),
            None,
            "the run ended before it could be killed"
        );
        assert!(!sandbox.path(&format!("{run}/weights.safetensors")).exists());
        sandbox
            .run(&format!("pretrain --resume {run} --set data.threads=3"))
            .succeeded();
        assert_same(&sandbox, run, "whole");
    }

    let child = sandbox.start(&format!("{LONG} --out stopped"));
    wait_for_checkpoint(&sandbox.path("stopped"));
    interrupt(child.id());
    let ran = Ran::from(child.wait_with_output().expect("ended"));
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("densecl pretrain --resume stopped"),
        "{}",
        ran.stderr
    );
    let result = sandbox.json("stopped/result.json");
    assert_eq!(result["interrupted"], true);
    let step = result["steps"].as_u64().expect("a number");
    let newest = sandbox.names("stopped/checkpoints").pop();
    assert_eq!(newest, Some(format!("step_{step:08}.safetensors")));
    sandbox.run("pretrain --resume stopped").succeeded();
    assert_same(&sandbox, "stopped", "whole");
}

#[cfg(unix)]
#[test]
fn a_run_stopped_before_its_first_step_can_be_started_again() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.start("--steps 2 --out run --set data.scene_count=400");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("UTF-8").contains("rendering")));
    interrupt(child.id());
    let rest: Vec<String> = lines.map(|line| line.expect("UTF-8")).collect();
    assert_eq!(child.wait().expect("ended").code(), Some(130), "{rest:?}");
    let last = rest.last().expect("a line");
    assert!(last.contains("stopped before the first step"), "{last}");
    sandbox.pretrain("--steps 2 --out run").succeeded();
}

#[test]
fn a_finished_run_can_be_made_longer() {
    let sandbox = photos();
    let run = "--data photos --set optim.schedule=epoch --out run";
    sandbox.pretrain(&format!("{run} --steps 4")).succeeded();
    sandbox.run("pretrain --resume run --steps 6").succeeded();
    assert_eq!(sandbox.json("run/result.json")["steps"], 6);
    assert_eq!(sandbox.metrics("run").len(), 6);

    // The run has stored its new length; resuming a finished run succeeds and does nothing.
    let weights = sandbox.weights("run");
    sandbox.run("pretrain --resume run").succeeded();
    let result = sandbox.json("run/result.json");
    assert_eq!(
        (&result["steps"], &result["total_steps"]),
        (&6.into(), &6.into())
    );
    assert_ne!(result["loss"], Value::Null);
    assert!(sandbox.weights("run") == weights);

    let shorter = sandbox.run("pretrain --resume run --steps 5");
    shorter.refused(&["at step 6 already", "5 steps", "--steps"]);
}

/// A method without queues, views that differ, and a curriculum that goes by the step.
#[test]
fn byol_and_a_curriculum_go_on_as_if_they_had_not_been_interrupted() {
    let sandbox = photos();
    let run = "--data photos --set method.name=byol --set method.queue=0 --set method.projector_hidden=16 \
        --set method.momentum_schedule=cosine --set optim.name=lars --set views.second.solarize_p=0.5 \
        --set views.curriculum.region=0.1 --set views.curriculum.size=32 --set checkpoint.every_steps=5 --steps 9";
    sandbox.pretrain(&format!("{run} --out whole")).succeeded();
    sandbox.pretrain(&format!("{run} --out cut")).succeeded();
    // As if it had been killed after its first checkpoint.
    let last = sandbox.path("cut/checkpoints/step_00000009.safetensors");
    std::fs::remove_file(last).expect("removed");
    std::fs::remove_file(sandbox.path("cut/weights.safetensors")).expect("removed");
    let resumed = "pretrain --resume cut --set data.threads=3 --set data.prefetch=1";
    sandbox.run(resumed).succeeded();
    assert_same(&sandbox, "cut", "whole");
}

#[test]
fn only_the_same_run_is_continued() {
    let sandbox = photos();
    sandbox
        .pretrain("--steps 2 --data photos --out run")
        .succeeded();
    for (set, differs) in [
        ("method.lambda=0.7", "method.lambda is 0.5 and not 0.7"),
        ("optim.lr=1", "optim.lr is 0.03 and not 1.0"),
        ("model.width=16", "model.width is 8 and not 16"),
        ("train.seed=3", "train.seed is 0 and not 3"),
        ("views.size=32", "views.size is 64 and not 32"),
        (
            "data.source=elsewhere",
            "data.source is \"photos\" and not \"elsewhere\"",
        ),
    ] {
        let ran = sandbox.run(&format!("pretrain --resume run --steps 3 --set {set}"));
        ran.refused(&["continues the same run", differs, "only train.steps"]);
    }
    let both = sandbox.run("pretrain --resume run --config quickstart");
    assert_eq!(both.code, Some(2));

    let none = sandbox.run("pretrain --resume photos");
    none.refused(&["photos is not the folder of a run", "--out"]);
    let missing = sandbox.run("pretrain --resume nowhere");
    missing.refused(&["nowhere is not the folder of a run"]);
    let empty = sandbox.names("run/checkpoints").len();
    assert_eq!(empty, 1);

    std::fs::rename(
        sandbox.path("photos/001.png"),
        sandbox.path("photos/renamed.png"),
    )
    .expect("renamed");
    let renamed = sandbox.run("pretrain --resume run --steps 3");
    renamed.refused(&["the data has changed", "other names"]);
    std::fs::rename(
        sandbox.path("photos/renamed.png"),
        sandbox.path("photos/001.png"),
    )
    .expect("renamed");
    // Changed contents under the same name are noticed, whether the file's length stays the same or not.
    let picture = sandbox.read("photos/001.png");
    let mut other = picture.clone();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    for other in [other, [picture.clone(), vec![0]].concat()] {
        sandbox.write("photos/001.png", other);
        let ran = sandbox.run("pretrain --resume run --steps 3");
        ran.refused(&["the data has changed", "not what the files hold"]);
    }
    sandbox.write("photos/001.png", picture);

    sandbox.pictures("photos/more", 1);
    let more = sandbox.run("pretrain --resume run --steps 3");
    more.refused(&[
        "the data has changed",
        "30 files when the run began, 31 now",
    ]);

    std::fs::remove_dir_all(sandbox.path("photos/more")).expect("removed");
    sandbox.run("pretrain --resume run --steps 3").succeeded();
    std::fs::remove_dir_all(sandbox.path("run/checkpoints")).expect("removed");
    std::fs::create_dir(sandbox.path("run/checkpoints")).expect("made");
    let without = sandbox.run("pretrain --resume run");
    without.refused(&["run holds no checkpoint yet", "--overwrite"]);
}

#[test]
fn data_that_vanishes_costs_no_step() {
    let sandbox = photos();
    sandbox.pretrain(&format!("{LONG} --out whole")).succeeded();

    // There is no regular checkpoint before the end, so the only one is that saved when the data disappears.
    let more = "--steps 60 --data photos --set data.prefetch=1";
    let child = sandbox.start(&format!("{more} --out run"));
    let log = sandbox.path("run/metrics.jsonl");
    let started = std::time::Instant::now();
    while std::fs::read_to_string(&log).map_or(0, |text| text.lines().count()) < 5 {
        assert!(started.elapsed() < Duration::from_secs(60), "no steps");
        sleep(Duration::from_millis(1));
    }
    std::fs::rename(sandbox.path("photos"), sandbox.path("away")).expect("renamed");
    let ran = Ran::from(child.wait_with_output().expect("ended"));
    ran.refused(&[
        "files do not decode",
        "the checkpoint of step ",
        "is kept",
        "densecl pretrain --resume run",
    ]);
    // The saved checkpoint includes every step that was logged.
    let steps = sandbox.metrics("run").len();
    assert!((5..60).contains(&steps), "{steps} steps");
    let newest = sandbox.names("run/checkpoints").pop();
    assert_eq!(newest, Some(format!("step_{steps:08}.safetensors")));

    std::fs::rename(sandbox.path("away"), sandbox.path("photos")).expect("renamed");
    sandbox.run("pretrain --resume run").succeeded();
    assert_same(&sandbox, "run", "whole");
}

/// On a GPU kernels are chosen by measuring, and a software adapter measures none, so the file is put into the folder here.
#[test]
fn the_kernels_of_a_run_are_taken_shown_and_kept_by_the_run_that_continues() {
    let sandbox = photos();
    let length = "--data photos --set checkpoint.every_steps=1";
    sandbox
        .pretrain(&format!("--steps 1 {length} --out run"))
        .succeeded();
    assert!(!sandbox.path("run/kernels.json").exists());
    let chosen = serde_json::json!([{
        "device": "a GPU, driver 1", "pass": "forward", "batch": 2, "input": [7, 9], "channels": [3, 8], "kernel": 3,
        "stride": 2, "dilation": 1, "half": false, "algorithm": "winograd",
        "milliseconds": [["winograd", 0.5], ["implicit64", 2.25]]
    }]);
    sandbox.write("run/kernels.json", chosen.to_string());
    let resume = |steps| format!("pretrain --resume run --steps {steps} --verbose");
    let ran = sandbox.run(&resume(2)).succeeded();
    let line = "3×3 3→8 at 2×7×9, stride 2, dilation 1, f32: forward: winograd (winograd 0.500 ms, implicit64 2.250 ms)";
    assert!(ran.stderr.contains(line), "{}", ran.stderr);
    assert_eq!(sandbox.json("run/kernels.json"), chosen);
    assert_ne!(
        sandbox.text("run/kernels.json"),
        chosen.to_string(),
        "not written anew"
    );

    let taken = sandbox.read("run/kernels.json");
    for wrong in [&taken[..taken.len() / 2], b"[{\"device\": 3}]"] {
        sandbox.write("run/kernels.json", wrong);
        sandbox
            .run(&resume(3))
            .refused(&["kernels.json", "delete it to choose kernels anew"]);
    }
    std::fs::remove_file(sandbox.path("run/kernels.json")).expect("removed");
    let ran = sandbox.run(&resume(3)).succeeded();
    assert!(
        ran.stderr.contains("none was chosen by measuring"),
        "{}",
        ran.stderr
    );

    let wrong = sandbox.run("pretrain --resume run --steps 4 --set train.kernels=fastest");
    wrong.refused(&["train.kernels", "\"fastest\"", "measured, fixed, stock"]);
}
