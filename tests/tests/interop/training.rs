//! Training that continues from a state in the authors' layout has the losses that PyTorch has.

use burn::tensor::Device;
use densecl::{
    Error,
    checkpoint::{self, TrainingState},
    config::{Backbone, MethodConfig, ModelConfig, OptimConfig},
    method::{DenseCl, StepSettings},
};
use densecl_tests::{
    golden::{Golden, TOLERANCE, permutation},
    learner::{self, Views, figures},
    network::{cpu, input, named_values},
};

use crate::bytes;

const QUEUE: usize = 20;
const BATCH: usize = 8;
const SIDE: usize = 64;

fn settings() -> (ModelConfig, MethodConfig, OptimConfig) {
    let model = ModelConfig {
        backbone: Backbone::ResNet10,
        width: 4,
        dim: 8,
        ..ModelConfig::default()
    };
    let method = MethodConfig {
        momentum: 0.99,
        bn_groups: 2,
        ..MethodConfig::default()
    };
    (model, method, OptimConfig::default())
}

fn go_on(state: TrainingState, device: &Device) -> Result<DenseCl, Error> {
    let (model, method, optim) = settings();
    state.learner(&model, &method, &optim, QUEUE, 0, device)
}

fn read() -> TrainingState {
    TrainingState::read(&bytes("interop", "authors_training.pth")).expect("a training state")
}

#[test]
fn the_next_steps_have_pytorchs_losses() {
    let golden = Golden::open_in("interop", "authors");
    let state = read();
    assert_eq!(
        (state.trained_for.step, state.trained_for.epoch),
        (Some(3), Some(1))
    );
    assert_eq!(state.queue_len(), QUEUE);
    assert!(
        state.account.absent.is_empty(),
        "{:?}",
        state.account.absent
    );
    let mut learner = go_on(state, &cpu()).expect("the same network");
    for step in 3..6 {
        let images = |view| {
            input(
                &format!("authors/step{step}/{view}"),
                [BATCH, 3, SIDE, SIDE],
            )
        };
        let views = Views {
            query: images("q"),
            key: images("k"),
            key_order: permutation(&format!("authors/step{step}/permutation"), BATCH),
            geometry: None,
        };
        let settings = StepSettings {
            step,
            total_steps: 6,
            learning_rate: 0.05,
        };
        let output = learner::step(&mut learner, vec![views], &settings).expect("a step");
        let measured = output.figures().expect("the CPU answers");
        for key in ["loss", "loss_global", "loss_dense"] {
            let got = figures(&measured, [key]);
            golden.assert_close(&format!("step{step}/{key}"), &[1], &got, TOLERANCE);
        }
    }
    golden.assert_all_read();
}

/// MoCo v2 has no dense head and no dense queue: both start fresh; everything else comes from the file.
#[test]
fn moco_goes_on_as_densecl() {
    let state = TrainingState::read(&bytes("torch", "moco_v2_legacy.pth")).expect("MoCo");
    let absent = ["dense head", "dense queue", "velocity of SGD"];
    assert_eq!(state.account.absent, absent);
    assert_eq!(
        (state.trained_for.step, state.trained_for.epoch),
        (None, Some(200))
    );
    let (_, method, optim) = settings();
    let model = state.model.clone();
    let learner = state
        .learner(&model, &method, &optim, 10, 5, &cpu())
        .expect("enough of a state");
    let fresh = DenseCl::new(&model, &method, &optim, 10, 5, &cpu());
    let [query, key, fresh] = [&learner.query, &learner.key, &fresh.query].map(named_values);
    let head = "dense_head.conv1.weight";
    assert_eq!((&query[head], &key[head]), (&fresh[head], &fresh[head]));
    for tensor in ["conv1.weight", "global_head.fc1.weight"] {
        assert_ne!(query[tensor], fresh[tensor], "{tensor}");
    }
    assert_eq!(learner.global_queue.position(), 4);
}

/// densecl's own checkpoint can be continued without the rest of its run folder.
#[test]
fn our_checkpoints_go_on() {
    let (model, method, optim) = settings();
    let mut learner = go_on(read(), &cpu()).expect("the same network");
    let bytes = checkpoint::save(&mut learner, &model, 0, 100, 3).expect("saved");
    let state = TrainingState::read(&bytes).expect("ours");
    assert_eq!(state.trained_for.step, Some(3));
    let mut again = state
        .learner(&model, &method, &optim, QUEUE, 0, &cpu())
        .expect("the same network");
    let saved = checkpoint::save(&mut again, &model, 0, 100, 3);
    assert_eq!(saved.expect("saved"), bytes);
}

#[test]
fn what_is_no_training_state_says_why() {
    let error = |folder, file| {
        let error = TrainingState::read(&bytes(folder, file)).expect_err(file);
        error.to_string()
    };
    let backbone = error("interop", "torchvision_r18.pth");
    assert!(backbone.contains("without a key encoder"), "{backbone}");
    let v1 = error("torch", "moco_v1.pth");
    assert!(v1.contains("without a global head"), "{v1}");
    // The optimizer in this file has other parameters than the encoders.
    let other = error("torch", "authors_checkpoint.pth");
    let wanted = "its optimizer has 68 parameters, its encoders have 88";
    assert!(other.contains(wanted), "{other}");

    let (mut model, method, optim) = settings();
    model.width = 8;
    let other = read().learner(&model, &method, &optim, QUEUE, 0, &cpu());
    let other = other.expect_err("another width").to_string();
    assert!(
        other.contains("width 4") && other.contains("width 8"),
        "{other}"
    );
    model.width = 4;
    let other = read().learner(&model, &method, &optim, 16, 0, &cpu());
    let other = other.expect_err("another queue").to_string();
    assert!(other.contains("20 keys, the run's 16"), "{other}");
}
