//! Joint PCA colouring: two feature maps share one projection to colours, so that similar features get
//! similar colours in both.

/// Number of vectors in the subspace iteration. Three components are shown; with eight vectors these
/// converge at the rate λ₉/λ₃ instead of λ₄/λ₃ (Halko, Martinsson and Tropp 2011, §4.5), and eight
/// `f64` fill whole vector registers.
const BLOCK: usize = 8;

/// Number of components that become colour channels.
const SHOWN: usize = 3;

/// Upper bound of iterations. Well separated components take about ten. Components of nearly equal
/// variance may not converge, but then any rotation of them is an equally good colouring.
const MAX_ITERATIONS: usize = 60;

/// The iteration ends when no eigenvalue of a shown component changes by more than this share of the
/// largest eigenvalue. The error of an eigenvector is of the order of the square root of the error of its
/// eigenvalue, so the colours are then accurate to about 1e-5.
const TOLERANCE: f64 = 1e-10;

/// One row of a matrix with [`BLOCK`] columns.
type Block = [f64; BLOCK];

/// Colours the cells of two feature maps by their first three principal components (red, green,
/// blue), computed over the cells of both together. Each component is scaled so that its 2nd to 98th
/// percentile over both maps fills 0 to 255.
///
/// `a` and `b` are row-major `[cells, channels]`; the numbers of cells may differ. Returns one RGB colour
/// per cell for each map. The result is a pure function of the input: the iteration starts from fixed
/// numbers, and the sign of a component is chosen so that its largest loading is positive.
///
/// A component whose variance is zero or below the rounding of `f32` features gives a constant mid-grey,
/// for example with constant features or with fewer than three informative directions. Values that are
/// not finite count as the mean of their channel.
///
/// # Panics
/// If `channels` is 0 or does not divide the lengths.
pub fn joint_pca(a: &[f32], b: &[f32], channels: usize) -> (Vec<[u8; 3]>, Vec<[u8; 3]>) {
    assert!(channels > 0, "features need at least one channel");
    assert!(
        a.len().is_multiple_of(channels) && b.len().is_multiple_of(channels),
        "features of {} and {} values are no whole cells of {channels} channels",
        a.len(),
        b.len()
    );
    let (centred, noise) = centre(a, b, channels);
    let components = principal_components(&centred, channels, noise);

    let mut colors = vec![[128u8; 3]; centred.len() / channels];
    for (k, component) in components.iter().enumerate() {
        let projection: Vec<f64> = centred
            .chunks_exact(channels)
            .map(|cell| {
                cell.iter()
                    .zip(component)
                    .map(|(&x, &w)| f64::from(x) * w)
                    .sum()
            })
            .collect();
        for (color, level) in colors.iter_mut().zip(percentile_levels(&projection)) {
            color[k] = level;
        }
    }
    let second = colors.split_off(a.len() / channels);
    (colors, second)
}

/// Subtracts the channels' means from the cells of both maps: `[cells of a and b, channels]`. Also returns
/// the eigenvalue below which a component consists only of the rounding of the `f32` inputs.
fn centre(a: &[f32], b: &[f32], channels: usize) -> (Vec<f32>, f64) {
    let mut sums = vec![0f64; channels];
    let mut counts = vec![0u32; channels];
    let cells = || a.chunks_exact(channels).chain(b.chunks_exact(channels));
    for cell in cells() {
        for (c, &x) in cell.iter().enumerate().filter(|(_, x)| x.is_finite()) {
            sums[c] += f64::from(x);
            counts[c] += 1;
        }
    }
    let means: Vec<f64> = sums
        .iter()
        .zip(&counts)
        .map(|(sum, &count)| sum / f64::from(count.max(1)))
        .collect();

    let mut energy = 0f64;
    let mut centred = Vec::with_capacity(a.len() + b.len());
    for cell in cells() {
        for (&x, mean) in cell.iter().zip(&means) {
            let x = if x.is_finite() { f64::from(x) } else { *mean };
            energy += x * x;
            centred.push((x - mean) as f32);
        }
    }
    (centred, energy * f64::from(f32::EPSILON).powi(2))
}

/// Up to three principal components of `channels` values, each of norm 1, by descending variance.
///
/// The method is subspace iteration with Rayleigh–Ritz projection on XᵀX, which is never formed. One
/// iteration costs 4·n·C·[`BLOCK`] operations for n cells of C channels. Forming the smaller of XᵀX and
/// XXᵀ would cost n·C·min(n, C), more than all iterations unless n or C is very small.
fn principal_components(centred: &[f32], channels: usize, noise: f64) -> Vec<Vec<f64>> {
    let mut basis = starting_basis(channels);
    let mut previous = [f64::INFINITY; BLOCK];
    let mut iteration = 0;
    loop {
        orthonormalise(&mut basis);
        let image = apply_covariance(centred, &basis);
        let (values, vectors) = symmetric_eigen(product(&basis, &image));
        iteration += 1;
        let settled =
            (0..SHOWN).all(|k| (values[k] - previous[k]).abs() <= TOLERANCE * values[0].abs());
        if settled || iteration == MAX_ITERATIONS {
            return (0..SHOWN)
                .take_while(|&k| values[k] > noise.max(1e-12 * values[0]))
                .map(|k| ritz_vector(&basis, vectors.map(|row| row[k])))
                .collect();
        }
        previous = values;
        basis = image;
    }
}

/// Qᵀ·Z of two blocks `[channels, BLOCK]`.
fn product(basis: &[Block], image: &[Block]) -> [Block; BLOCK] {
    let mut result = [[0f64; BLOCK]; BLOCK];
    for (q, z) in basis.iter().zip(image) {
        for (row, &qi) in result.iter_mut().zip(q) {
            row.iter_mut().zip(z).for_each(|(t, &zj)| *t += qi * zj);
        }
    }
    result
}

/// The combination of the basis vectors with these weights; its sign makes the largest loading positive.
fn ritz_vector(basis: &[Block], weights: Block) -> Vec<f64> {
    let mut vector: Vec<f64> = basis
        .iter()
        .map(|q| q.iter().zip(&weights).map(|(x, w)| x * w).sum())
        .collect();
    let largest = vector
        .iter()
        .fold(0f64, |m, &w| if w.abs() > m.abs() { w } else { m });
    if largest < 0.0 {
        vector.iter_mut().for_each(|w| *w = -*w);
    }
    vector
}

/// Fixed start vectors `[channels, BLOCK]`: SplitMix64 of the index, in [-0.5, 0.5). Pseudo-random
/// values, because a regular pattern could be orthogonal to regular features.
fn starting_basis(channels: usize) -> Vec<Block> {
    let noise = |index: usize| {
        let mut z = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..channels)
        .map(|c| std::array::from_fn(|k| noise(c * BLOCK + k)))
        .collect()
}

/// XᵀX·Q for the centred cells X `[n, channels]` and a basis Q `[channels, BLOCK]`, in `f64`.
fn apply_covariance(centred: &[f32], basis: &[Block]) -> Vec<Block> {
    let mut result = vec![[0f64; BLOCK]; basis.len()];
    for cell in centred.chunks_exact(basis.len()) {
        let mut projection = [0f64; BLOCK];
        for (&x, q) in cell.iter().zip(basis) {
            projection
                .iter_mut()
                .zip(q)
                .for_each(|(p, &w)| *p += f64::from(x) * w);
        }
        for (&x, row) in cell.iter().zip(&mut result) {
            row.iter_mut()
                .zip(&projection)
                .for_each(|(r, &p)| *r += f64::from(x) * p);
        }
    }
    result
}

/// Modified Gram–Schmidt on the columns, run twice for accuracy. A column that depends linearly on the
/// ones before it becomes zero and stays zero in further iterations.
fn orthonormalise(basis: &mut [Block]) {
    let dot = |basis: &[Block], i: usize, j: usize| basis.iter().map(|q| q[i] * q[j]).sum::<f64>();
    for k in 0..BLOCK {
        let before = dot(basis, k, k).sqrt();
        for _ in 0..2 {
            for j in 0..k {
                let overlap = dot(basis, j, k);
                basis.iter_mut().for_each(|q| q[k] -= overlap * q[j]);
            }
        }
        let after = dot(basis, k, k).sqrt();
        let factor = if after > 1e-13 * before {
            1.0 / after
        } else {
            0.0
        };
        basis.iter_mut().for_each(|q| q[k] *= factor);
    }
}

/// Eigenvalues in descending order and eigenvectors (column k belongs to value k) of a symmetric matrix,
/// by cyclic Jacobi rotations.
fn symmetric_eigen(mut m: [Block; BLOCK]) -> (Block, [Block; BLOCK]) {
    let mut vectors: [Block; BLOCK] =
        std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))));
    // Jacobi converges quadratically: an 8 × 8 matrix reaches the accuracy of f64 in 6 to 8 sweeps.
    for _ in 0..12 {
        for p in 0..BLOCK {
            for q in p + 1..BLOCK {
                if m[p][q] == 0.0 {
                    continue;
                }
                let theta = (m[q][q] - m[p][p]) / (2.0 * m[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                let rotate =
                    |x: &mut f64, y: &mut f64| (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                for row in m.iter_mut().chain(&mut vectors) {
                    let (left, right) = row.split_at_mut(q);
                    rotate(&mut left[p], &mut right[0]);
                }
                let (upper, lower) = m.split_at_mut(q);
                upper[p]
                    .iter_mut()
                    .zip(&mut lower[0])
                    .for_each(|(x, y)| rotate(x, y));
            }
        }
    }
    let mut order: [usize; BLOCK] = std::array::from_fn(|k| k);
    order.sort_by(|&i, &j| m[j][j].total_cmp(&m[i][i]));
    (
        order.map(|k| m[k][k]),
        vectors.map(|row| order.map(|k| row[k])),
    )
}

/// Maps values linearly to levels, the 2nd percentile to 0 and the 98th to 255; values beyond are clipped.
fn percentile_levels(values: &[f64]) -> Vec<u8> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[(share * (sorted.len() - 1) as f64).round() as usize];
    let (low, high) = (at(0.02), at(0.98));
    let level = |v: f64| ((v - low) / (high - low)).clamp(0.0, 1.0) * 255.0;
    values
        .iter()
        .map(|&v| {
            if high > low {
                level(v).round() as u8
            } else {
                128
            }
        })
        .collect()
}
