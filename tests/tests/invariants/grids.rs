//! Properties of matching, and of the feature grids of the three output strides.

use burn::tensor::Tensor;
use densecl::{
    config::{Backbone, ModelConfig},
    matching::{best_match, l2_normalize, mutual_matches, similarity},
    model::{Init, ResNet},
};
use densecl_tests::{
    cases,
    golden::assert_close,
    network::{Gradient, cpu, fill, input, tensor, values},
};
use proptest::prelude::*;

/// Random matrices of cosines, with their number of columns.
fn cosines() -> impl Strategy<Value = (Vec<f32>, usize)> {
    (1usize..8, 1usize..8).prop_flat_map(|(rows, columns)| {
        // Few distinct values, so that ties occur.
        let value = (-4i8..=4).prop_map(|v| f32::from(v) / 4.0);
        (prop::collection::vec(value, rows * columns), Just(columns))
    })
}

proptest! {
    #![proptest_config(cases(48))]

    /// All cells have different directions, so no other cell is as similar to a cell as the cell itself.
    #[test]
    fn a_grid_matches_itself_cell_by_cell(
        features in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 6), 1..20),
        scale in 0.1f32..100.0,
    ) {
        let cells = features.len();
        // Each cell has a coordinate that is non-zero in this cell only, which makes the directions different.
        let dim = 6 + cells;
        let mut flat = vec![0.0; dim * cells];
        for (cell, feature) in features.iter().enumerate() {
            for (channel, value) in feature.iter().enumerate() {
                flat[channel * cells + cell] = scale * value;
            }
            flat[(6 + cell) * cells + cell] = 0.3 * scale;
        }
        let grid: Tensor<3> = l2_normalize(tensor(flat, [1, dim, cells], &cpu()), 1);
        let sim = similarity(grid.clone(), grid);
        let chosen: Vec<i64> =
            best_match(sim.clone()).try_into_vec_as().expect("the CPU answers");
        prop_assert_eq!(chosen, (0..cells as i64).collect::<Vec<_>>());
        let mutual = mutual_matches(&values(&sim), cells, 0.99);
        prop_assert_eq!(mutual.len(), cells);
        prop_assert!(mutual.iter().all(|m| m.a == m.b));
    }

    /// Exchanging the two pictures exchanges the cells of every match, and matches are one to one.
    #[test]
    fn mutual_matches_are_symmetric((sim, columns) in cosines(), threshold in -1.0f32..1.0) {
        let rows = sim.len() / columns;
        let transposed: Vec<f32> = (0..sim.len())
            .map(|i| sim[i % rows * columns + i / rows])
            .collect();
        let forth = mutual_matches(&sim, columns, threshold);
        let mut a_to_b: Vec<_> = forth.iter().map(|m| (m.a, m.b)).collect();
        let mut b_to_a: Vec<_> =
            mutual_matches(&transposed, rows, threshold).iter().map(|m| (m.b, m.a)).collect();
        a_to_b.sort_unstable();
        b_to_a.sort_unstable();
        prop_assert_eq!(&a_to_b, &b_to_a);
        for m in &forth {
            let score = sim[m.a * columns + m.b];
            prop_assert_eq!(m.score, score);
            prop_assert!(score >= threshold);
            prop_assert!((0..columns).all(|b| sim[m.a * columns + b] <= score));
            prop_assert!((0..rows).all(|a| sim[a * columns + m.b] <= score));
        }
        prop_assert!(a_to_b.windows(2).all(|w| w[0].0 < w[1].0), "a cell of A is matched twice");
        prop_assert!(forth.windows(2).all(|w| w[0].score >= w[1].score), "not sorted by score");
    }
}

/// With the same weights, replacing stride by dilation gives a finer grid that contains the coarser one.
#[test]
fn every_other_cell_of_a_finer_grid_is_the_coarser_grid() {
    for (backbone, stride_in_1x1) in [
        (Backbone::ResNet18, false),
        (Backbone::ResNet50, false),
        (Backbone::ResNet50, true),
    ] {
        let features = |output_stride| {
            let device = cpu();
            let init = Init::new(0, &device);
            let config = ModelConfig {
                backbone,
                width: 8,
                output_stride,
                stride_in_1x1,
                ..ModelConfig::default()
            };
            let mut network = ResNet::new(&init, &config);
            fill(&mut network, "", Gradient::None);
            // With an odd size the grids end at different distances from the border.
            network.forward(input("grids", [1, 3, 75, 101]))
        };
        let coarsest = features(32);
        for (stride, every) in [(16, 2), (8, 4)] {
            let finer = features(stride);
            let [n, c, h, w] = finer.dims();
            let [_, _, rows, columns] = coarsest.dims();
            assert_eq!([h.div_ceil(every), w.div_ceil(every)], [rows, columns]);
            let all = values(&finer);
            let kept: Vec<f32> = (0..n * c * rows * columns)
                .map(|i| {
                    let (map, y, x) = (i / (rows * columns), i / columns % rows, i % columns);
                    all[(map * h + y * every) * w + x * every]
                })
                .collect();
            let what = format!("{}, stride {stride}, {stride_in_1x1}", backbone.name());
            // The products are the same, but summed in another order.
            assert_close(&what, &kept, &values(&coarsest), 1e-5);
        }
    }
}
