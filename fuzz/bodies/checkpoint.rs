//! Checkpoints of a run of the tiny network in `replay/checkpoint`, read and restored as `--resume` does.

use std::sync::LazyLock;

use densecl::checkpoint::Checkpoint;
use densecl::config::{Backbone, MethodConfig, ModelConfig, OptimConfig};
use densecl::device::{DeviceChoice, Selected, select};
use densecl::method::DenseCl;

static CPU: LazyLock<Selected> = LazyLock::new(|| {
    let selected = pollster::block_on(select(DeviceChoice::Cpu));
    selected.expect("the CPU is there")
});

/// Keys in each queue of the seed.
const QUEUE: usize = 32;

/// The network of the seed.
fn model() -> ModelConfig {
    ModelConfig {
        backbone: Backbone::ResNet10,
        width: 2,
        dim: 3,
        ..ModelConfig::default()
    }
}

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let model = model();
    let Ok(checkpoint) = Checkpoint::read(bytes, &model) else {
        return false;
    };
    let (method, optim) = (&MethodConfig::default(), &OptimConfig::default());
    let mut learner = DenseCl::new(&model, method, optim, QUEUE, 0, &CPU.device);
    checkpoint.restore(&mut learner).is_ok()
}
