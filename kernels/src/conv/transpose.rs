//! Transposition of a matrix; packing a kernel and computing its gradients need it.

use crate::parallel::pieces_of;

/// Side of the squares in which a matrix is transposed: 16 values are one cache line.
pub(super) const BLOCK: usize = 16;

/// [rows, columns] → [columns, rows].
pub(super) fn transposed(from: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    // In squares, so that the cache lines of both matrices are used whole.
    pieces_of(from.len(), BLOCK * rows, |block, to| {
        let left = block * BLOCK;
        for top in (0..rows).step_by(BLOCK) {
            let bottom = (top + BLOCK).min(rows);
            for (column, to) in (left..).zip(to.chunks_exact_mut(rows)) {
                for (row, to) in (top..).zip(&mut to[top..bottom]) {
                    *to = from[row * columns + column];
                }
            }
        }
    })
}
