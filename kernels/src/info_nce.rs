//! InfoNCE against a queue, and its gradient, in one pass over the queue and without the logits.
//!
//! With the paper's batch, the logits of the dense loss would be 12,544 × 65,536 values, 3.3 GB, and as much
//! again for their gradient. Here only one tile of logits exists at a time, as in FlashAttention (Dao et al.
//! 2022): each query has a running maximum m of its logits lₖ, the sum Σ exp(lₖ − m), and Σ exp(lₖ − m)·k, the
//! negatives' part of the gradient. When a larger logit appears, both sums are rescaled. Keys have no gradient,
//! so the backward pass needs one vector per query.

use multiversion::multiversion;

use crate::{
    parallel::{chunks2, with_scratch},
    product::{Matrix, Write, product},
};

/// For each query its loss, whether its positive is the most similar key, and the gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct InfoNce {
    /// −log softmax of the positive, for each query `[N]`.
    pub loss: Vec<f32>,
    /// 1 where the positive is more similar than every key of the queue, else 0 `[N]`.
    pub hit: Vec<f32>,
    /// ∂loss/∂query [N, D]; empty when [`info_nce`] was called with `gradient` false.
    pub gradient: Vec<f32>,
}

/// Queries in a tile.
const QUERIES: usize = 64;
/// Keys in a tile: its logits take 128 KiB, its keys 256 KiB at D = 128.
const KEYS: usize = 512;

/// InfoNCE of queries [N, D] with their positive keys [N, D] and the negatives of the queue [K, D]; all vectors
/// have unit length. `dim` is D; the gradient is computed only if `gradient` is true.
///
/// # Panics
/// When `dim` is 0, a length is no multiple of it, or there are not as many positives as queries.
pub fn info_nce(
    [query, positive, queue]: [&[f32]; 3],
    dim: usize,
    temperature: f32,
    gradient: bool,
) -> InfoNce {
    assert!(dim > 0 && query.len().is_multiple_of(dim) && query.len() == positive.len());
    assert!(queue.len().is_multiple_of(dim));
    let count = query.len() / dim;
    // The values of a query lie side by side, so that each task writes one contiguous range.
    let mut scores = vec![[0.0, 0.0]; count];
    let mut of_query = vec![0.0; if gradient { query.len() } else { count }];
    let width = if gradient { dim } else { 1 };
    chunks2(
        (&mut scores, QUERIES),
        (&mut of_query, QUERIES * width),
        |tile, scores, of_query| {
            let range = tile * QUERIES * dim..(tile * QUERIES + scores.len()) * dim;
            let queries = Tile {
                query: &query[range.clone()],
                positive: &positive[range],
                dim,
                inverse_temperature: 1.0 / temperature,
            };
            queries.pass(queue, scores, gradient.then_some(of_query));
        },
    );
    InfoNce {
        loss: scores.iter().map(|score| score[0]).collect(),
        hit: scores.iter().map(|score| score[1]).collect(),
        gradient: if gradient { of_query } else { Vec::new() },
    }
}

/// A tile of queries and their positive keys.
struct Tile<'a> {
    query: &'a [f32],
    positive: &'a [f32],
    dim: usize,
    inverse_temperature: f32,
}

impl Tile<'_> {
    /// One pass over the queue. During the pass `gradient` holds Σ exp((l − largest)/τ)·k; at its end, the
    /// gradient.
    fn pass(&self, queue: &[f32], scores: &mut [[f32; 2]], mut gradient: Option<&mut [f32]>) {
        let (count, dim) = (scores.len(), self.dim);
        let queries = Matrix::new(self.query, count, dim);
        // The running maximum begins with the positive key, so it is never −∞.
        let positives: Vec<f32> = (0..count)
            .map(|i| {
                dot(
                    &self.query[i * dim..][..dim],
                    &self.positive[i * dim..][..dim],
                )
            })
            .collect();
        let mut running: Vec<Running> = positives
            .iter()
            .map(|&similarity| Running::new(similarity))
            .collect();
        if let Some(gradient) = gradient.as_deref_mut() {
            gradient.copy_from_slice(self.positive);
        }
        with_scratch(count * KEYS, |tile| {
            for keys in queue.chunks(KEYS * dim) {
                let number = keys.len() / dim;
                let tile = &mut tile[..count * number];
                let keys = Matrix::new(keys, number, dim);
                product(tile, Write::Replace, queries, keys.transposed());
                for (i, (row, running)) in
                    tile.chunks_exact_mut(number).zip(&mut running).enumerate()
                {
                    let shrink = running.take(row, self.inverse_temperature);
                    if let Some(gradient) = gradient.as_deref_mut().filter(|_| shrink != 1.0) {
                        scale(&mut gradient[i * dim..][..dim], shrink);
                    }
                }
                if let Some(gradient) = gradient.as_deref_mut() {
                    product(gradient, Write::Add, Matrix::new(tile, count, number), keys);
                }
            }
        });
        for (i, (running, positive)) in running.iter().zip(&positives).enumerate() {
            let beta = self.inverse_temperature;
            scores[i] = [
                running.sum.ln() + (running.largest - positive) * beta,
                f32::from(running.hit),
            ];
            if let Some(gradient) = gradient.as_deref_mut() {
                // (Σ p·k − k⁺)/τ, where p is the softmax over the positive key k⁺ and the queue.
                let normalise = 1.0 / running.sum;
                let own = &self.positive[i * dim..][..dim];
                let row = gradient[i * dim..][..dim].iter_mut().zip(own);
                row.for_each(|(sum, own)| *sum = (*sum * normalise - own) * beta);
            }
        }
    }
}

/// The running log-sum-exp of one query; l are similarities.
struct Running {
    /// The similarity of the query to its positive key.
    positive: f32,
    /// The largest similarity so far.
    largest: f32,
    /// Σ exp((l − largest)/τ) so far.
    sum: f32,
    /// Whether the positive key is more similar than every key of the queue so far.
    hit: bool,
}

impl Running {
    fn new(positive: f32) -> Self {
        Self {
            positive,
            largest: positive,
            sum: 1.0,
            hit: true,
        }
    }

    /// Includes a row of similarities l and replaces them by exp((l − largest)/τ). Returns the factor for
    /// earlier sums, which is below 1 if the row has a new maximum.
    fn take(&mut self, row: &mut [f32], inverse_temperature: f32) -> f32 {
        let largest = maximum(row);
        self.hit &= self.positive > largest;
        let mut shrink = 1.0;
        if largest > self.largest {
            shrink = ((self.largest - largest) * inverse_temperature).exp();
            self.largest = largest;
        }
        self.sum = self.sum * shrink + exponentials(row, self.largest, inverse_temperature);
        shrink
    }
}

#[multiversion(targets = "simd")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Several partial sums, because one sum in order cannot be vectorised.
    let mut lanes = [0.0; LANES];
    let (a, rest_a) = a.as_chunks::<LANES>();
    let (b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

const LANES: usize = 32;

#[multiversion(targets = "simd")]
fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = if chunk[i] > lanes[i] {
                chunk[i]
            } else {
                lanes[i]
            };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

/// Replaces each value x of the row by exp((x − largest)·β), and returns the sum of the new values.
#[multiversion(targets = "simd")]
fn exponentials(row: &mut [f32], largest: f32, beta: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = exp((chunk[i] - largest) * beta);
            lanes[i] += chunk[i];
        }
    }
    let mut sum: f32 = lanes.iter().sum();
    for x in rest {
        *x = exp((*x - largest) * beta);
        sum += *x;
    }
    sum
}

/// e^x for x ≤ 0, with an error of at most 2 units in the last place; 0 below −87; NaN for NaN.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2; e^r is the polynomial of `expf` in Cephes (Moshier).
#[inline(always)]
fn exp(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to a whole number
    let shifted = x.max(-87.0) * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (x.max(-87.0) - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_65,
        0.5,
    ] {
        p = p * r + coefficient;
    }
    let power =
        f32::from_bits(((shifted.to_bits() as i32 - SHIFT.to_bits() as i32 + 127) << 23) as u32);
    let value = (p * r * r + r + 1.0) * power;
    if x < -87.0 {
        0.0
    } else if x.is_nan() {
        x
    } else {
        value
    }
}

#[multiversion(targets = "simd")]
fn scale(row: &mut [f32], factor: f32) {
    row.iter_mut().for_each(|x| *x *= factor);
}
