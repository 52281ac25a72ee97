//! Matrix products on one thread: a safe wrapper of the `gemm` crate.

use std::sync::Once;

use gemm::{Parallelism, gemm, set_lhs_packing_threshold_single_thread, set_rhs_packing_threshold};

/// Switches off gemm's packing, once per process. By default gemm copies operands into packed panels first. Our
/// operands are contiguous already: without packing, products take 0.7 to 0.95 times as long (shapes of
/// ResNet-18 and 50).
static NO_PANELS: Once = Once::new();

/// A matrix inside a slice: element (i, j) is at i·`row` + j·`column`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix without gaps.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns, 1)
    }

    /// A matrix with these strides between rows and between columns.
    ///
    /// # Panics
    /// When the matrix is empty or its last element lies outside `data`.
    pub(crate) fn strided(
        data: &'a [f32],
        rows: usize,
        columns: usize,
        row: usize,
        column: usize,
    ) -> Self {
        assert!(rows > 0 && columns > 0, "an empty matrix");
        let last = (rows - 1) * row + (columns - 1) * column;
        assert!(
            last < data.len(),
            "element {last} of a matrix in {} values",
            data.len()
        );
        Self {
            data,
            rows,
            columns,
            row,
            column,
        }
    }

    /// The transpose, without a copy.
    pub(crate) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row: self.column,
            column: self.row,
        }
    }
}

/// Whether a product replaces the values of its output or is added to them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// The product replaces them.
    Replace,
    /// The product is added to them.
    Add,
}

/// `out` = a·b or `out` += a·b; `out` is row-major, a.rows × b.columns, without gaps.
///
/// # Panics
/// When a.columns ≠ b.rows, or `out` is too short.
pub(crate) fn product(out: &mut [f32], write: Write, a: Matrix, b: Matrix) {
    product_in(out, b.columns, write, a, b);
}

/// As [`product`], where the rows of `out` are `stride` values apart and what lies between them stays.
///
/// # Panics
/// When a.columns ≠ b.rows, `stride` < b.columns, or `out` is too short.
pub(crate) fn product_in(out: &mut [f32], stride: usize, write: Write, a: Matrix, b: Matrix) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "{m}×{k} times {}×{n}", b.rows);
    assert!(stride >= n, "rows of {n} values, {stride} apart");
    assert!(
        out.len() >= (m - 1) * stride + n,
        "{} values for {m}×{n}, rows {stride} apart",
        out.len()
    );
    NO_PANELS.call_once(|| {
        // 256 is the highest threshold that gemm accepts; with it, gemm practically never packs.
        set_rhs_packing_threshold(256);
        set_lhs_packing_threshold_single_thread(256);
    });
    // SAFETY: `Matrix::strided` has checked that every element of `a` and `b` lies in its slice. A matrix has
    // a row (`Matrix::strided`), so `out` ends after the last element of its last row; it is borrowed mutably, so nothing
    // else accesses it. `gemm` accesses no other memory.
    #[expect(
        unsafe_code,
        reason = "the gemm crate takes pointers; the proof is above"
    )]
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proof of the unsafe call rests on these panics.
    #[test]
    fn a_matrix_beyond_its_values_is_refused() {
        let values = [0.0; 12];
        Matrix::new(&values, 3, 4);
        Matrix::strided(&values, 3, 2, 5, 1);
        for [rows, columns, row, column] in [[4, 4, 4, 1], [3, 5, 4, 1], [3, 4, 5, 1], [3, 2, 5, 2]]
        {
            let beyond = std::panic::catch_unwind(|| {
                Matrix::strided(&values, rows, columns, row, column);
            });
            assert!(
                beyond.is_err(),
                "{rows}×{columns}, {row} and {column} apart"
            );
        }
    }
}
