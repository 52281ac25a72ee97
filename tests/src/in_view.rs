//! Pairs of views with known geometry, and the positives of the in-view loss.

use burn::tensor::{Int, Tensor, TensorData};
use densecl::{
    augment::{CropBox, ViewGeometry},
    loss::{InfoNce, Positives, in_view, info_nce},
    matching::gather_cells,
};

use crate::{
    golden::Golden,
    network::{cpu, tensor, values},
};

/// Reads the geometry of the query and key view of each picture, stored under `key` in the format described in
/// `tests/golden/model/README.md`.
///
/// # Panics
/// If it is not in that format.
pub fn geometry(golden: &Golden, key: &str) -> Vec<[ViewGeometry; 2]> {
    let (_, rows) = golden.i64(key);
    let number = |value: i64| u32::try_from(value).expect("a number of pixels");
    let view = |row: &[i64; 6]| ViewGeometry {
        crop: CropBox {
            left: number(row[0]),
            top: number(row[1]),
            width: number(row[2]),
            height: number(row[3]),
        },
        flip: row[4] == 1,
        size: number(row[5]),
    };
    let (views, rest) = rows.as_chunks();
    assert!(rest.is_empty(), "{key}: six numbers for each view");
    let (pairs, rest) = views.as_chunks();
    assert!(rest.is_empty(), "{key}: two views for each picture");
    pairs
        .iter()
        .map(|pair: &[_; 2]| [view(&pair[0]), view(&pair[1])])
        .collect()
}

/// Overlapping views of four pictures. The generator of the goldens chose them so that on grids of 3 × 3 and
/// 4 × 4 cells rounding changes neither which cell contains a point nor which cells are near.
pub fn overlapping() -> Vec<[ViewGeometry; 2]> {
    let mut pairs = geometry(&Golden::open("train_near"), "step0/geometry");
    pairs.truncate(4);
    pairs
}

/// Views of `pictures` pictures without overlap: the two crops of each picture are far apart.
pub fn apart(pictures: usize) -> Vec<[ViewGeometry; 2]> {
    let view = |left| ViewGeometry {
        crop: CropBox {
            left,
            top: 0,
            width: 40,
            height: 40,
        },
        flip: false,
        size: 64,
    };
    vec![[view(0), view(100)]; pictures]
}

/// For each query cell of all pictures the key cell that shows the same point; none outside the overlap.
pub fn true_cells(views: &[[ViewGeometry; 2]], grid: usize) -> Vec<Option<usize>> {
    let cells = views
        .iter()
        .flat_map(|[query, key]| query.true_cells(key, grid));
    cells.collect()
}

/// Indices of key cells [`pictures`, N] as a tensor on the CPU, 0 where there is none.
fn numbers(cells: &[Option<usize>], pictures: usize) -> Tensor<2, Int> {
    let numbers: Vec<i32> = cells.iter().map(|c| c.unwrap_or(0) as i32).collect();
    let data = TensorData::new(numbers, [pictures, cells.len() / pictures]);
    Tensor::from_data(data, &cpu())
}

/// Positives of the in-view loss with at most one key cell, `cells[i]`, for each query cell; on the CPU.
pub fn one(cells: &[Option<usize>], pictures: usize) -> Positives {
    let valid = cells.iter().map(|cell| f32::from(cell.is_some()));
    let shape = [pictures, cells.len() / pictures];
    Positives::One {
        cells: numbers(cells, pictures),
        valid: tensor(valid.collect(), shape, &cpu()),
    }
}

/// InfoNCE of query cells [B, D, N] against the queue, with the key cells `cells` of `key` [B, D, N] as
/// positives. Query cells without a positive are left out; at least one must have one.
pub fn dense_loss(
    query: Tensor<3>,
    key: Tensor<3>,
    cells: &[Option<usize>],
    queue: Tensor<2>,
    temperature: f64,
) -> InfoNce {
    let [b, d, n] = query.dims();
    let rows = (0..b * n).filter(|&row| cells[row].is_some());
    let rows: Vec<i32> = rows.map(|row| row as i32).collect();
    let rows = TensorData::new(rows.clone(), [rows.len()]);
    let taken = |cells: Tensor<3>| {
        let rows = Tensor::<1, Int>::from_data(rows.clone(), &cells.device());
        cells.swap_dims(1, 2).reshape([b * n, d]).select(0, rows)
    };
    let positives = gather_cells(key, numbers(cells, b));
    info_nce(taken(query), taken(positives), queue, temperature)
}

/// Whether each key cell is a positive of each query cell: row-major [pictures, query cells, key cells].
///
/// Found from the gradient of the loss. With queries of zero all key cells are equally similar; with the unit
/// vectors as keys, the gradient with respect to channel j of a query cell is (1/cells − [j is a
/// positive]/positives)/τ, which is negative for positives only. Limitation: a query cell whose positives are
/// all key cells looks like one without positives.
///
/// # Panics
/// If the query has no gradient.
pub fn positives(of: &Positives, pictures: usize, cells: usize) -> Vec<bool> {
    let shape = [pictures, cells, cells];
    let query = Tensor::<3>::zeros(shape, &cpu()).autodiff().require_grad();
    let key = Tensor::<2>::eye(cells, &cpu()).unsqueeze_dim::<3>(0);
    let loss = in_view(query.clone(), key.expand(shape), of, 1.0).loss;
    let gradient = query.grad(&loss.backward()).expect("a gradient");
    let by_query_cell = values(&gradient.swap_dims(1, 2));
    by_query_cell.into_iter().map(|slope| slope < 0.0).collect()
}
