//! The operations of GPUs against those of the CPU, value by value and gradient by gradient.
//!
//! A machine without a GPU runs these tests on Mesa's software Vulkan adapter ([`densecl_tests::needs`]). There the kernels
//! for hardware run too, because the tests ask for them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{DType, Device, Tensor, TensorData};
use densecl::ops::choice::{self, Mode};
use densecl_tests::needs;

mod convolutions;
mod layers;

/// Largest difference allowed, relative to the largest value. Both sides compute in f32 and sum in other orders; measured
/// on lavapipe: 2e-6.
const AGREEMENT: f32 = 1e-4;

/// How algorithms are chosen is a setting of the process, so the tests take turns.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The adapter, while no other test uses it. Afterwards algorithms are chosen as in a new process.
struct Gpu {
    device: Device,
    _alone: MutexGuard<'static, ()>,
}

impl Gpu {
    fn new() -> Option<Self> {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let device = needs::gpu()?.device;
        Some(Self {
            device,
            _alone: alone,
        })
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        choice::set_mode(Mode::Fixed);
        choice::treat_as_hardware(false);
    }
}

/// Numbers in [−1, 1) that look random.
fn random<const D: usize>(shape: [usize; D], which: u64, device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values = (0..count as u64).map(|i| {
        // The finaliser of SplitMix64.
        let mut z = (i + (which << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 40) as f32 / (1 << 23) as f32 - 1.0
    });
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), device)
}

fn leaf<const D: usize>(shape: [usize; D], which: u64, device: &Device) -> Tensor<D> {
    random(shape, which, device).autodiff().require_grad()
}

type Values = Vec<(String, Vec<f32>)>;

fn values<const D: usize>(name: &str, x: Tensor<D>) -> (String, Vec<f32>) {
    let x = x.inner().cast(DType::F32);
    (
        name.to_string(),
        x.try_into_vec_as().expect("it can be read"),
    )
}

#[track_caller]
fn assert_same(what: &str, found: &Values, expected: &Values, agreement: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}: {name}");
        let scale = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let pairs = found.iter().zip(expected);
        let error = pairs.fold(0.0_f32, |most, (a, b)| {
            let difference = (a - b).abs();
            if difference.is_nan() {
                f32::INFINITY
            } else {
                most.max(difference)
            }
        });
        assert!(
            error <= agreement * scale,
            "{what}: {name} differs by {error} of {scale}"
        );
    }
}
