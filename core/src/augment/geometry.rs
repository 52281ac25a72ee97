//! Where the pixels of a view lie in its source, and where the cells of one view lie in another.
//!
//! Coordinates are continuous: pixel (i, j) covers the square from (i, j) to (i + 1, j + 1), so the
//! centre of the first pixel is at (0.5, 0.5), in views and sources alike. Crop, resize and flip
//! are then one affine map per axis. Colour operations and the blur do not change positions.

use super::crop::CropBox;

/// The map between a square view and its source image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewGeometry {
    /// The part of the source that the view shows, in source pixels.
    pub crop: CropBox,
    /// Whether the view is mirrored left to right.
    pub flip: bool,
    /// Side of the view in pixels.
    pub size: u32,
}

impl ViewGeometry {
    /// The source point shown at (`x`, `y`) of the view.
    pub fn to_source(&self, x: f64, y: f64) -> (f64, f64) {
        let size = f64::from(self.size);
        let x = if self.flip { size - x } else { x };
        (
            f64::from(self.crop.left) + x * f64::from(self.crop.width) / size,
            f64::from(self.crop.top) + y * f64::from(self.crop.height) / size,
        )
    }

    /// The point of the view that shows the source point (`x`, `y`). It lies outside the view's
    /// square when the source point lies outside the crop.
    pub fn from_source(&self, x: f64, y: f64) -> (f64, f64) {
        let size = f64::from(self.size);
        let view_x = (x - f64::from(self.crop.left)) * size / f64::from(self.crop.width);
        let view_y = (y - f64::from(self.crop.top)) * size / f64::from(self.crop.height);
        (if self.flip { size - view_x } else { view_x }, view_y)
    }

    /// Whether the view shows the source point (`x`, `y`). Left and top edges of the crop belong
    /// to it, right and bottom edges do not.
    pub fn contains_source(&self, x: f64, y: f64) -> bool {
        let inside = |value: f64, start: u32, length: u32| {
            value >= f64::from(start) && value < f64::from(start) + f64::from(length)
        };
        inside(x, self.crop.left, self.crop.width) && inside(y, self.crop.top, self.crop.height)
    }

    /// The true match in `other` of every cell of a `grid` × `grid` feature map of this view.
    ///
    /// The cells come row by row. An entry is the (x, y) where the cell's centre lies in `other`,
    /// in cells of other's own `grid` × `grid` map (continuous: the centre of cell j is j + 0.5),
    /// or `None` when `other` does not show that point of the source. Both views must come from
    /// the same source.
    ///
    /// # Panics
    /// When `grid` is 0.
    pub fn true_matches(&self, other: &ViewGeometry, grid: usize) -> Vec<Option<[f32; 2]>> {
        let other_stride = f64::from(other.size) / grid as f64;
        let to_match = |[x, y]: [f64; 2]| {
            other.contains_source(x, y).then(|| {
                let (x, y) = other.from_source(x, y);
                [(x / other_stride) as f32, (y / other_stride) as f32]
            })
        };
        self.cell_centers(grid).into_iter().map(to_match).collect()
    }

    /// For each cell of a `grid` × `grid` feature map of this view, the number of the cell of `other` that
    /// contains the centre of this view's cell, or `None` when `other` does not show that point:
    /// [`true_matches`](Self::true_matches) truncated to whole cells. Cells are numbered row by row.
    ///
    /// # Panics
    /// When `grid` is 0.
    pub fn true_cells(&self, other: &ViewGeometry, grid: usize) -> Vec<Option<usize>> {
        // Close to the right or lower edge, rounding to `f32` may give exactly `grid`, one past the last cell.
        let cell = |position: f32| (position as usize).min(grid - 1);
        let matches = self.true_matches(other, grid).into_iter();
        matches
            .map(|point| point.map(|[x, y]| cell(y) * grid + cell(x)))
            .collect()
    }

    /// Where the centres of the cells of a `grid` × `grid` feature map lie in the source, row by row.
    ///
    /// # Panics
    /// When `grid` is 0.
    pub fn cell_centers(&self, grid: usize) -> Vec<[f64; 2]> {
        assert!(grid > 0, "a feature map has at least one cell");
        let stride = f64::from(self.size) / grid as f64;
        (0..grid * grid)
            .map(|cell| {
                let (column, row) = ((cell % grid) as f64, (cell / grid) as f64);
                self.to_source((column + 0.5) * stride, (row + 0.5) * stride)
                    .into()
            })
            .collect()
    }

    /// Length of the diagonal of a cell of a `grid` × `grid` feature map, in source pixels.
    pub fn cell_diagonal(&self, grid: usize) -> f64 {
        f64::from(self.crop.width).hypot(f64::from(self.crop.height)) / grid as f64
    }
}
