//! Compares the Rust formula with the Python one, and checks which differences the comparisons detect.

use super::*;

#[test]
fn formula_is_the_generators_bit_for_bit() {
    let golden = Golden::open("formula");
    for name in ["layer1.0.conv1.weight", "input/resnet18"] {
        let (_, want) = golden.i64(&format!("word/{name}"));
        let got: Vec<i64> = words(name).take(4).map(u64::cast_signed).collect();
        assert_eq!(got, want, "{name}");
        assert_eq!(
            formula(name, 4),
            golden.f32(&format!("v/{name}")).1,
            "{name}"
        );
    }
    let shapes: [(&str, &[usize]); 8] = [
        ("layer1.0.conv1.weight", &[64, 64, 3, 3]),
        ("global_head.fc1.weight", &[16, 16]),
        ("global_head.fc1.bias", &[16]),
        ("bn1.weight", &[64]),
        ("layer1.0.bn3.weight", &[64]),
        ("bn1.bias", &[64]),
        ("bn1.running_mean", &[64]),
        ("bn1.running_var", &[64]),
    ];
    assert_eq!(golden.keys("parameter/").count(), shapes.len());
    for (name, shape) in shapes {
        let want = golden.f32(&format!("parameter/{name}")).1;
        assert_eq!(parameter(name, shape)[..4], want, "{name}");
    }
    let as_i64 = |v: Vec<usize>| v.iter().map(|&i| i as i64).collect::<Vec<_>>();
    assert_eq!(
        as_i64(indices("samples/test", 1000, 8)),
        golden.i64("indices").1
    );
    assert_eq!(
        as_i64(permutation("permutation/test", 8)),
        golden.i64("permutation").1
    );
}

#[test]
fn digest_is_the_generators() {
    let golden = Golden::open("formula");
    let mut values = formula("digest/test", 1000);
    values.iter_mut().for_each(|v| *v += 1.0);
    golden.assert_digest("digest", &[20, 50], &values, 1e-6);
}

#[test]
#[should_panic(expected = "formula: digest, samples: relative error")]
fn a_digest_sees_two_values_exchanged() {
    let mut values = formula("digest/test", 1000);
    values.iter_mut().for_each(|v| *v += 1.0);
    values.swap(0, 999); // sum and norm stay the same, but index 999 is sampled
    Golden::open("formula").assert_digest("digest", &[20, 50], &values, TOLERANCE);
}

#[test]
fn values_cover_their_range() {
    let values = formula("range", 1 << 16);
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
    assert!(mean.abs() < 0.01, "mean {mean}");
}

#[test]
fn error_is_relative_to_the_largest_magnitude() {
    assert_eq!(relative_error(&[1.0, -4.0], &[1.0, -4.0]).0, 0.0);
    assert_eq!(relative_error(&[1.5, -4.0], &[1.0, -4.0]), (0.125, 0));
    assert_close("near", &[0.0, 1.0], &[5e-5, 1.0], TOLERANCE);
}

#[test]
fn what_is_not_finite_never_passes() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (got, want) in [(bad, 1.0), (1.0, bad), (bad, bad)] {
            assert_eq!(
                relative_error(&[0.0, got], &[0.0, want]),
                (f64::INFINITY, 1)
            );
        }
    }
    assert_eq!(relative_error(&[1.0], &[1.0, 1.0]).0, f64::INFINITY);
}

#[test]
#[should_panic(expected = "x: relative error inf exceeds 1e-4 at flat index 1 of 2")]
fn nan_panics() {
    assert_close("x", &[1.0, f32::NAN], &[1.0, f32::NAN], TOLERANCE);
}

#[test]
#[should_panic(expected = "number of values")]
fn lengths_must_agree() {
    assert_close("x", &[1.0], &[1.0, 2.0], TOLERANCE);
}

#[test]
#[should_panic(expected = "formula: v/input/resnet18: relative error 1.00e0")]
fn a_wrong_tensor_panics() {
    Golden::open("formula").assert_close("v/input/resnet18", &[4], &[0.0; 4], TOLERANCE);
}

#[test]
#[should_panic(expected = "formula: no test reads [\"digest/norm\"")]
fn an_unread_key_panics() {
    Golden::open("formula").assert_all_read();
}

#[test]
#[should_panic(expected = "formula: no key \"nothing\"")]
fn an_unknown_key_panics() {
    Golden::open("formula").f32("nothing");
}
