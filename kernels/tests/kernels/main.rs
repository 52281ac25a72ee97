//! Compares each kernel with a direct evaluation of its definition in f64.

mod conv;
mod info_nce;
mod norm;
mod pool;
mod sgd;

/// Pseudorandom values in (−1, 1), a function of the seed.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Asserts that two results differ by at most `bound` times the largest expected value.
#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-6, |a: f64, b| a.max(b.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / scale;
        assert!(error <= bound, "value {i}: {found} for {expected}");
    }
}
