use densecl_kernels::info_nce::info_nce;

use crate::{assert_close, values};

fn unit(count: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut all = values(count * dim, seed);
    for row in all.chunks_exact_mut(dim) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    all
}

#[test]
fn loss_hits_and_gradient_are_the_softmaxs() {
    for (n, k, dim, temperature) in [
        (3, 5, 4, 0.2),
        (70, 1200, 128, 0.2),
        (65, 513, 33, 0.01),
        (1, 1, 1, 1.0),
    ] {
        let [query, positive, queue] = [unit(n, dim, 1), unit(n, dim, 2), unit(k, dim, 3)];
        let (mut loss, mut hit, mut gradient) = (Vec::new(), Vec::new(), Vec::new());
        for (q, own) in query.chunks_exact(dim).zip(positive.chunks_exact(dim)) {
            let keys: Vec<&[f32]> = std::iter::once(own)
                .chain(queue.chunks_exact(dim))
                .collect();
            let similar: Vec<f64> = keys
                .iter()
                .map(|key| {
                    q.iter()
                        .zip(*key)
                        .map(|(a, b)| f64::from(*a) * f64::from(*b))
                        .sum()
                })
                .collect();
            let largest = similar.iter().copied().fold(f64::MIN, f64::max);
            let t: f64 = temperature;
            let weights: Vec<f64> = similar.iter().map(|s| ((s - largest) / t).exp()).collect();
            let sum: f64 = weights.iter().sum();
            loss.push(sum.ln() + (largest - similar[0]) / t);
            hit.push(f64::from(u8::from(
                similar[1..].iter().all(|s| similar[0] > *s),
            )));
            gradient.extend((0..dim).map(|d| {
                let mean: f64 = keys
                    .iter()
                    .zip(&weights)
                    .map(|(key, w)| w / sum * f64::from(key[d]))
                    .sum();
                (mean - f64::from(own[d])) / t
            }));
        }
        let found = info_nce([&query, &positive, &queue], dim, temperature as f32, true);
        assert_close(&found.loss, &loss, 1e-5);
        assert_close(&found.hit, &hit, 0.0);
        assert_close(&found.gradient, &gradient, 1e-5);
        let without = info_nce([&query, &positive, &queue], dim, temperature as f32, false);
        assert_eq!((without.loss, without.hit), (found.loss, found.hit));
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    let found = info_nce([&[f32::NAN, 0.0], &[1.0, 0.0], &[0.0, 1.0]], 2, 0.2, true);
    assert!(found.loss[0].is_nan() && found.gradient.iter().any(|g| g.is_nan()));
    assert_eq!(found.hit, [0.0]);
}
