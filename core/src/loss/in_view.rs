//! The in-view loss: InfoNCE of a cell of the query view with the cells of the key view of the same picture
//! as positives and negatives (PixContrast: Xie et al., "Propagate Yourself", CVPR 2021, section 3.1).

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{InfoNce, with_gradient_of};
use crate::augment::ViewGeometry;
use crate::ops;

/// The largest distance of a positive in PixContrast, in units of a cell's diagonal.
const NEAR: f64 = 0.7;

/// The most similarities in memory at once: 64 MiB of `f32`. A larger batch is computed in parts.
pub const SIMILARITIES: usize = 1 << 24;

/// Which key cells are the positives of each query cell, for B pictures of N query cells and M key cells.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "lives for one step")]
pub enum Positives {
    /// One key cell for each query cell.
    One {
        /// The number of that key cell [B, N].
        cells: Tensor<2, Int>,
        /// 1 where the query cell has its positive, 0 where the cell is left out [B, N].
        valid: Tensor<2>,
    },
    /// The key cells whose centres lie near the query cell's centre. A query cell without one is left out.
    Near {
        /// Centres of the query cells in source pixels [B, N, 2].
        query: Tensor<3>,
        /// Centres of the key cells in source pixels [B, M, 2].
        key: Tensor<3>,
        /// Largest distance of a positive, for each picture in source pixels [B, 1, 1].
        radius: Tensor<3>,
    },
}

impl Positives {
    /// PixContrast's positives. `views` holds the query and the key view of each picture, both with a feature map
    /// of `grid` × `grid` cells.
    pub fn near(views: &[[ViewGeometry; 2]], grid: usize, device: &Device) -> Self {
        let pictures = views.len();
        let centers = |view: usize| {
            let values: Vec<f32> = views
                .iter()
                .flat_map(|pair| pair[view].cell_centers(grid))
                .flatten()
                .map(|pixels| pixels as f32)
                .collect();
            Tensor::from_data(TensorData::new(values, [pictures, grid * grid, 2]), device)
        };
        let radius: Vec<f32> = views
            .iter()
            .map(|[query, key]| query.cell_diagonal(grid).max(key.cell_diagonal(grid)))
            .map(|diagonal| (NEAR * diagonal) as f32)
            .collect();
        Self::Near {
            query: centers(0),
            key: centers(1),
            radius: Tensor::from_data(TensorData::new(radius, [pictures, 1, 1]), device),
        }
    }

    /// 1 where a key cell is a positive of a query cell, else 0: [b, N, M] for the `b` pictures from number `first`
    /// on and `m` = M key cells.
    fn mask(&self, first: usize, b: usize, m: usize) -> Tensor<3> {
        let range = first..first + b;
        match self {
            Self::One { cells, valid } => {
                let cells = cells.clone().slice(range.clone()).unsqueeze_dim::<3>(2);
                let numbers = Tensor::<1, Int>::arange(0..m as i64, &cells.device());
                let [_, n, _] = cells.dims();
                let chosen = cells
                    .expand([b, n, m])
                    .equal(numbers.reshape([1, 1, m]).expand([b, n, m]));
                chosen.float() * valid.clone().slice(range).unsqueeze_dim(2)
            }
            Self::Near { query, key, radius } => {
                let [query, key, radius] =
                    [query, key, radius].map(|t| t.clone().slice(range.clone()));
                let along = |axis: usize| {
                    let of = |centers: &Tensor<3>| centers.clone().narrow(2, axis, 1);
                    (of(&query) - of(&key).swap_dims(1, 2)).square()
                };
                let distance = (along(0) + along(1)).sqrt();
                // Comparisons do not broadcast, but differences do, so the difference is compared with 0.
                (distance - radius).lower_equal_elem(0.0).float()
            }
        }
    }
}

/// −log( Σ_positives exp(q·k/τ) / Σ_all exp(q·k/τ) ), the mean over the query cells that have a positive; 0 when
/// no cell has one.
///
/// `query` is [B, D, N] and `key` [B, D, M], both of unit length; `temperature` is τ. No gradient flows to
/// `key`. For the accuracy, a query cell is correct when its most similar key cell is a positive; query cells
/// without a positive are not counted.
pub fn in_view(
    query: Tensor<3>,
    key: Tensor<3>,
    positives: &Positives,
    temperature: f64,
) -> InfoNce {
    let [cells, key] = [query.clone(), key].map(|x| x.inner().swap_dims(1, 2));
    let ([pictures, n, _], [_, m, _]) = (cells.dims(), key.dims());
    let at_once = (SIMILARITIES / (n * m)).max(1);
    let operations = ops::training(&cells.device(), cells.dtype());
    let parts = (0..pictures).step_by(at_once).map(|first| {
        let b = at_once.min(pictures - first);
        let part = |of: &Tensor<3>| of.clone().slice(first..first + b);
        let mask = positives.mask(first, b, m);
        operations.in_view(part(&cells), part(&key), mask, temperature)
    });
    let (mut loss, mut hits, mut valid, mut gradients) = (vec![], vec![], vec![], vec![]);
    for part in parts {
        loss.push(part.loss.sum());
        hits.push(part.hit.sum());
        valid.push(part.valid.sum());
        gradients.push(part.gradient);
    }
    let sum = |parts: Vec<Tensor<1>>| Tensor::cat(parts, 0).sum();
    let count = sum(valid).clamp_min(1.0);
    let loss = sum(loss) / count.clone();
    let accuracy = sum(hits) / count.clone();
    let loss = if query.is_autodiff() {
        let gradient = Tensor::cat(gradients, 0).swap_dims(1, 2) / count.reshape([1, 1, 1]);
        with_gradient_of((query * gradient.autodiff()).sum(), loss)
    } else {
        loss
    };
    InfoNce { loss, accuracy }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use crate::augment::CropBox;
    use crate::matching::l2_normalize;

    fn view(left: u32, side: u32) -> ViewGeometry {
        ViewGeometry {
            crop: CropBox {
                left,
                top: 0,
                width: side,
                height: side,
            },
            flip: false,
            size: 64,
        }
    }

    fn cells(name: f32, pictures: usize) -> Tensor<3> {
        let values: Vec<f32> = (0..pictures * 8 * 16)
            .map(|i| ((i as f32 + name) * 12.9898).sin())
            .collect();
        let data = TensorData::new(values, [pictures, 8, 16]);
        l2_normalize(Tensor::from_data(data, &Device::flex()), 1)
    }

    fn number(x: Tensor<1>) -> f32 {
        x.into_scalar()
    }

    #[test]
    fn near_cells_of_a_view_and_itself_are_the_cells_themselves() {
        let same = [[view(0, 64), view(0, 64)]];
        let mask = Positives::near(&same, 4, &Device::flex()).mask(0, 1, 16);
        let values: Vec<f32> = mask.try_into_vec_as().expect("the CPU answers");
        for (i, &value) in values.iter().enumerate() {
            // The largest distance of 0.7 diagonals is 0.99 sides of a cell. Neighbouring cells are one side away,
            // so they are no positives.
            assert_eq!(value == 1.0, i / 16 == i % 16, "{i}");
        }
    }

    #[test]
    fn cells_without_a_positive_are_left_out_and_a_batch_of_them_is_0() {
        let apart = [view(0, 64), view(100, 64)];
        let near = |views: &[[ViewGeometry; 2]]| Positives::near(views, 4, &Device::flex());
        let (query, key) = (cells(1.0, 2), cells(2.0, 2));
        let nothing = in_view(query.clone(), key.clone(), &near(&[apart, apart]), 0.1);
        assert_eq!((number(nothing.loss), number(nothing.accuracy)), (0.0, 0.0));

        let same = [view(0, 64), view(0, 64)];
        let both = in_view(query.clone(), key.clone(), &near(&[same, apart]), 0.1);
        let first = |x: Tensor<3>| x.slice(0..1);
        let alone = in_view(first(query), first(key), &near(&[same]), 0.1);
        assert_eq!(number(both.loss), number(alone.loss));
    }
}
