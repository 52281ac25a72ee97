//! Fuzzes the reader of whole torch files in both formats: zip directory, legacy framing, pickles, tensors,
//! and the optimizer state.

use densecl::foreign::torch::TorchFile;

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Ok(file) = TorchFile::parse(bytes) else {
        return false;
    };
    let state_dict = file.state_dict();
    if let Ok(found) = &state_dict {
        let numbers: usize = found.tensors.iter().map(|(_, t)| t.values.len()).sum();
        assert!(numbers <= bytes.len(), "more numbers than bytes");
        for (name, tensor) in &found.tensors {
            let count: usize = tensor.shape.iter().product();
            assert_eq!(count, tensor.values.len(), "{name}");
        }
    }
    if let Ok(Some(momentum)) = file.momentum() {
        for number in 0..momentum.parameters.min(100) {
            let shape = momentum.shape(number);
            let count =
                shape.and_then(|s| s.iter().try_fold(1, |n: usize, &side| n.checked_mul(side)));
            // Callers of `read` compare the shape with the parameter's first, so shapes larger than the file
            // are not read here.
            if count.is_some_and(|count| count <= bytes.len())
                && let Ok(stored) = momentum.read(number)
            {
                assert_eq!(Some(stored.values.len()), count);
            }
        }
    }
    state_dict.is_ok()
}
