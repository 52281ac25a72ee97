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
    let chosen = measure(client, &traits, case, run);
    let (algorithm, milliseconds) = chosen.unwrap_or_else(|| (fixed(), Vec::new()));
    choice::add(Chosen {
        device,
        case: *case,
        algorithm,
        milliseconds,
    });
    algorithm
}

/// The name of a device and of its driver.
fn device_name(client: &Client) -> String {
    let identity = &client.properties().identity;
    format!(
        "{} ({}, {})",
        identity.name,
        client.name(),
        identity.fingerprint
    )
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

/// The algorithm that is fastest among those whose results agree, and the times of these. `None` if none works.
fn measure(
    client: &Client,
    traits: &Traits,
    case: &Case,
    run: &dyn Fn(Algorithm) -> GpuTensor,
) -> Option<(Algorithm, Vec<(Algorithm, f64)>)> {
    let mut results = Vec::new();
    for algorithm in Algorithm::ALL {
        if !is_possible(algorithm, traits, case) {
            continue;
        }
        // Burn's operations panic where they cannot launch; a kernel that does not compile leaves a result that cannot
        // be read.
        let result = catch_unwind(AssertUnwindSafe(|| flat(run(algorithm))));
        let result = result.ok().filter(|result| largest(result).is_some());
        match result {
            Some(result) => results.push((algorithm, result)),
            None => choice::note(format!(
                "the kernel {algorithm} does not work on {} and is left out ({case})",
                client.properties().identity.name
            )),
        }
    }
    let agreeing = agreeing(&results, if case.half { AGREE_HALF } else { AGREE });
    for (algorithm, _) in &results {
        if !agreeing.contains(algorithm) {
            choice::note(format!(
                "the kernel {algorithm} gives other values than {} on {} and is left out ({case})",
                agreeing.first().map_or("the others", |a| a.name()),
                client.properties().identity.name
            ));
        }
    }
    drop(results);
    let mut times: Vec<_> = agreeing
        .into_iter()
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

/// The largest magnitude of a result; `None` if it cannot be read or is not finite.
fn largest(x: &Tensor<1>) -> Option<f32> {
    let read = x.clone().abs().max().try_into_vec_as::<f32>().ok()?;
    read.first().copied().filter(|value| value.is_finite())
}

/// The largest set of algorithms whose results agree pairwise with its first.
fn agreeing(results: &[(Algorithm, Tensor<1>)], tolerance: f32) -> Vec<Algorithm> {
    let with = |(_, first): &(Algorithm, Tensor<1>)| -> Vec<Algorithm> {
        let scale = largest(first).unwrap_or(0.0);
        let near = results.iter().filter(|(_, other)| {
            let difference = largest(&(first.clone() - other.clone()));
            difference.is_some_and(|difference| difference <= tolerance * scale)
        });
        near.map(|(algorithm, _)| *algorithm).collect()
    };
    let sets = results.iter().map(with);
    // Of equally large sets the first: simple kernels come before intricate ones.
    sets.fold(
        Vec::new(),
        |best, set| if set.len() > best.len() { set } else { best },
    )
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
