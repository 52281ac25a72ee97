//! Transforms of lines of a tile, for several channels at once.

/// Channels that are transformed together, in one vector.
pub(super) const LANES: usize = 16;

/// A value of each of these channels.
pub(super) type Lanes = [f32; LANES];

/// Applies the transform of a line to each lane.
#[inline(always)]
pub(super) fn lanes<const N: usize, const M: usize>(
    from: [&Lanes; N],
    to: &mut [Lanes; M],
    transform: impl Fn([f32; N]) -> [f32; M],
) {
    for lane in 0..LANES {
        let line = transform(from.map(|values| values[lane]));
        for (to, value) in to.iter_mut().zip(line) {
            to[lane] = value;
        }
    }
}

/// Row y of what is stored column by column.
#[inline(always)]
pub(super) fn across<const N: usize, const M: usize>(
    columns: &[[Lanes; M]; N],
    y: usize,
) -> [&Lanes; N] {
    columns.each_ref().map(|column| &column[y])
}

/// Writes as many lanes as there is room for. For all of them this is a copy of known length, which needs no call.
#[inline(always)]
pub(super) fn store(to: &mut [f32], values: &Lanes) {
    match to.as_mut_array() {
        Some(to) => *to = *values,
        None => to.copy_from_slice(&values[..to.len()]),
    }
}
