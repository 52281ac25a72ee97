//! Transposition of a matrix, for which kernels and their gradients are put into another order.

use crate::parallel::pieces_of;

/// Values moved together: they make whole cache lines of the source.
pub(super) const BLOCK: usize = 16;

/// [rows, columns] → [columns, rows].
pub(super) fn transposed(from: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    // In squares, a few lines of either side at once.
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
