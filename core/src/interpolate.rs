//! Bilinear interpolation between the centres of cells, constant beyond the outermost centres.
//!
//! A grid covers the whole picture, so the centre of cell i of n lies at (i + 0.5) / n of the picture's side.
//! This is PyTorch's `interpolate(mode="bilinear", align_corners=False)`.

use burn::tensor::{Device, Tensor, TensorData};

/// The indices of the two cells around a position along one axis, and the weight of the second in [0, 1].
///
/// `position` is in cells; the centre of cell i is at i + 0.5.
///
/// # Panics
/// When `cells` is 0.
pub fn taps(position: f32, cells: usize) -> (usize, usize, f32) {
    assert!(cells > 0, "an axis has at least one cell");
    let position = (position - 0.5).clamp(0.0, (cells - 1) as f32);
    let first = position as usize;
    (first, (first + 1).min(cells - 1), position - first as f32)
}

/// The positions, in cells, of the centres of `pixels` pixels along an axis that `cells` cells cover.
pub fn pixel_centers(pixels: usize, cells: usize) -> Vec<f32> {
    let per_pixel = cells as f32 / pixels as f32;
    (0..pixels).map(|i| (i as f32 + 0.5) * per_pixel).collect()
}

/// Interpolation along one axis as a matrix [positions, cells]. Multiplied by the values of the cells it gives the
/// values at the positions.
fn matrix(positions: &[f32], cells: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0; positions.len() * cells];
    for (row, &position) in values.chunks_exact_mut(cells).zip(positions) {
        let (first, second, weight) = taps(position, cells);
        row[first] += 1.0 - weight;
        row[second] += weight;
    }
    Tensor::from_data(TensorData::new(values, [positions.len(), cells]), device)
}

/// Interpolates a map [B, C, h, w] at all pairs of the positions `rows` and `columns`, both in cells of the
/// map: [B, C, rows, columns]. The gradient flows through.
pub fn resample(map: Tensor<4>, rows: &[f32], columns: &[f32]) -> Tensor<4> {
    let [b, c, h, w] = map.dims();
    let device = map.device();
    // Interpolation is separable, so each axis is one matrix product. The map is small, but there may be many
    // positions.
    let along_x = map.reshape([b * c * h, w]);
    let along_x = along_x.matmul(matrix(columns, w, &device).transpose());
    let along_x = along_x.reshape([b * c, h, columns.len()]);
    let along_y = matrix(rows, h, &device).unsqueeze::<3>();
    along_y
        .expand([b * c, rows.len(), h])
        .matmul(along_x)
        .reshape([b, c, rows.len(), columns.len()])
}

/// Interpolates the vectors of a map [1, C, h, w] at arbitrary `points` (x, y) in cells of the map:
/// [1, C, points].
pub fn sample(map: Tensor<4>, points: &[[f32; 2]]) -> Tensor<3> {
    let [_, c, h, w] = map.dims();
    let mut values = vec![0.0; h * w * points.len()];
    for (i, &[x, y]) in points.iter().enumerate() {
        let (left, right, u) = taps(x, w);
        let (top, bottom, v) = taps(y, h);
        for (row, weight_y) in [(top, 1.0 - v), (bottom, v)] {
            for (column, weight_x) in [(left, 1.0 - u), (right, u)] {
                values[(row * w + column) * points.len() + i] += weight_y * weight_x;
            }
        }
    }
    let weights = TensorData::new(values, [1, h * w, points.len()]);
    let weights: Tensor<3> = Tensor::from_data(weights, &map.device());
    map.reshape([1, c, h * w]).matmul(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[f32], [h, w]: [usize; 2]) -> Tensor<4> {
        Tensor::from_data(
            TensorData::new(values.to_vec(), [1, values.len() / (h * w), h, w]),
            &Device::flex(),
        )
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as().expect("on the CPU")
    }

    #[test]
    fn resampling_is_pytorchs_bilinear_without_aligned_corners() {
        // torch.nn.functional.interpolate([[1, 2], [3, 5]], size=(3, 4), mode="bilinear",
        // align_corners=False)
        let expected = [
            1.0, 1.25, 1.75, 2.0, 2.0, 2.375, 3.125, 3.5, 3.0, 3.5, 4.5, 5.0,
        ];
        let got = resample(
            map(&[1.0, 2.0, 3.0, 5.0], [2, 2]),
            &pixel_centers(3, 2),
            &pixel_centers(4, 2),
        );
        assert_eq!(got.dims(), [1, 1, 3, 4]);
        for (got, expected) in values(got).iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
    }

    #[test]
    fn sampled_points_are_those_of_the_lattice_and_centres_are_the_cells() {
        let grid = map(
            &[0.0, 1.0, 5.0, 2.0, 7.0, 3.0, 9.0, 4.0, 8.0, 6.0, 2.0, 1.0],
            [2, 3],
        );
        let (rows, columns) = ([0.3, 1.2], [0.1, 1.9]);
        let lattice = values(resample(grid.clone(), &rows, &columns));
        let points: Vec<[f32; 2]> = rows.iter().flat_map(|&y| columns.map(|x| [x, y])).collect();
        for (a, b) in values(sample(grid.clone(), &points)).iter().zip(lattice) {
            assert!((a - b).abs() < 1e-6);
        }
        assert_eq!(values(sample(grid, &[[2.5, 0.5]])), [5.0, 8.0]);
    }
}
