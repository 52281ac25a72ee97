//! Trains five steps natively, on the CPU, for comparison with the training in a browser. As the features of
//! `reference.rs` they are computed in each test run.

use std::{fs, path::Path, path::PathBuf, sync::atomic::AtomicBool};

use densecl::{device::block_on, world::Alone};
use densecl_tests::network::cpu;
use densecl_train::{
    config::RunConfig,
    events::{Observer, TrainEvent},
    in_memory::{Images, InMemory},
    plan::Plan,
    presets::PRESETS,
    published::weights_file,
    settings,
    trainer::{Host, Services, Trainer},
};
use serde_json::{Value, json};

/// Steps that are compared.
const STEPS: u64 = 5;

/// Settings with which a step takes milliseconds, over those of the preset: for SwiftShader.
const TINY: [&str; 9] = [
    "train.batch_size=4",
    "model.width=8",
    "model.dim=16",
    "views.size=32",
    "scenes.size=32",
    "data.scene_count=8",
    "eval.pairs=2",
    "log.every_steps=1",
    "train.seed=3",
];

/// The preset itself, with fewer scenes and pairs to render. At the preset's learning rate of 0.1 rounding errors grow about
/// fivefold in each of the first steps: the fifth loss then differs by 1e-4. At 0.01 it differs by 3e-6.
const PRESET: [&str; 4] = [
    "data.scene_count=32",
    "eval.pairs=2",
    "log.every_steps=1",
    "optim.lr=0.01",
];

/// Writes to `out`, for `tiny` and `preset`:
///
/// - `training-NAME.json`: the settings over those of the preset `tab`, the number of steps, and the loss of each;
/// - `training-NAME.safetensors`: the weights after the last step.
pub(crate) fn write(out: &Path) {
    train(out, "tiny", &TINY);
    train(out, "preset", &PRESET);
}

fn train(out: &Path, name: &str, sets: &[&str]) {
    let (_, preset) = PRESETS
        .into_iter()
        .find(|(name, _)| *name == "tab")
        .expect("the preset");
    let steps = format!("train.steps={STEPS}");
    let own = sets.iter().map(ToString::to_string);
    let all: Vec<String> = own.chain([steps]).collect();
    let config: RunConfig = settings::resolve(&[("tab", preset)], &all).expect("settings");
    let images = Images::scenes(&config);
    let plan = Plan::new(config, cpu(), images.count()).expect("a plan");
    let learner = plan.learner();
    let mut losses = Losses::default();
    let mut services = Services {
        plan: &plan,
        batches: &mut InMemory::new(images, &plan, &learner.views(), Box::new(|| 0.0)),
        host: &mut Nowhere,
        observer: &mut losses,
        world: &mut Alone,
        stop: &AtomicBool::new(false),
    };
    let trainer = Trainer::new(learner, (0, 0.0), &mut services).expect("a learner");
    let Ok(ended) = block_on(trainer.run(&mut services)) else {
        panic!("five steps on the CPU");
    };
    let method = ended.learner.published_name();
    let file = weights_file(&plan, ended.learner.encoder(), method, STEPS).expect("weights");
    let write = |end: &str, bytes: &[u8]| {
        let path = out.join(format!("training-{name}.{end}"));
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    };
    let summary = json!({ "set": sets, "steps": STEPS, "losses": losses.0 });
    write("json", summary.to_string().as_bytes());
    write("safetensors", &file);
}

/// The loss of each step.
#[derive(Default)]
struct Losses(Vec<Value>);

impl Observer for Losses {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        if let TrainEvent::Row(row) = event {
            self.0.push(json!(row.loss));
        }
        Ok(())
    }
}

/// A host without a clock that stores nothing.
struct Nowhere;

impl Host for Nowhere {
    fn seconds(&self) -> f64 {
        0.0
    }

    fn resident_bytes(&self) -> Option<u64> {
        None
    }

    fn keep(&mut self, _: u64, _: Vec<u8>) -> anyhow::Result<PathBuf> {
        Ok(PathBuf::new())
    }
}
