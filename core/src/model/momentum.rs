//! The momentum encoder (He et al. 2020, equation 2).

use burn::tensor::Tensor;

use super::visit::{Kind, NamedTensor, TensorVisitor, Tensors, take};
use crate::ops;

/// The momentum update θk ← m·θk + (1−m)·θq of the parameters. Batch-normalisation statistics are not updated,
/// because the key encoder collects its own in its forward passes.
///
/// # Panics
/// When the two networks have different tensors.
pub fn follow<M: Tensors>(key: &mut M, query: &M, m: f64) {
    key.visit(
        "",
        &mut Follow {
            query: query.named().into_iter(),
            m,
        },
    );
}

struct Follow {
    query: std::vec::IntoIter<NamedTensor>,
    m: f64,
}

impl TensorVisitor for Follow {
    fn tensor<const D: usize>(&mut self, name: &str, kind: Kind, key: &mut Tensor<D>) {
        let query = self.query.next().filter(|q| q.name == name);
        let query = query.expect("query and key encoder have the same architecture");
        if kind == Kind::Parameter {
            let shape = key.shape();
            let old = take(key).flatten(0, D - 1);
            let operations = ops::on(&old.device(), old.dtype());
            *key = operations.follow(old, query.values, self.m).reshape(shape);
        }
    }
}
