//! The positive key cells of the query cells of a micro-batch. B images, N cells per view.

use burn::tensor::{Int, Tensor, TensorData};
use rand::RngExt;

use super::{DenseCl, KEY, QUERY};
use crate::{
    augment::ViewGeometry,
    config::{InViewPositives, Matching},
    loss::{InfoNce, Positives, info_nce},
    matching::{best_match, centred, similarity},
    method::MicroBatch,
    model::Embeddings,
    rng::{Purpose, stream},
};

impl DenseCl {
    /// The key cell with the most similar features, for each query cell [B, N]; a random cell with
    /// `matching = "random"`. `draw` numbers the random draws of a run.
    pub(super) fn match_cells(&self, q: &Embeddings, k: &Embeddings, draw: u64) -> Tensor<2, Int> {
        match self.method.matching {
            // With matching = "geometry" the positives do not depend on these matches. They are computed
            // nevertheless, because a run logs the share of correct matches.
            Matching::Backbone | Matching::Geometry => {
                best_match(similarity(q.backbone.clone().inner(), k.backbone.clone()))
            }
            Matching::Centred => best_match(similarity(
                centred(q.backbone.clone().inner()),
                centred(k.backbone.clone()),
            )),
            Matching::Dense => best_match(similarity(q.dense.clone().inner(), k.dense.clone())),
            Matching::Random => {
                let [b, _, n] = k.dense.dims();
                let mut rng = stream(self.seed, Purpose::Matching, draw);
                let cells: Vec<i32> = (0..b * n).map(|_| rng.random_range(0..n as i32)).collect();
                Tensor::from_data(TensorData::new(cells, [b, n]), &k.dense.device())
            }
        }
    }

    /// The positive of each query cell: its true key cell with `matching = "geometry"`, otherwise the `chosen` one.
    pub(super) fn positives(
        &self,
        chosen: Tensor<2, Int>,
        geometry: &[[ViewGeometry; 2]],
    ) -> Matched {
        if self.method.matching != Matching::Geometry {
            return Matched {
                cells: chosen,
                valid: None,
            };
        }
        let [b, n] = chosen.dims();
        assert_eq!(geometry.len(), b, "one pair of views for each image");
        let truth: Vec<Option<usize>> = geometry
            .iter()
            .flat_map(|[query, key]| query.true_cells(key, n.isqrt()))
            .collect();
        // A query cell without a true cell gets cell 0 and is excluded by `valid`.
        let cells = truth.iter().map(|cell| cell.unwrap_or(0) as i32).collect();
        let valid = (0..truth.len()).filter(|&i| truth[i].is_some());
        Matched {
            valid: Some(valid.map(|i| i as i32).collect()),
            cells: Tensor::from_data(TensorData::new::<i32, _>(cells, [b, n]), &chosen.device()),
        }
    }

    /// The positives of the in-view loss that the setting `method.in_view_positives` selects.
    pub(super) fn in_view_positives(
        &self,
        matched: &Matched,
        geometry: &[[ViewGeometry; 2]],
    ) -> Positives {
        let device = matched.cells.device();
        let [_, n] = matched.cells.dims();
        match self.method.in_view_positives {
            InViewPositives::Match => Positives::One {
                cells: matched.cells.clone(),
                valid: matched.mask(),
            },
            InViewPositives::Near => Positives::near(geometry, n.isqrt(), &device),
        }
    }
}

/// The positive of each query cell of a micro-batch.
pub(super) struct Matched {
    /// The index of its key cell, in 0..N, [B, N]. Arbitrary for query cells without a positive.
    pub(super) cells: Tensor<2, Int>,
    /// Indices, in 0..B·N, of the query cells that have a positive; `None` = all.
    valid: Option<Vec<i32>>,
}

impl Matched {
    /// InfoNCE over the query cells that have a positive. `query` and `positive` are [B·N, D], `queue` is [K, D].
    pub(super) fn info_nce(
        &self,
        query: Tensor<2>,
        positive: Tensor<2>,
        queue: Tensor<2>,
        temperature: f64,
    ) -> InfoNce {
        let Some(valid) = &self.valid else {
            return info_nce(query, positive, queue, temperature);
        };
        if valid.is_empty() {
            return InfoNce::none(&query.device());
        }
        let rows = TensorData::new(valid.clone(), [valid.len()]);
        let taken = |x: Tensor<2>| {
            let rows = Tensor::<1, Int>::from_data(rows.clone(), &x.device());
            x.select(0, rows)
        };
        info_nce(taken(query), taken(positive), queue, temperature)
    }

    /// 1 for query cells that have a positive, 0 for the others, [B, N].
    fn mask(&self) -> Tensor<2> {
        let [b, n] = self.cells.dims();
        let device = self.cells.device();
        let Some(valid) = &self.valid else {
            return Tensor::ones([b, n], &device);
        };
        let mut mask = vec![0.0f32; b * n];
        valid.iter().for_each(|&i| mask[i as usize] = 1.0);
        Tensor::from_data(TensorData::new(mask, [b, n]), &device)
    }
}

/// [B, D, N] → [B·N, D], one row per cell.
pub(super) fn per_cell(dense: Tensor<3>) -> Tensor<2> {
    let [b, d, n] = dense.dims();
    dense.swap_dims(1, 2).reshape([b * n, d])
}

/// Whether the geometry of both views is known.
pub(super) fn has_geometry(batch: &MicroBatch) -> bool {
    [QUERY, KEY]
        .iter()
        .all(|&view| batch.views[view].geometry.is_some())
}

/// The geometry of the query and the key view of each image; empty if it is unknown.
pub(super) fn pairs(batch: &MicroBatch) -> Vec<[ViewGeometry; 2]> {
    let of = |view: usize| batch.views[view].geometry.as_deref().unwrap_or_default();
    let pairs = of(QUERY).iter().zip(of(KEY));
    pairs.map(|(&query, &key)| [query, key]).collect()
}
