//! Fuzzes `model.json` of a TensorFlow.js layers model. The files of numbers must be as long as the list of tensors
//! says, which a mutation of the list rarely keeps; here they are made as long, all zero.

use densecl::foreign::tfjs::joined;
use serde_json::Value;

/// The numbers end here: longer files slow down every execution and exercise no further code.
const LONGEST: usize = 1 << 20;

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(json: &[u8]) -> bool {
    let bytes = numbers(json).unwrap_or(0).min(LONGEST);
    super::weights::run(&joined(json, &[vec![0; bytes]]))
}

/// Bytes of the numbers of all tensors in the list.
fn numbers(json: &[u8]) -> Option<usize> {
    let model: Value = serde_json::from_slice(json).ok()?;
    let groups = model.get("weightsManifest")?.as_array()?;
    let mut bytes = 0usize;
    for group in groups {
        for tensor in group.get("weights")?.as_array()? {
            let shape = tensor.get("shape")?.as_array()?;
            let sides = shape.iter().map(|side| side.as_u64()?.try_into().ok());
            let mut count = size_of::<f32>();
            for side in sides {
                count = count.checked_mul(side?)?;
            }
            bytes = bytes.checked_add(count)?;
        }
    }
    Some(bytes)
}
