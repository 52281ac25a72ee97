//! Matches, and both losses with their gradients.

use burn::tensor::{Int, Tensor};
use densecl::{
    loss::{info_nce, weighted},
    matching::{best_match, gather_cells, mutual_matches, similarity},
};
use densecl_tests::{
    golden::{Golden, TOLERANCE, assert_close},
    network::{cpu, tensor, values},
};

const TAU: f64 = 0.2;
const LAMBDA: f64 = 0.3;

fn stored<const D: usize>(golden: &Golden, key: &str) -> Tensor<D> {
    let (shape, values) = golden.f32(key);
    tensor(
        values,
        shape.try_into().expect("the rank asked for"),
        &cpu(),
    )
}

fn indices(matches: &Tensor<2, Int>) -> Vec<i64> {
    let read = matches.clone().try_into_vec_as();
    read.expect("the CPU answers")
}

#[test]
fn matching_agrees() {
    let golden = Golden::open("matching");
    let (query, key): (Tensor<3>, Tensor<3>) =
        (stored(&golden, "cells_q"), stored(&golden, "cells_k"));
    let sim = similarity(query, key.clone());
    golden.assert_close("similarity", &sim.dims(), &values(&sim), TOLERANCE);

    let chosen = best_match(sim.clone());
    let forth = golden.i64("match").1;
    assert_eq!(indices(&chosen), forth);
    let back = best_match(sim.clone().swap_dims(1, 2));
    assert_eq!(indices(&back), golden.i64("match_back").1);

    let [images, channels, cells] = key.dims();
    let gathered = values(&gather_cells(key.clone(), chosen));
    let key = values(&key);
    for (at, &got) in gathered.iter().enumerate() {
        let (row, cell) = (at / cells, at % cells);
        let from = forth[row / channels * cells + cell] as usize;
        assert_eq!(got, key[row * cells + from], "gathered value {at}");
    }

    let mutual = golden.i64("mutual").1;
    for (image, sim) in values(&sim).chunks_exact(cells * cells).enumerate() {
        let mut pairs = vec![None; cells];
        for found in mutual_matches(sim, cells, -1.0) {
            assert_eq!(found.score, sim[found.a * cells + found.b]);
            pairs[found.a] = Some(found.b as i64);
        }
        for (cell, &pair) in pairs.iter().enumerate() {
            let at = image * cells + cell;
            let want = (mutual[at] == 1).then_some(forth[at]);
            assert_eq!(pair, want, "image {image}, cell {cell}");
        }
    }
    assert_eq!(images, 3);
    golden.assert_all_read();
}

/// [B, D, N] → [B·N, D].
fn as_rows(cells: Tensor<3>) -> Tensor<2> {
    let [b, d, n] = cells.dims();
    cells.swap_dims(1, 2).reshape([b * n, d])
}

#[test]
fn losses_and_gradients_agree() {
    let golden = Golden::open("losses");
    let q: Tensor<2> = stored(&golden, "q").autodiff().require_grad();
    let cells: Tensor<3> = stored(&golden, "cells").autodiff().require_grad();
    let k: Tensor<2> = stored(&golden, "k");
    let positives = as_rows(stored(&golden, "positives"));
    let (queue, queue_dense): (Tensor<2>, Tensor<2>) =
        (stored(&golden, "queue"), stored(&golden, "queue_dense"));
    let losses = || {
        let dense = as_rows(cells.clone());
        (
            info_nce(q.clone(), k.clone(), queue.clone(), TAU),
            info_nce(dense, positives.clone(), queue_dense.clone(), TAU),
        )
    };
    let close = |key: &str, shape: &[usize], got: Vec<f32>| {
        golden.assert_close(key, shape, &got, TOLERANCE);
    };

    let (global, dense) = losses();
    close("loss_global", &[1], values(&global.loss));
    close("loss_dense", &[1], values(&dense.loss));
    close("accuracy_global", &[1], values(&global.accuracy));
    close("accuracy_dense", &[1], values(&dense.accuracy));
    let of_q = q.grad(&global.loss.backward()).expect("a gradient of q");
    close("q/grad_global", &of_q.dims(), values(&of_q));
    let of_cells = cells.grad(&dense.loss.backward());
    let of_cells = of_cells.expect("a gradient of the cells");
    close("cells/grad_dense", &of_cells.dims(), values(&of_cells));

    // The weighted sum, with both losses in one gradient graph.
    let (global, dense) = losses();
    let loss = weighted(global.loss, dense.loss, LAMBDA);
    close("loss", &[1], values(&loss));
    let backward = loss.backward();
    let of_q = q.grad(&backward).expect("a gradient of q");
    close("q/grad", &of_q.dims(), values(&of_q));
    let of_cells = cells.grad(&backward).expect("a gradient of the cells");
    close("cells/grad", &of_cells.dims(), values(&of_cells));

    // `info_nce` does not return the logits. They are checked by the loss of each row alone, which is −log
    // softmax of its positive.
    let (shape, logits) = golden.f32("logits");
    for (row, logits) in logits.chunks_exact(shape[1]).enumerate() {
        let one = |t: &Tensor<2>| t.clone().inner().slice([row..row + 1, 0..16]);
        let got = info_nce(one(&q), one(&k), queue.clone(), TAU).loss;
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let want = (sum.ln() - f64::from(logits[0])) as f32;
        assert_close(&format!("row {row}"), &values(&got), &[want], TOLERANCE);
    }
    golden.assert_all_read();
}
