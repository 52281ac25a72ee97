//! Compares one whole training step on the GPU with the CPU, and tests the choice of the device.
//!
//! A machine without a GPU can run these tests on Mesa's software Vulkan adapter; CI requires them
//! ([`densecl_tests::needs`]).

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool};

use burn::tensor::{Device, wgpu::wgpu};
use densecl::{
    augment::{IMAGENET_MEAN, IMAGENET_STD, upload},
    config::{InViewPositives, Matching},
    device::{DeviceChoice, DeviceMemory, Selected, select},
    method::{DenseCl, Method, StepSettings},
    self_test,
    world::{Alone, World},
};
use densecl_tests::{
    byol::{self, TinyByol},
    golden::assert_close,
    in_view::overlapping,
    learner::{self, Tiny, Views, matches, settings, state, views},
    needs,
    network::cpu,
    three_sat::{self, TinyThreeSat},
    univip::{self, TinyUniVip},
};

use densecl_train::{
    events::{Observer, TrainEvent},
    run::{PreparedRun, RunRequest},
    threads::Threads,
};

/// Largest relative error allowed between the backends. Both compute in f32, but GPUs sum in another order,
/// fuse multiplications with additions, and round divisions and roots within a few units in the last place; a
/// step passes these errors forward and backward through some twenty layers. Measured on lavapipe: 4e-6.
const AGREEMENT: f32 = 1e-3;

/// The Vulkan loader is unreliable if several threads create and drop instances, so the tests take turns.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The figures, matches and resulting state of one step from the formula's weights.
struct Step {
    figures: Vec<(&'static str, f32)>,
    matches: Vec<Vec<i64>>,
    state: Vec<(String, Vec<f32>)>,
}

fn step(tiny: &Tiny, device: &Device) -> Step {
    let mut learner: DenseCl = tiny.learner(device);
    let views = Views {
        key_order: vec![2, 0, 3, 1],
        geometry: Some(overlapping()),
        ..views("backends", 4, device)
    };
    let output = learner::step(&mut learner, vec![views], &settings(0)).expect("a step");
    let figures = output.figures().expect("the device answers");
    Step {
        figures: figures
            .iter()
            .map(|(name, value)| (name, value as f32))
            .collect(),
        matches: matches(&output),
        state: state(&learner),
    }
}

/// Covers forward, matching, both losses, backward, SGD, EMA and enqueueing, with split BN, shuffled keys, a
/// pooled grid and clipping; then the same with the in-view loss, once for each kind of positives.
#[test]
fn a_whole_step_agrees_with_the_cpu() {
    let _alone = alone();
    let Some(selected) = needs::gpu() else { return };
    let mut tiny = Tiny::default();
    tiny.method.bn_groups = 2;
    tiny.method.matching = Matching::Backbone;
    tiny.model.num_grid = 3;
    tiny.optim.clip_norm = 1.0;
    agrees(&tiny, &selected);

    tiny.method.in_view_weight = 4.0;
    tiny.method.in_view_temperature = 0.1;
    for (matching, positives) in [
        (Matching::Geometry, InViewPositives::Match),
        (Matching::Backbone, InViewPositives::Near),
    ] {
        tiny.method.matching = matching;
        tiny.method.in_view_positives = positives;
        agrees(&tiny, &selected);
    }
}

fn agrees(tiny: &Tiny, selected: &Selected) {
    let want = step(tiny, &cpu());
    let got = step(tiny, &selected.device);

    assert_eq!(got.matches, want.matches, "matches on {}", selected.name);
    assert_eq!(got.figures.len(), want.figures.len());
    for ((name, got), (_, want)) in got.figures.iter().zip(&want.figures) {
        assert_close(name, &[*got], &[*want], AGREEMENT);
    }
    assert_eq!(got.state.len(), want.state.len());
    for ((name, got), (_, want)) in got.state.iter().zip(&want.state) {
        assert_close(name, got, want, AGREEMENT);
    }
}

/// Two ranks as threads, both on the same adapter, against one rank on the CPU, two steps long.
#[test]
fn two_ranks_on_one_adapter_agree_with_the_cpu() {
    let _alone = alone();
    let Some(selected) = needs::gpu() else { return };
    let mut tiny = Tiny::default();
    tiny.method.bn_groups = 2;
    let run = |device: &Device, world: &mut dyn World| {
        let mut learner = tiny.learner(device);
        let own = 2 / world.size();
        for step in 0..2 {
            let part = world.rank() * own..(world.rank() + 1) * own;
            let batches = part.map(|index| {
                let name = format!("backends {step} {index}");
                views(&name, 4, device).micro_batch()
            });
            let output = learner.step(batches.collect(), &settings(step), world);
            output
                .expect("a step")
                .figures()
                .expect("the device answers");
        }
        state(&learner)
    };
    let want = run(&cpu(), &mut Alone);
    let ranks: Vec<_> = std::thread::scope(|scope| {
        let started = Threads::worlds(2).into_iter().map(|mut world| {
            let (run, device) = (&run, &selected.device);
            scope.spawn(move || {
                let guard = world.guard();
                let state = run(device, &mut world);
                guard.finished();
                state
            })
        });
        let started: Vec<_> = started.collect();
        let ended = started
            .into_iter()
            .map(|rank| rank.join().expect("no panic"));
        ended.collect()
    });
    for got in &ranks {
        assert_eq!(got.len(), want.len());
        for ((name, got), (_, want)) in got.iter().zip(&want) {
            assert_close(name, got, want, AGREEMENT);
        }
    }
    assert!(ranks[0] == ranks[1], "the ranks have different states");
}

/// Both networks, both terms of the loss, projector and predictor, LARS, and the target's update.
#[test]
fn a_step_of_byol_agrees_with_the_cpu() {
    let _alone = alone();
    let Some(selected) = needs::gpu() else { return };
    let tiny = TinyByol::default().with_lars();
    let step = |device: &Device| {
        let mut learner = tiny.learner(device);
        let batch = byol::batch("backends", 8, device);
        let output = learner
            .step(vec![batch], &settings(0), &mut Alone)
            .expect("a step");
        let figures = output.figures().expect("the device answers");
        let figures: Vec<_> = figures.iter().collect();
        (figures, byol::state(&learner))
    };
    let (want, got) = (step(&cpu()), step(&selected.device));
    for ((name, got), (_, want)) in got.0.iter().zip(&want.0) {
        assert_close(name, &[*got as f32], &[*want as f32], AGREEMENT);
    }
    assert_eq!(got.1.len(), want.1.len());
    for ((name, got), (_, want)) in got.1.iter().zip(&want.1) {
        // A bias before batch normalisation has no gradient, so its velocity is rounding.
        if !(name.starts_with("velocity.") && name.ends_with("fc1.bias")) {
            assert_close(name, got, want, AGREEMENT);
        }
    }
}

/// Scenes and instances of different sizes, all three losses, Sinkhorn's iteration, and the target's update. Weights
/// and inputs are those of the goldens' first step, at which rounding does not decide which ReLUs are open.
#[test]
fn a_step_of_univip_agrees_with_the_cpu() {
    let _alone = alone();
    let Some(selected) = needs::gpu() else { return };
    let mut tiny = TinyUniVip::default();
    tiny.model.output_stride = 32;
    let step = |device: &Device| {
        let mut learner = tiny.learner(device);
        let batch = univip::sized_batch("univip/step0", 8, 3, [96, 64], device);
        let output = learner
            .step(vec![batch], &settings(0), &mut Alone)
            .expect("a step");
        let figures = output.figures().expect("the device answers");
        let figures: Vec<_> = figures.iter().collect();
        (figures, univip::state(&learner))
    };
    let (want, got) = (step(&cpu()), step(&selected.device));
    for ((name, got), (_, want)) in got.0.iter().zip(&want.0) {
        // What is left of the residual is rounding.
        if *name == "transport_residual" {
            assert!(*got < 1e-5 && *want < 1e-5, "{got} {want}");
        } else {
            assert_close(name, &[*got as f32], &[*want as f32], AGREEMENT);
        }
    }
    assert_eq!(got.1.len(), want.1.len());
    for ((name, got), (_, want)) in got.1.iter().zip(&want.1) {
        // A bias before batch normalisation has no gradient, so its velocity is rounding.
        if !(name.starts_with("velocity.") && name.ends_with("fc1.bias")) {
            assert_close(name, got, want, AGREEMENT);
        }
    }
}

/// The attack, its gradient of the pixels, and the step on what it found. Weights and inputs are those of a golden's
/// first step, at which rounding decides no sign of a gradient.
#[test]
fn a_step_of_three_sat_agrees_with_the_cpu() {
    let _alone = alone();
    let Some(selected) = needs::gpu() else { return };
    let mut tiny = TinyThreeSat::default();
    tiny.method.adversarial_warmup = 0.25;
    let step = |device: &Device| {
        let mut learner = tiny.learner(device);
        let batch = three_sat::batch("three_sat/step 31", 8, device);
        let settings = StepSettings {
            step: 1,
            total_steps: 3,
            learning_rate: 0.002,
        };
        let output = learner
            .step(vec![batch], &settings, &mut Alone)
            .expect("a step");
        let figures = output.figures().expect("the device answers");
        let figures: Vec<_> = figures.iter().collect();
        (figures, three_sat::state(&learner))
    };
    let (want, got) = (step(&cpu()), step(&selected.device));
    assert!(want.0.iter().any(|(name, _)| *name == "loss_adversarial"));
    for ((name, got), (_, want)) in got.0.iter().zip(&want.0) {
        assert_close(name, &[*got as f32], &[*want as f32], AGREEMENT);
    }
    assert_eq!(got.1.len(), want.1.len());
    for ((name, got), (_, want)) in got.1.iter().zip(&want.1) {
        // A bias before batch normalisation has no gradient, so its velocity is rounding.
        if !(name.starts_with("velocity.") && name.ends_with("fc1.bias")) {
            assert_close(name, got, want, AGREEMENT);
        }
    }
}

/// Both look up each byte in the same table, so the results agree to the bit. All 256 values occur in all
/// channels.
#[test]
fn views_on_the_gpu_are_those_on_the_cpu() {
    let _alone = alone();
    let side = 32;
    let views: Vec<u8> = (0..2 * 3 * side * side)
        .map(|i| (i ^ (i >> 8)) as u8)
        .collect();
    let values = |device: &Device| {
        let views = upload(&views, side, device);
        assert_eq!(views.dims(), [2, 3, side, side]);
        views.to_data().try_to_vec::<f32>().expect("floats")
    };
    let Some(vulkan) = needs::gpu() else { return };
    let (want, got) = (values(&cpu()), values(&vulkan.device));
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert!(bits(&got) == bits(&want));
    let byte = views[5 * side * side + 77];
    let normalised = (f32::from(byte) / 255.0 - IMAGENET_MEAN[2]) / IMAGENET_STD[2];
    assert_eq!(want[5 * side * side + 77], normalised);
}

#[test]
fn an_adapter_asked_for_twice_is_the_same_device() {
    let _alone = alone();
    let Some(first) = needs::gpu() else { return };
    let second = needs::gpu().expect("the adapter was found before");
    assert_eq!(first.device, second.device);
    assert_eq!(first.name, second.name);
}

#[test]
fn auto_takes_hardware_or_the_cpu_and_says_why() {
    let _alone = alone();
    let Some(vulkan) = needs::gpu() else { return };
    let auto = pollster::block_on(select(DeviceChoice::Auto)).expect("the CPU is always there");
    assert!(!auto.name.contains("software"), "{}", auto.name);
    assert!(!auto.reason.contains('\n'), "{}", auto.reason);
    if auto.name == "cpu" {
        assert!(
            vulkan.name.ends_with("software)"),
            "{} is hardware, but the CPU was chosen",
            vulkan.name
        );
        let why = format!("{} is slower than the CPU backend", vulkan.name);
        assert!(auto.reason.contains(&why), "{}", auto.reason);
        assert_eq!(auto.device, cpu());
    } else {
        assert!(auto.reason.starts_with(&auto.name), "{}", auto.reason);
    }
}

#[test]
fn the_cpu_is_there_when_asked_for() {
    let selected = pollster::block_on(select(DeviceChoice::Cpu)).expect("always there");
    assert_eq!((&*selected.name, selected.device), ("cpu", cpu()));
}

#[test]
fn a_device_that_does_not_exist_lists_those_that_do() {
    let _alone = alone();
    let Some(vulkan) = needs::gpu() else { return };
    let refused = |choice| {
        let error = pollster::block_on(select(choice)).expect_err("no such device");
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message:?}");
        message
    };
    if !cfg!(target_os = "macos") {
        let message = refused(DeviceChoice::Metal);
        assert!(message.starts_with("--device metal: "), "{message}");
        // Behind the name of a selected adapter stands its API.
        let (name, _) = vulkan.name.rsplit_once(" (").expect("an API");
        let there = format!("there is cpu, vulkan:0: {name}");
        assert!(message.contains(&there), "{message}");
    }
    let message = refused(DeviceChoice::Cuda);
    assert!(message.contains("--features cuda"), "{message}");
}

#[test]
fn the_gpu_passes_the_self_test_of_the_browser() {
    let _alone = alone();
    let Some(vulkan) = needs::gpu() else { return };
    let found = pollster::block_on(self_test::deviation(&vulkan.device)).expect("it answers");
    assert!(found <= self_test::TOLERANCE, "{found}");
}

/// Destroys the device after the first checkpoint, as a restarting driver does.
struct LosesTheDevice(wgpu::Device);

impl Observer for LosesTheDevice {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        if let TrainEvent::Saved { .. } = event {
            self.0.destroy();
        }
        Ok(())
    }
}

#[test]
fn a_run_that_loses_its_device_keeps_its_checkpoint_and_says_how_to_go_on() {
    let _alone = alone();
    let Some(_) = needs::gpu() else { return };
    let (device, setup) = Device::wgpu_options()
        .init_with_setup()
        .expect("there is an adapter");
    let selected = Selected {
        device,
        name: "an adapter".to_string(),
        reason: "chosen by the test".to_string(),
        memory: DeviceMemory {
            is_the_hosts: false,
            largest_tensor: None,
        },
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = folder.path().join("run");
    let sets = [
        "data.source=scenes",
        "data.scene_count=8",
        "scenes.size=32",
        "views.size=32",
        "model.backbone=resnet10",
        "model.width=8",
        "model.dim=16",
        "method.bn_groups=1",
        "method.queue=4",
        "train.batch_size=4",
        "train.steps=9",
        "checkpoint.every_steps=2",
        "log.every_steps=1",
        "eval.pairs=0",
    ];
    let request = RunRequest {
        sets: sets.map(String::from).to_vec(),
        out: Some(run.clone()),
        ..RunRequest::default()
    };
    let prepared = PreparedRun::new(&request).expect("valid settings");
    let loses = Box::new(LosesTheDevice(setup.device));
    let ended = prepared.run(&selected, loses, &AtomicBool::new(false));
    let error = ended.expect_err("the device is gone").to_string();
    let checkpoints = std::fs::read_dir(run.join("checkpoints")).expect("a folder");
    let checkpoints: Vec<_> = checkpoints
        .map(|entry| entry.expect("a file").path())
        .collect();
    assert_eq!(
        checkpoints,
        [run.join("checkpoints/step_00000002.safetensors")]
    );
    for part in [
        "the device failed",
        "the checkpoint of step 2 is kept",
        &checkpoints[0].display().to_string(),
        &format!("densecl pretrain --resume {}", run.display()),
    ] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    assert!(!error.contains('\n'), "{error}");
}
