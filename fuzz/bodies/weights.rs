//! Fuzzes loading an encoder from a file given to `--weights`: safetensors with densecl's metadata or another
//! program's keys, and files written by torch.save.

use std::sync::LazyLock;

use densecl::device::{DeviceChoice, Selected, select};
use densecl::model::Tensors;
use densecl::weights;

static CPU: LazyLock<Selected> = LazyLock::new(|| {
    let selected = pollster::block_on(select(DeviceChoice::Cpu));
    selected.expect("the CPU is there")
});

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Ok((encoder, _)) = weights::load(bytes, &CPU.device) else {
        return false;
    };
    let held: usize = encoder
        .named()
        .iter()
        .map(|t| t.values.shape().num_elements())
        .sum();
    // A number takes at least two bytes in the file; more numbers than bytes would mean that memory was
    // allocated for data that is not there.
    assert!(held <= bytes.len(), "more numbers than bytes");
    true
}
