//! True positives and the in-view loss: which cells are left out, that geometry is required, and that a
//! weight of 0 turns the loss off.

use burn::tensor::Tensor;
use densecl::{
    augment::{CropBox, ViewGeometry},
    config::{InViewPositives, Matching, MethodConfig},
    error::Error,
    loss::{InfoNce, Positives, in_view},
    matching::l2_normalize,
    method::{DenseCl, Figures},
};
use densecl_tests::{
    cases,
    golden::assert_close,
    in_view::{apart, one, overlapping, positives, true_cells},
    learner::{Tiny, Views, figures, settings, state, step, views},
    network::{cpu, input, tensor, values},
};
use proptest::prelude::*;

use super::steps::{one_step, velocity};

const BATCH: usize = 4;
const GRID: usize = 4;
const CELLS: usize = GRID * GRID;

/// A learner with true positives and the in-view loss. Without weight decay, SGD's first velocity is the
/// gradient.
fn tiny(in_view_positives: InViewPositives) -> Tiny {
    let mut tiny = Tiny::default();
    tiny.method = MethodConfig {
        matching: Matching::Geometry,
        in_view_weight: 2.5,
        in_view_temperature: 0.1,
        in_view_positives,
        ..tiny.method
    };
    tiny.optim.weight_decay = 0.0;
    tiny
}

const BOTH: [InViewPositives; 2] = [InViewPositives::Match, InViewPositives::Near];

fn batch(name: &str, geometry: Vec<[ViewGeometry; 2]>) -> Views {
    Views {
        geometry: Some(geometry),
        ..views(name, BATCH, &cpu())
    }
}

fn step_at(tiny: &Tiny, lambda: f64, batch: Views) -> (Figures, DenseCl) {
    let mut tiny = tiny.clone();
    tiny.method.lambda = lambda;
    let (figures, _, learner) = one_step(&tiny, vec![batch]);
    (figures, learner)
}

/// The figures of the dense loss and of the in-view loss.
const OF_CELLS: [&str; 4] = [
    "loss_dense",
    "accuracy_dense",
    "loss_in_view",
    "accuracy_in_view",
];

proptest! {
    #![proptest_config(cases(64))]

    /// Near cells are checked in square views only: in a long view the diagonal, which bounds the distance of
    /// near cells, exceeds the short side, so neighbours are near too.
    #[test]
    fn a_view_and_itself_have_each_cell_as_its_own_positive(
        left in 0u32..2000,
        top in 0u32..2000,
        [width, height] in [8u32..600, 8u32..600],
        flip in any::<bool>(),
        size in 32u32..300,
        grid in 2usize..8,
    ) {
        let view = |width, height| ViewGeometry {
            crop: CropBox { left, top, width, height },
            flip,
            size,
        };
        let any = view(width, height);
        let identity: Vec<_> = (0..grid * grid).map(Some).collect();
        prop_assert_eq!(true_cells(&[[any, any]], grid), identity);

        let square = view(width, width);
        let near = Positives::near(&[[square, square]], grid, &cpu());
        let cells = grid * grid;
        for (at, found) in positives(&near, 1, cells).into_iter().enumerate() {
            prop_assert_eq!(found, at / cells == at % cells);
        }
    }
}

/// Cells without a positive come from a picture whose views do not overlap, and in the last case from leaving
/// out every third cell.
#[test]
fn a_query_cell_without_a_positive_has_no_part_in_the_loss() {
    let mut pairs = overlapping();
    pairs[2] = apart(1)[0];
    let every_third = (0..BATCH * CELLS).map(|row| (row % 3 != 0).then_some(row % CELLS));
    let unit = |name: &str| l2_normalize(input(name, [BATCH, 8, CELLS]), 1);
    let (query, key) = (unit("in_view/query"), unit("in_view/key"));
    for of in [
        Positives::near(&pairs, GRID, &cpu()),
        one(&true_cells(&pairs, GRID), BATCH),
        one(&every_third.collect::<Vec<_>>(), BATCH),
    ] {
        let loss = |query: Tensor<3>| in_view(query, key.clone(), &of, 0.1);
        let leaf = query.clone().autodiff().require_grad();
        let InfoNce { loss: tracked, .. } = loss(leaf.clone());
        let gradient = leaf.grad(&tracked.backward()).expect("a gradient");
        let gradient = values(&gradient.swap_dims(1, 2));

        let has_positive = positives(&of, BATCH, CELLS);
        let has_positive = has_positive
            .chunks_exact(CELLS)
            .map(|row| row.contains(&true));
        let has_positive: Vec<bool> = has_positive.collect();
        assert!(has_positive.contains(&true) && has_positive.contains(&false));
        for (gradient, &has) in gradient.chunks_exact(8).zip(&has_positive) {
            assert_eq!(gradient.iter().any(|&slope| slope != 0.0), has);
        }

        // Changing the values of cells without a positive leaves the loss the same to the bit.
        let mask = has_positive.iter().map(|&has| f32::from(has)).collect();
        let mask = tensor(mask, [BATCH, 1, CELLS], &cpu());
        let other = unit("in_view/other") * (mask.clone().neg() + 1.0);
        let changed = query.clone() * mask + other;
        assert_eq!(
            values(&loss(changed).loss),
            values(&loss(query.clone()).loss)
        );
    }
}

/// Without overlap, both dense losses are 0 and only (1−λ) times the global loss is left; at λ = 1 the gradient
/// is zero.
#[test]
fn crops_without_overlap_add_nothing() {
    for in_view_positives in BOTH {
        for lambda in [0.0, 0.5, 1.0] {
            let tiny = tiny(in_view_positives);
            let (measured, learner) = step_at(&tiny, lambda, batch("steps", apart(BATCH)));
            assert_eq!(figures(&measured, OF_CELLS), [0.0; 4], "λ = {lambda}");
            let want = (1.0 - lambda) * measured["loss_global"];
            assert_close("loss", &figures(&measured, ["loss"]), &[want as f32], 1e-6);

            let (_, of_moco) = step_at(&tiny, 0.0, batch("steps", apart(BATCH)));
            let of_moco = velocity(&of_moco);
            for (name, got) in velocity(&learner) {
                if name.starts_with("dense_head.") || lambda == 1.0 {
                    assert!(got.iter().all(|&v| v == 0.0), "{name} at λ = {lambda}");
                } else {
                    let share = 1.0 - lambda as f32;
                    let want: Vec<f32> = of_moco[&name].iter().map(|v| share * v).collect();
                    assert_close(&name, &got, &want, 1e-4);
                }
            }
        }
    }
}

/// A micro-batch without any overlap counts as 0 in the mean over micro-batches, whether it is the first or the
/// second.
#[test]
fn a_micro_batch_without_overlap_counts_as_0_in_the_mean() {
    let local =
        |measured: &Figures| figures(measured, ["loss_dense", "loss_in_view", "accuracy_in_view"]);
    for in_view_positives in BOTH {
        let tiny = tiny(in_view_positives);
        let some = batch("a", overlapping());
        let none = batch("b", apart(BATCH));
        let (alone, _, with_some) = one_step(&tiny, vec![some.clone()]);
        let (_, _, with_none) = one_step(&tiny, vec![none.clone()]);
        let (with_some, with_none) = (velocity(&with_some), velocity(&with_none));
        assert!(local(&alone)[..2].iter().all(|&loss| loss > 0.0));
        let half = local(&alone).map(|figure| figure / 2.0);

        for both in [[some.clone(), none.clone()], [none.clone(), some]] {
            let (measured, _, learner) = one_step(&tiny, both.to_vec());
            assert_close("local figures", &local(&measured), &half, 1e-6);
            for (name, got) in velocity(&learner) {
                let pairs = with_some[&name].iter().zip(&with_none[&name]);
                let want: Vec<f32> = pairs.map(|(a, b)| (a + b) / 2.0).collect();
                assert_close(&name, &got, &want, 1e-5);
            }
        }
        let (measured, _, _) = one_step(&tiny, vec![none.clone(), none]);
        assert_eq!(local(&measured), [0.0; 3]);
        assert!(measured["loss"].is_finite() && measured["grad_norm"].is_finite());
    }
}

#[test]
fn the_in_view_loss_joins_the_dense_one_with_its_weight() {
    for in_view_positives in BOTH {
        let tiny = tiny(in_view_positives);
        for lambda in [0.0, 0.3, 1.0] {
            let (measured, learner) = step_at(&tiny, lambda, batch("steps", overlapping()));
            assert!(measured["loss_in_view"] > 0.0, "logged for every λ");
            let local = measured["loss_dense"] + 2.5 * measured["loss_in_view"];
            let want = (1.0 - lambda) * measured["loss_global"] + lambda * local;
            assert_close("loss", &figures(&measured, ["loss"]), &[want as f32], 1e-6);
            for (name, velocity) in velocity(&learner) {
                let rests = lambda == 0.0 && name.starts_with("dense_head.");
                let rests = rests || lambda == 1.0 && name.starts_with("global_head.");
                assert_eq!(velocity.iter().all(|&v| v == 0.0), rests, "{name}");
            }
        }
    }
}

/// With weight 0 a step equals the paper's DenseCL to the bit; geometry and the other in-view settings have no
/// effect.
#[test]
fn without_a_weight_there_is_no_in_view_loss() {
    let plain = Tiny::default();
    let (figures, _, want) = one_step(&plain, vec![views("steps", BATCH, &cpu())]);
    assert_eq!(figures.get("loss_in_view"), None);
    for in_view_positives in BOTH {
        let mut off = plain.clone();
        off.method.in_view_temperature = 0.05;
        off.method.in_view_positives = in_view_positives;
        let (others, _, learner) = one_step(&off, vec![batch("steps", overlapping())]);
        assert_eq!(others, figures);
        assert!(state(&learner) == state(&want));
    }
}

#[test]
fn views_without_their_geometry_are_refused_before_anything_changes() {
    let near = |tiny: &mut Tiny| tiny.method.matching = Matching::Backbone;
    let geometry = |tiny: &mut Tiny| tiny.method.in_view_weight = 0.0;
    for (positives, set) in [
        (InViewPositives::Near, near as fn(&mut Tiny)),
        (InViewPositives::Match, geometry),
    ] {
        let mut tiny = tiny(positives);
        set(&mut tiny);
        let mut learner = tiny.learner(&cpu());
        let before = state(&learner);
        let with = batch("a", overlapping());
        let batches = vec![with, views("b", BATCH, &cpu())];
        let error = step(&mut learner, batches, &settings(0));
        let error = error.expect_err("the second micro-batch has none");
        assert!(matches!(error, Error::NoGeometry), "{error}");
        assert!(!error.to_string().contains('\n'));
        assert!(state(&learner) == before);
    }
}
