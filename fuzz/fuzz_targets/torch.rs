//! Whole files of torch's, in both formats: the zip directory, the legacy framing, pickles, tensors.
#![no_main]

use densecl::torch::state_dict;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = state_dict(bytes) {
        let numbers: usize = found.tensors.iter().map(|(_, t)| t.values.len()).sum();
        assert!(numbers <= bytes.len(), "more numbers than bytes");
        for (name, tensor) in &found.tensors {
            let count: usize = tensor.shape.iter().product();
            assert_eq!(count, tensor.values.len(), "{name}");
        }
    }
});
