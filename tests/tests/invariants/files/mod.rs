//! Weights and checkpoints as bytes: whole files are restored exactly, all others are refused with one clear
//! error.

use densecl::{
    Error,
    checkpoint::{self, Checkpoint},
    config::ModelConfig,
    method::DenseCl,
    weights::{self, FORMAT_VERSION, WeightsInfo},
};
use densecl_tests::{
    learner::{self, Tiny, settings, views},
    network::cpu,
};

mod damaged;
mod other;
mod whole;

/// Seed and number of images recorded in the tests' checkpoints.
const SEED: u64 = 7;
const IMAGES: usize = 100;

/// A very small network, so that files are short.
fn small() -> Tiny {
    let mut tiny = Tiny::default();
    (tiny.model.width, tiny.model.dim) = (2, 4);
    tiny
}

fn info(model: &ModelConfig) -> WeightsInfo {
    WeightsInfo {
        format_version: FORMAT_VERSION,
        method: "densecl".to_owned(),
        model: model.clone(),
        steps: 12,
        data: "formula".to_owned(),
        config: "seed = 7\n".to_owned(),
    }
}

fn weights_file() -> Vec<u8> {
    let tiny = small();
    let encoder = tiny.learner(&cpu()).query;
    weights::save(&encoder, &info(&tiny.model)).expect("saved")
}

fn after_steps(tiny: &Tiny, steps: u64) -> DenseCl {
    let mut learner = tiny.learner(&cpu());
    (0..steps).for_each(|step| take_step(&mut learner, step));
    learner
}

fn take_step(learner: &mut DenseCl, step: u64) {
    let views = views(&format!("files/{step}"), 4, &cpu());
    learner::step(learner, vec![views], &settings(step)).expect("a step");
}

fn checkpoint_file(tiny: &Tiny, steps: u64) -> Vec<u8> {
    let mut learner = after_steps(tiny, steps);
    checkpoint::save(&mut learner, &tiny.model, SEED, IMAGES, steps).expect("saved")
}

fn load_checkpoint(
    bytes: &[u8],
    tiny: &Tiny,
) -> densecl::Result<(DenseCl, checkpoint::CheckpointInfo)> {
    let saved = Checkpoint::read(bytes, &tiny.model)?;
    let mut learner = tiny.learner(&cpu());
    let info = saved.restore(&mut learner)?;
    Ok((learner, info))
}

/// Asserts that the message is one line, not empty, and without Rust's `Debug` output.
fn assert_one_line(error: &Error) -> String {
    let message = error.to_string();
    assert!(
        !message.is_empty() && !message.contains('\n'),
        "{message:?}"
    );
    message
}
