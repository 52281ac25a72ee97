//! The choice of an algorithm for a convolution: what is possible, what is taken without measuring, and the measurement.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::Tensor;
use cubecl::prelude::*;

use super::{tile::Tile, vector_of, vectors_of, winograd};
use crate::ops::{
    choice::{self, Algorithm, Case, Chosen, Mode, Pass},
    gpu::tensor::{GpuTensor, Traits, count, reshaped, tensor},
};

/// The largest difference of two algorithms' results, relative to the largest value: far above the rounding of sums in
/// f32, far below what products in reduced precision (TF32) or a wrong index leave.
const AGREE: f32 = 2e-4;
/// As [`AGREE`], for f16.
const AGREE_HALF: f32 = 5e-3;

/// The most memory that written patches may take, in bytes.
const PATCHES: usize = 1 << 30;

/// Runs of each algorithm that are timed.
const RUNS: usize = 3;

/// The algorithm for a case. `run` computes the result by an algorithm.
pub(super) fn choose(
    client: &Client,
    case: &Case,
    run: &dyn Fn(Algorithm) -> GpuTensor,
) -> Algorithm {
    let traits = Traits::of(client);
    let fixed = || fixed(&traits, case);
    let measured = match choice::mode() {
        Mode::Fixed | Mode::Stock => return fixed(),
        Mode::Only(algorithm) if is_possible(algorithm, &traits, case) => return algorithm,
        Mode::Only(_) => return fixed(),
        Mode::Measured => !traits.is_software,
        Mode::AlwaysMeasured => true,
    };
    let device = device_name(client);
    if let Some(algorithm) = choice::find(&device, case)
        && is_possible(algorithm, &traits, case)
    {
        return algorithm;
    }
    if !measured || cfg!(target_family = "wasm") {
        // A browser's main thread cannot wait for a measurement.
        return fixed();
    }
    let Some((algorithm, milliseconds)) = measure(client, &traits, case, run) else {
        return fixed();
    };
    choice::add(Chosen {
        device,
        case: *case,
        algorithm,
        milliseconds,
    });
    algorithm
}

/// The name of a device with its runtime and driver.
fn device_name(client: &Client) -> String {
    let identity = &client.properties().identity;
    // Of CUDA no driver is known; the fingerprint is then the architecture that it compiles for.
    let driver = choice::driver(&identity.name);
    let driver = driver.as_deref().unwrap_or(&identity.fingerprint);
    format!("{} ({}, {driver})", identity.name, client.name())
}

/// Whether an algorithm can compute a case on a device.
pub(super) fn is_possible(algorithm: Algorithm, traits: &Traits, case: &Case) -> bool {
    let shape = &case.shape;
    let [input, output] = shape.channels;
    // In f16 sums over all pixels would overflow in the result of Burn's products.
    let sums_fit = !(case.half && case.pass == Pass::Weights);
    match algorithm {
        Algorithm::Burn => sums_fit,
        Algorithm::Matmul => shape.kernel == 1 && shape.stride == 1 && sums_fit,
        Algorithm::Patches => {
            let (sides, channels) = match case.pass {
                Pass::Input => (shape.input, output),
                _ => (shape.output(), input),
            };
            let values = shape.batch * sides[0] * sides[1] * channels * shape.taps();
            let fits = values * if case.half { 2 } else { 4 } <= PATCHES;
            let whole = case.pass != Pass::Input || shape.stride == 1;
            shape.kernel > 1 && fits && whole && sums_fit
        }
        Algorithm::Winograd => {
            case.pass != Pass::Weights && winograd::is_possible(shape, case.half)
        }
        _ => match case.pass {
            Pass::Weights => {
                Tile::of_weights(algorithm, traits, vectors_of(algorithm, shape)).is_some()
            }
            pass => {
                let depth = if pass == Pass::Input { output } else { input };
                Tile::of_maps(algorithm, traits, vector_of(algorithm, depth, 0)).is_some()
            }
        },
    }
}

/// The algorithm that is taken without measuring.
fn fixed(traits: &Traits, case: &Case) -> Algorithm {
    let shape = &case.shape;
    let [input, output] = shape.channels;
    let preferred: &[Algorithm] = if traits.is_software {
        &[Algorithm::Planes]
    } else {
        let (rows, columns) = match case.pass {
            Pass::Forward => (shape.batch * area(shape.output()), output),
            Pass::Input => (shape.batch * area(shape.input), input),
            Pass::Weights => (shape.taps() * input, output),
        };
        // Large tiles need fewer reads, but leave parts of the device idle if there are few.
        if columns >= 128 && rows * columns >= 128 * 128 * 256 {
            &[Algorithm::Implicit128, Algorithm::Implicit64]
        } else if rows * columns >= 64 * 64 * 64 {
            &[Algorithm::Implicit64, Algorithm::Implicit32]
        } else {
            &[Algorithm::Implicit32]
        }
    };
    let possible = preferred.iter().find(|a| is_possible(**a, traits, case));
    possible.copied().unwrap_or(Algorithm::Unshared)
}

fn area([height, width]: [usize; 2]) -> usize {
    height * width
}

/// The algorithm that is fastest among those whose results agree, and the times of these. `None` if none works, or if
/// the operands are not finite, so that results cannot be compared.
fn measure(
    client: &Client,
    traits: &Traits,
    case: &Case,
    run: &dyn Fn(Algorithm) -> GpuTensor,
) -> Option<(Algorithm, Vec<(Algorithm, f64)>)> {
    let possible = Algorithm::ALL.into_iter();
    let possible = possible.filter(|algorithm| is_possible(*algorithm, traits, case));
    let tolerance = if case.half { AGREE_HALF } else { AGREE };
    let tried = try_all(possible, tolerance, &|algorithm| flat(run(algorithm)))?;
    // Without the sizes, so that a kernel is named once and not for each convolution of a network.
    let device = &client.properties().identity.name;
    let precision = if case.half { "f16" } else { "f32" };
    for algorithm in &tried.failed {
        choice::note(format!(
            "the kernel {algorithm} does not work in {precision} on {device} for some convolutions and is left out there"
        ));
    }
    for algorithm in &tried.differing {
        choice::note(format!(
            "the kernel {algorithm} gives other values than the others in {precision} on {device} for some convolutions \
             and is left out there"
        ));
    }
    let agreeing = tried.agreeing.into_iter();
    let mut times: Vec<_> = agreeing
        .filter_map(|algorithm| Some((algorithm, time(client, algorithm, run)?)))
        .collect();
    times.sort_by(|a, b| a.1.total_cmp(&b.1));
    let &(fastest, _) = times.first()?;
    Some((fastest, times))
}

fn flat(x: GpuTensor) -> Tensor<1> {
    let values = count(&x);
    tensor::<1>(reshaped(x, [values])).cast(burn::tensor::DType::F32)
}

/// What came out when all algorithms computed the same.
#[derive(Debug, PartialEq)]
struct Tried {
    /// Those whose results agree, the most that do.
    agreeing: Vec<Algorithm>,
    /// Those with other results.
    differing: Vec<Algorithm>,
    /// Those without a result.
    failed: Vec<Algorithm>,
}

/// Algorithms whose results agree with that of the first, which is kept.
struct Group {
    algorithms: Vec<Algorithm>,
    result: Tensor<1>,
    largest: f32,
}

/// Compares the results of all algorithms. `None` if there are results, but none is finite.
///
/// One result is kept for each set of algorithms that agree, so in general one: a map may take a good part of the
/// device's memory.
fn try_all(
    algorithms: impl Iterator<Item = Algorithm>,
    tolerance: f32,
    run: &dyn Fn(Algorithm) -> Tensor<1>,
) -> Option<Tried> {
    let mut groups: Vec<Group> = Vec::new();
    let (mut not_finite, mut failed) = (Vec::new(), Vec::new());
    for algorithm in algorithms {
        // Burn's operations panic where they cannot launch; a kernel that does not compile leaves a result that cannot
        // be read.
        let result = choice::trying(|| catch_unwind(AssertUnwindSafe(|| run(algorithm))));
        let Some((result, largest)) = result.ok().and_then(|x| Some((x.clone(), largest(x)?)))
        else {
            failed.push(algorithm);
            continue;
        };
        if !largest.is_finite() {
            not_finite.push(algorithm);
            continue;
        }
        let agrees = |group: &&mut Group| {
            let difference = largest_difference(&group.result, &result);
            difference.is_some_and(|difference| difference <= tolerance * group.largest)
        };
        match groups.iter_mut().find(agrees) {
            Some(group) => group.algorithms.push(algorithm),
            None => groups.push(Group {
                algorithms: vec![algorithm],
                result,
                largest,
            }),
        }
    }
    if groups.is_empty() && !not_finite.is_empty() {
        return None;
    }
    // Of equally large sets the first is taken: simple kernels are tried before intricate ones.
    let sets = groups.into_iter().map(|group| group.algorithms);
    let (mut agreeing, mut differing) = (Vec::new(), not_finite);
    for mut set in sets {
        if set.len() > agreeing.len() {
            std::mem::swap(&mut set, &mut agreeing);
        }
        differing.extend(set);
    }
    Some(Tried {
        agreeing,
        differing,
        failed,
    })
}

/// The largest magnitude of a result, NaN or ∞ if a value is; `None` if it cannot be read.
fn largest(x: Tensor<1>) -> Option<f32> {
    let x = x.abs();
    // The maximum of a GPU may skip NaN; a sum does not.
    let found = Tensor::cat(vec![x.clone().max(), x.sum()], 0);
    let found =
        choice::trying(|| catch_unwind(AssertUnwindSafe(|| found.try_into_vec_as::<f32>().ok())));
    let found = found.ok().flatten()?;
    let (&largest, &sum) = (found.first()?, found.get(1)?);
    Some(if sum.is_finite() { largest } else { sum })
}

fn largest_difference(a: &Tensor<1>, b: &Tensor<1>) -> Option<f32> {
    (a.dims() == b.dims())
        .then(|| largest(a.clone() - b.clone()))
        .flatten()
}

/// The shortest of a few runs in milliseconds.
fn time(
    client: &Client,
    algorithm: Algorithm,
    run: &dyn Fn(Algorithm) -> GpuTensor,
) -> Option<f64> {
    let once = || {
        let window = client.profile_start().ok()?;
        drop(run(algorithm));
        let profile = client.profile_end(window).ok()?;
        let ticks = cubecl::future::block_on(profile.resolve())?;
        Some(ticks.duration().as_secs_f64() * 1e3)
    };
    (0..RUNS).filter_map(|_| once()).reduce(f64::min)
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use burn::tensor::Device;

    const ALL: [Algorithm; 5] = [
        Algorithm::Unshared,
        Algorithm::Implicit32,
        Algorithm::Implicit64,
        Algorithm::Winograd,
        Algorithm::Burn,
    ];

    fn tried(run: impl Fn(Algorithm) -> Vec<f32>) -> Option<Tried> {
        let device = Device::flex();
        try_all(ALL.into_iter(), 1e-3, &|algorithm| {
            Tensor::from_floats(run(algorithm).as_slice(), &device)
        })
    }

    #[test]
    fn an_algorithm_with_a_wrong_value_or_none_is_left_out() {
        let found = tried(|algorithm| match algorithm {
            // The first, so that the others are not compared with it alone.
            Algorithm::Unshared => vec![4.0, 1.0, -2.0],
            // Differs within the tolerance.
            Algorithm::Implicit64 => vec![4.0, 1.5, -2.002],
            Algorithm::Winograd => panic!("it cannot be launched"),
            _ => vec![4.0, 1.5, -2.0],
        });
        let expected = Tried {
            agreeing: vec![
                Algorithm::Implicit32,
                Algorithm::Implicit64,
                Algorithm::Burn,
            ],
            differing: vec![Algorithm::Unshared],
            failed: vec![Algorithm::Winograd],
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_result_that_is_not_finite_or_of_another_size_agrees_with_none() {
        let found = tried(|algorithm| match algorithm {
            Algorithm::Implicit32 => vec![1.0, f32::NAN],
            Algorithm::Implicit64 => vec![1.0, f32::INFINITY],
            Algorithm::Burn => vec![1.0, 2.0, 0.0],
            _ => vec![1.0, 2.0],
        });
        let found = found.expect("some are finite");
        assert_eq!(found.agreeing, [Algorithm::Unshared, Algorithm::Winograd]);
        assert_eq!(found.differing.len(), 3);
        // Where operands are not finite, as in a step of f16 that overflows, no kernel is to blame.
        assert_eq!(tried(|_| vec![f32::NAN, 0.0]), None);
    }
}
