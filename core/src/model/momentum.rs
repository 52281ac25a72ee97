//! The momentum encoder (He et al. 2020, equation 2).

use super::visit::{Kind, NamedTensor, Tensors, put_parameters, take_parameters};
use crate::ops;

/// The momentum update θk ← m·θk + (1−m)·θq of the parameters. Batch-normalisation statistics are not updated,
/// because the key encoder collects its own in its forward passes.
///
/// # Panics
/// When the two networks have different tensors.
pub fn follow<M: Tensors>(key: &mut M, query: &M, m: f64) {
    let query = query.named();
    let same = |(key, query): (&NamedTensor, &NamedTensor)| {
        (&key.name, &key.shape) == (&query.name, &query.shape)
    };
    let before = key.named();
    assert!(
        before.len() == query.len() && before.iter().zip(&query).all(same),
        "query and key encoder have the same architecture"
    );
    // The operation can update the key encoder's parameters in place only as their one owner.
    drop(before);
    let (keys, shapes) = take_parameters(key);
    let parameters = query.into_iter().filter(|t| t.kind == Kind::Parameter);
    let queries = parameters.map(|t| t.values).collect();
    let Some(first) = keys.first() else {
        return;
    };
    let operations = ops::training(&first.device(), first.dtype());
    let followed = operations.follow_all(keys, queries, m);
    put_parameters(key, followed.into_iter().zip(shapes), false);
}
