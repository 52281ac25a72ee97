//! Several ranks as threads of one process: the same results as one rank, and what is refused.

use std::path::Path;

use crate::sandbox::{Ran, Sandbox};

/// A step of 16 images in 4 parts, which 1, 2 and 4 ranks can share.
const SHARED: &str = "--data photos --batch-size 16 --set method.queue=16 --set optim.schedule=step --set \
    checkpoint.every_steps=4 --set eval.pairs=0 --set log.tensorboard=false";
const PARTS: &str = "--set optim.accumulate=4";

fn photos() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 40);
    sandbox
}

fn setting(sandbox: &Sandbox, run: &str, line: &str) -> bool {
    let text = sandbox.text(&format!("{run}/config.toml"));
    text.lines().any(|found| found == line)
}

fn train(sandbox: &Sandbox, more: &str) -> Ran {
    sandbox.pretrain(&format!("{SHARED} {more}"))
}

#[test]
fn threads_end_with_the_weights_and_the_log_of_one_rank() {
    let sandbox = photos();
    train(&sandbox, &format!("{PARTS} --steps 10 --out one")).succeeded();
    for (ranks, devices) in [(2, "cpu,cpu"), (4, "cpu,cpu,cpu,cpu")] {
        let run = format!("on{ranks}");
        let more = format!("{PARTS} --steps 10 --out {run} --devices {devices}");
        let ran = train(&sandbox, &more).succeeded();
        let told = format!("{ranks} ranks, each with {} images", 16 / ranks);
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        assert!(sandbox.weights(&run) == sandbox.weights("one"), "{run}");
        assert_eq!(sandbox.metrics(&run), sandbox.metrics("one"));
        let result = sandbox.json(&format!("{run}/result.json"));
        assert_eq!(result["ranks"], ranks);
        let checkpoint = |run: &str| {
            let name = format!("{run}/checkpoints/step_00000010.safetensors");
            crate::sandbox::SafeTensors::parse(&sandbox.read(&name)).data
        };
        assert!(checkpoint(&run) == checkpoint("one"), "state of {run}");
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let sandbox = photos();
    train(&sandbox, &format!("{PARTS} --steps 12 --out whole")).succeeded();
    train(
        &sandbox,
        &format!("{PARTS} --steps 12 --out cut --devices cpu,cpu"),
    )
    .succeeded();
    // As if it had been killed between steps 4 and 8: on one rank to the end, cut again, and on two ranks to the end.
    let remove = |steps: &[u64]| {
        for step in steps {
            let path = sandbox.path(&format!("cut/checkpoints/step_{step:08}.safetensors"));
            std::fs::remove_file(path).expect("removed");
        }
    };
    remove(&[12]);
    sandbox
        .run("pretrain --resume cut --devices cpu")
        .succeeded();
    assert!(sandbox.weights("cut") == sandbox.weights("whole"));
    remove(&[12]);
    sandbox
        .run("pretrain --resume cut --devices cpu,cpu")
        .succeeded();
    assert!(sandbox.weights("cut") == sandbox.weights("whole"));
    assert_eq!(sandbox.metrics("cut"), sandbox.metrics("whole"));

    let refused = sandbox.run("pretrain --resume cut --steps 14 --devices cpu,cpu,cpu");
    refused.refused(&[
        "3 ranks cannot continue",
        "optim.accumulate is 4",
        "1, 2, 4",
    ]);
}

#[test]
fn the_parts_of_a_batch_are_chosen_and_recorded() {
    let sandbox = photos();
    train(&sandbox, "--steps 2 --out one").succeeded();
    assert!(setting(&sandbox, "one", "accumulate = 1"));
    let often = "--steps 4 --set checkpoint.every_steps=2";
    train(&sandbox, &format!("{often} --out two --devices cpu,cpu")).succeeded();
    assert!(setting(&sandbox, "two", "accumulate = 2"));
    // The number that was chosen is that of the run: one rank alone goes on with it.
    train(&sandbox, "--steps 4 --out whole --set optim.accumulate=2").succeeded();
    std::fs::remove_file(sandbox.path("two/checkpoints/step_00000004.safetensors"))
        .expect("removed");
    sandbox
        .run("pretrain --resume two --devices cpu")
        .succeeded();
    assert!(setting(&sandbox, "two", "accumulate = 2"));
    assert!(sandbox.weights("two") == sandbox.weights("whole"));
}

#[test]
fn ranks_that_cannot_share_a_batch_are_refused_with_what_fits() {
    let sandbox = photos();
    let refused = |more: &str, parts: &[&str]| {
        train(&sandbox, &format!("--steps 2 --out run {more}")).refused(parts);
        assert!(!sandbox.path("run/config.toml").exists());
    };
    let wrong = "--set optim.accumulate=1 --devices cpu,cpu,cpu,cpu";
    refused(
        wrong,
        &["optim.accumulate = 1", "4 ranks", "set it to 4, or to 0"],
    );
    let three = "--devices cpu,cpu,cpu";
    refused(
        three,
        &[
            "3 ranks cannot share",
            "train.batch_size = 16",
            "a multiple of 6",
        ],
    );
    refused("--devices cpu,gpu", &["no device is called \"gpu\""]);
    refused("--devices cpu,cpu:1", &["the CPU has no number"]);
}

/// Too many bad files on one rank end all of them, after a checkpoint of the last step.
#[test]
fn a_rank_without_data_ends_all_with_a_checkpoint() {
    let sandbox = photos();
    let long = format!(
        "{SHARED} {PARTS} --steps 4000 --set checkpoint.every_steps=0 --devices cpu,cpu --out run"
    );
    let child = sandbox.start(&long);
    let log = sandbox.path("run/metrics.jsonl");
    wait_for(&log);
    std::fs::remove_dir_all(sandbox.path("photos")).expect("removed");
    let ran = Ran::from(child.wait_with_output().expect("ended"));
    ran.refused(&["do", "decode", "the checkpoint of step", "--resume run"]);
}

fn wait_for(file: &Path) {
    let started = std::time::Instant::now();
    while !std::fs::metadata(file).is_ok_and(|found| found.len() > 0) {
        assert!(started.elapsed().as_secs() < 120, "no {}", file.display());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[cfg(unix)]
#[test]
fn a_stop_stops_all_ranks_after_the_same_step() {
    let sandbox = photos();
    train(&sandbox, &format!("{PARTS} --steps 40 --out whole")).succeeded();
    let arguments = format!("{SHARED} {PARTS} --steps 40 --out run --devices cpu,cpu");
    let child = sandbox.start(&arguments);
    crate::sandbox::wait_for_checkpoint(&sandbox.path("run"));
    crate::sandbox::interrupt(child.id());
    let ran = Ran::from(child.wait_with_output().expect("ended"));
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    sandbox.run("pretrain --resume run").succeeded();
    assert!(sandbox.weights("run") == sandbox.weights("whole"));
    assert_eq!(sandbox.metrics("run"), sandbox.metrics("whole"));
}

/// Each of several processes without MPI would train the whole run.
#[cfg(not(feature = "mpi"))]
#[test]
fn a_process_among_others_without_mpi_is_refused() {
    let sandbox = Sandbox::new();
    for [rank, size] in [
        ["PMI_RANK", "PMI_SIZE"],
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ] {
        let mut command = sandbox.command("pretrain --config quickstart --out run");
        let output = command.env(rank, "1").env(size, "4").output();
        let ran = Ran::from(output.expect("the binary starts"));
        ran.refused(&[
            "rank 1 of 4",
            "built without MPI",
            "--features mpi",
            "--devices",
        ]);
        assert!(!sandbox.path("run").exists());
    }
}

#[test]
fn devices_are_listed_by_the_names_that_select_them() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run("devices").succeeded();
    assert!(ran.stdout.starts_with("cpu "), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("MPI, for several processes"),
        "{}",
        ran.stdout
    );
}
