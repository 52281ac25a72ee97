use densecl_kernels::norm::{
    Activation, Shape, apply, gradients, scale_and_shift, statistics, through_relu,
};

use crate::{assert_close, values};

const EPSILON: f64 = 1e-5;

fn shapes() -> [Shape; 5] {
    let shape = |batch, pixels, channels, groups| Shape {
        batch,
        pixels,
        channels,
        groups,
    };
    [
        shape(4, 9, 5, 2),
        shape(6, 1, 33, 3),
        shape(1, 700, 16, 1),
        shape(8, 300, 7, 4),
        shape(4, 4100, 16, 2), // samples that are split over several tasks
    ]
}

/// Mean and inverse standard deviation for each (group, channel), in f64.
fn moments(x: &[f32], shape: &Shape) -> Vec<(f64, f64)> {
    let Shape {
        batch,
        pixels,
        channels,
        groups,
    } = *shape;
    (0..groups * channels)
        .map(|i| {
            let (group, channel) = (i / channels, i % channels);
            let of: Vec<f64> = (group..batch)
                .step_by(groups)
                .flat_map(|sample| {
                    (0..pixels).map(move |p| (sample * pixels + p) * channels + channel)
                })
                .map(|at| f64::from(x[at]))
                .collect();
            let mean = of.iter().sum::<f64>() / of.len() as f64;
            let variance = of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / of.len() as f64;
            (mean, 1.0 / (variance + EPSILON).sqrt())
        })
        .collect()
}

#[test]
fn groups_are_normalised_by_themselves_and_what_follows_is_fused() {
    for shape in shapes() {
        let Shape {
            batch,
            pixels,
            channels,
            groups,
        } = shape;
        // The mean is far from 0, where a variance computed as E[x²] − E[x]² would lose its digits.
        let x: Vec<f32> = values(batch * pixels * channels, 1)
            .iter()
            .map(|x| x * 0.1 + 2.0)
            .collect();
        let shortcut = values(x.len(), 2);
        let (gamma, beta) = (values(channels, 3), values(channels, 4));
        let moments = moments(&x, &shape);
        let normal: Vec<f64> = x
            .iter()
            .enumerate()
            .map(|(at, x)| {
                let (sample, channel) = (at / channels / pixels, at % channels);
                let (mean, inverse) = moments[sample % groups * channels + channel];
                (f64::from(*x) - mean) * inverse * f64::from(gamma[channel])
                    + f64::from(beta[channel])
            })
            .collect();
        let [scale, shift] = scale_and_shift(&statistics(&x, &shape), &gamma, &beta, EPSILON);
        let run = |activation| apply(&x, [&scale, &shift], activation, &shape);
        assert_close(&run(Activation::Identity), &normal, 1e-4);
        let relu: Vec<f64> = normal.iter().map(|y| y.max(0.0)).collect();
        assert_close(&run(Activation::Relu), &relu, 1e-4);
        let sum = normal
            .iter()
            .zip(&shortcut)
            .map(|(y, s)| (y + f64::from(*s)).max(0.0));
        assert_close(
            &run(Activation::AddRelu(&shortcut)),
            &sum.collect::<Vec<_>>(),
            1e-4,
        );
    }
}

#[test]
fn gradients_are_those_of_the_definition() {
    for shape in shapes() {
        let Shape {
            batch,
            pixels,
            channels,
            groups,
        } = shape;
        let x = values(batch * pixels * channels, 1);
        let g = values(x.len(), 2);
        let gamma = values(channels, 3);
        let moments = moments(&x, &shape);
        let of = |at: usize| {
            (
                at / channels / pixels % groups * channels + at % channels,
                at % channels,
            )
        };
        let normal = |at: usize| {
            let (mean, inverse) = moments[of(at).0];
            (f64::from(x[at]) - mean) * inverse
        };
        let mut sums = vec![(0.0, 0.0); groups * channels];
        for (at, g) in g.iter().enumerate() {
            sums[of(at).0].0 += f64::from(*g);
            sums[of(at).0].1 += f64::from(*g) * normal(at);
        }
        let count = (batch / groups * pixels) as f64;
        let expected: Vec<f64> = (0..x.len())
            .map(|at| {
                let (i, channel) = of(at);
                let (plain, along) = sums[i];
                let inner = f64::from(g[at]) - plain / count - normal(at) * along / count;
                f64::from(gamma[channel]) * moments[i].1 * inner
            })
            .collect();
        let total = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
            (0..channels)
                .map(|c| (0..groups).map(|g| pick(&sums[g * channels + c])).sum())
                .collect()
        };
        let found = gradients(&g, &x, &statistics(&x, &shape), (&gamma, EPSILON), &shape);
        assert_close(&found.x, &expected, 1e-4);
        assert_close(&found.gamma, &total(|s| s.1), 1e-4);
        assert_close(&found.beta, &total(|s| s.0), 1e-4);
    }
}

#[test]
fn relu_lets_gradients_through_where_it_let_values_through() {
    let mut gradient = vec![1.0, -2.0, 3.0];
    through_relu(&mut gradient, &[0.0, 5.0, 0.0]);
    assert_eq!(gradient, [0.0, -2.0, 0.0]);
}

#[test]
fn what_is_not_a_number_stays_so() {
    let shape = Shape {
        batch: 1,
        pixels: 2,
        channels: 1,
        groups: 1,
    };
    let y = apply(
        &[f32::NAN, -1.0],
        [&[1.0], &[0.0]],
        Activation::Relu,
        &shape,
    );
    assert!(y[0].is_nan() && y[1] == 0.0);
}
