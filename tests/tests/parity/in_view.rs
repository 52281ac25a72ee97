//! The dense loss with true positives and the in-view loss, computed from the geometry of the views.

use burn::tensor::Tensor;
use densecl::loss::{InfoNce, Positives, in_view};
use densecl_tests::{
    golden::{Golden, TOLERANCE},
    in_view::{dense_loss, geometry, one, positives, true_cells},
    network::{cpu, tensor, values},
};

const TAU: f64 = 0.2;

fn terms_agree(golden: &Golden, case: &str, grid: usize) {
    let stored = |name: &str| -> Tensor<3> {
        let (shape, values) = golden.f32(&format!("{case}/{name}"));
        tensor(values, shape.try_into().expect("a rank of 3"), &cpu())
    };
    let query = stored("query").autodiff().require_grad();
    let key = stored("key");
    let (shape, queue) = golden.f32("queue");
    let queue = tensor(queue, [shape[0], shape[1]], &cpu());
    let tau = f64::from(golden.scalar(&format!("{case}/temperature")));
    let views = geometry(golden, &format!("{case}/geometry"));
    let (pictures, cells) = (views.len(), grid * grid);
    assert_eq!(query.dims()[2], cells, "{case}");

    let truth = true_cells(&views, grid);
    let found: Vec<i64> = truth.iter().map(|c| c.map_or(-1, |c| c as i64)).collect();
    let want = golden.i64(&format!("{case}/true_cells"));
    assert_eq!((vec![pictures, cells], found), want, "{case}: true cells");
    let near = Positives::near(&views, grid, &cpu());
    let found = positives(&near, pictures, cells);
    let (_, want) = golden.i64(&format!("{case}/near"));
    let found: Vec<i64> = found.into_iter().map(i64::from).collect();
    assert!(found == want, "{case}: near cells");

    let term = |positives| in_view(query.clone(), key.clone(), positives, tau);
    let mut terms = vec![
        ("single", term(&one(&truth, pictures))),
        ("near", term(&near)),
    ];
    if truth.iter().all(Option::is_none) {
        // Without overlap a step skips the dense loss, which `invariants/in_view.rs` tests with a whole step.
        for key in ["loss_dense", "accuracy_dense", "query/grad_dense"] {
            let (_, values) = golden.f32(&format!("{case}/{key}"));
            assert!(values.iter().all(|&value| value == 0.0), "{case}: {key}");
        }
    } else {
        let dense = dense_loss(query.clone(), key.clone(), &truth, queue, TAU);
        terms.push(("dense", dense));
    }
    for (name, InfoNce { loss, accuracy }) in terms {
        let close = |key: &str, shape: &[usize], got: Vec<f32>| {
            golden.assert_close(&format!("{case}/{key}_{name}"), shape, &got, TOLERANCE);
        };
        close("loss", &[1], values(&loss));
        close("accuracy", &[1], values(&accuracy));
        let gradient = query.grad(&loss.backward()).expect("a gradient");
        close("query/grad", &gradient.dims(), values(&gradient));
    }
}

#[test]
fn the_dense_loss_over_true_positives_and_the_in_view_loss_agree() {
    let golden = Golden::open("in_view");
    for (case, grid) in [
        ("overlap", 4),
        ("same", 5),
        ("apart", 4),
        ("one_apart", 6),
        ("sizes", 7),
    ] {
        terms_agree(&golden, case, grid);
    }
    golden.assert_all_read();
}
