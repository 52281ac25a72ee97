//! The momentum encoder (He et al. 2020, equation 2).

use burn::tensor::Tensor;

use super::visit::{Kind, NamedTensor, TensorVisitor, Tensors};

/// θk ← m·θk + (1−m)·θq.
///
/// Parameters only: batch-normalisation statistics are the key encoder's own.
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
            let query: Tensor<D> = query.values.reshape(key.shape());
            *key = key.clone() * self.m + query * (1.0 - self.m);
        }
    }
}
