//! Compares the memory estimate with the measured peak of runs, and tests that steps that do not fit are
//! refused.

use crate::sandbox::Sandbox;

/// The factor by which the estimate may be too high or too low: `ESTIMATE_ERROR` of train/src/memory.rs.
#[cfg(target_os = "linux")]
const ESTIMATE_ERROR: f64 = 1.25;

/// The estimate in bytes, read from a run's standard error.
#[cfg(target_os = "linux")]
fn estimated(stderr: &str) -> f64 {
    let rest = stderr.split("a step needs about ").nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no estimate in: {stderr}"));
    let mut words = rest.split_whitespace();
    let number: f64 = words.next().and_then(|n| n.parse().ok()).expect("a number");
    let unit = match words.next() {
        Some("MB") => 1e6,
        Some("GB") => 1e9,
        unit => panic!("{unit:?}"),
    };
    number * unit
}

/// The estimate and the measured peak of a run of two steps with these settings, in bytes.
#[cfg(target_os = "linux")]
fn estimate_and_peak(sandbox: &Sandbox, settings: &str) -> (f64, f64) {
    use std::fs;
    use std::process::Stdio;
    use std::thread::sleep;
    use std::time::Duration;

    let sets = settings
        .split_whitespace()
        .map(|set| format!(" --set {set}"));
    let arguments = format!(
        "pretrain --device cpu --steps 2 --overwrite --out run --set eval.pairs=0 --set \
         data.scene_count=64 --set scenes.size=64{}",
        sets.collect::<String>()
    );
    let mut command = sandbox.command(&arguments);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    while child.try_wait().expect("a child").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        // The kernel's record of the peak, so that no peak between two reads is missed.
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = mark.and_then(|mark| mark.split_whitespace().next()?.parse::<f64>().ok());
        peak = kibibytes.map_or(peak, |kibibytes| kibibytes * 1024.0);
        sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("its output");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{stderr}");
    (estimated(&stderr), peak)
}

/// In each of these cases another part takes the most memory: activations, parameters, queues, or
/// micro-batches.
#[test]
#[cfg(target_os = "linux")]
fn the_estimate_is_the_peak_that_runs_are_measured_at() {
    let sandbox = Sandbox::new();
    let cases = [
        "model.backbone=resnet10 views.size=224 train.batch_size=16",
        "model.backbone=resnet18 views.size=96 train.batch_size=32",
        "model.backbone=resnet18 views.size=96 train.batch_size=32 optim.accumulate=4",
        "model.backbone=resnet50 views.size=96 train.batch_size=16",
        "model.backbone=resnet10 model.width=16 model.output_stride=8 views.size=96 \
         train.batch_size=16 method.queue=32768 method.queue_exceeds_data=true",
        "model.backbone=resnet18 views.size=96 train.batch_size=32 method.name=byol method.queue=0",
        "model.backbone=resnet18 views.size=96 train.batch_size=32 method.name=univip method.queue=0 \
         method.instance_size=64 data.boxes=random views.instances.min_side=16",
        "model.backbone=resnet18 model.stem=cifar model.output_stride=8 views.size=32 train.batch_size=64 \
         method.name=3sat method.queue=0 method.adversarial_warmup=0",
    ];
    let mut wrong = Vec::new();
    for settings in cases {
        let (estimate, peak) = estimate_and_peak(&sandbox, settings);
        println!(
            "{settings}: estimated {:.0} MB, measured {:.0} MB",
            estimate / 1e6,
            peak / 1e6
        );
        let within = 1.0 / ESTIMATE_ERROR..=ESTIMATE_ERROR;
        if !within.contains(&(estimate / peak)) {
            wrong.push((settings, estimate / peak));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_step_that_cannot_fit_is_refused_with_what_would() {
    let sandbox = Sandbox::new();
    // More than a terabyte with views of 4096 px; smaller views need only a few gigabytes, so they can be
    // suggested.
    let huge = "--steps 1 --out run --set model.width=256 --set train.batch_size=64 --set method.queue=64 --set \
        data.scene_count=64 --set views.size=4096";
    let ran = sandbox.pretrain(huge);
    ran.refused(&[
        "a step needs about",
        "of memory",
        "are available",
        "what would fit: ",
        "--set views.size=",
        "train.exceeds_memory = true",
    ]);
    assert!(!sandbox.path("run/config.toml").exists());
}
