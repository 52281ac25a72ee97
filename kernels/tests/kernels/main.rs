//! Every kernel against the sum that defines it, written out.

mod conv;
mod info_nce;
mod norm;
mod pool;
mod sgd;

/// Values in (−1, 1) that look random, the same for the same seed.
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

/// Whether two results agree to `bound` of the largest value.
#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-6, |a: f64, b| a.max(b.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / scale;
        assert!(error <= bound, "value {i}: {found} for {expected}");
    }
}
