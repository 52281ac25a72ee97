use densecl_kernels::sgd::{Parameter, Settings, follow, step, sum_of_squares};

use crate::{assert_close, values};

/// More values than one task takes, and no multiple of the vector width.
const COUNT: usize = 70_003;

#[test]
fn a_step_is_pytorchs_sgd() {
    let [mut theta, mut velocity, gradient] = [1, 2, 3].map(|seed| values(COUNT, seed));
    let settings = Settings {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.01,
    };
    let expected: Vec<[f64; 2]> = (0..COUNT)
        .map(|i| {
            let [t, v, g] = [theta[i], velocity[i], gradient[i]].map(f64::from);
            let v = 0.9 * v + (g + 0.01 * t);
            [t - 0.1 * v, v]
        })
        .collect();
    // As one parameter of a few values and one of all others.
    let (few, others) = theta.split_at_mut(7);
    let (few_v, others_v) = velocity.split_at_mut(7);
    let (few_g, others_g) = gradient.split_at(7);
    let parameter = |theta, velocity, gradient| Parameter {
        theta,
        velocity,
        gradient,
    };
    let parameters = vec![
        parameter(few, few_v, few_g),
        parameter(others, others_v, others_g),
    ];
    let squares = step(parameters, &settings);
    assert_eq!(squares, sum_of_squares(few_g) + sum_of_squares(others_g));
    let of = |i: usize| expected.iter().map(|e| e[i]).collect::<Vec<_>>();
    assert_close(&theta, &of(0), 1e-6);
    assert_close(&velocity, &of(1), 1e-6);
}

#[test]
fn the_key_follows_the_query() {
    let [mut key, query] = [1, 2].map(|seed| values(COUNT, seed));
    let mixed = key.iter().zip(&query);
    let expected: Vec<f64> = mixed
        .map(|(k, q)| 0.999 * f64::from(*k) + 0.001 * f64::from(*q))
        .collect();
    follow(&mut key, &query, 0.999);
    assert_close(&key, &expected, 1e-6);
}

#[test]
fn squares_are_summed() {
    let x = values(COUNT, 1);
    let expected: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    assert_close(&[sum_of_squares(&x) as f32], &[expected], 1e-6);
}
