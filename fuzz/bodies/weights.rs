//! What `--weights` takes: safetensors with our metadata or another program's keys, and what torch.save
//! writes, to an encoder.

use std::sync::LazyLock;

use densecl::device::{DeviceChoice, Selected, select};
use densecl::model::Tensors;
use densecl::weights;

static CPU: LazyLock<Selected> = LazyLock::new(|| {
    let selected = pollster::block_on(select(DeviceChoice::Cpu));
    selected.expect("the CPU is there")
});

/// What the target does with an input.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok((encoder, _)) = weights::load(bytes, &CPU.device) {
        let held: usize = encoder
            .named()
            .iter()
            .map(|t| t.values.shape().num_elements())
            .sum();
        // Half precision doubles; nothing else may grow.
        assert!(held <= bytes.len(), "more numbers than bytes");
    }
}
