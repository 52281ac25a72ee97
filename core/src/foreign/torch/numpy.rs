//! NumPy arrays in a pickle, as in detectron2's model zoo. Unlike torch's tensors, their values are inside the
//! pickle.
//!
//! ```text
//! array: numpy.core.multiarray._reconstruct(ndarray, (0,), b"b"), state (1, shape, dtype, Fortran order, bytes)
//! dtype: numpy.dtype("f4", False, True), state (3, "<", …)
//! ```

use super::{
    damaged,
    value::{Graph, Id, Name, Node, Storage, TensorRef, clip},
};
use crate::error::{Error, Result};

/// Replaces each array in the graph by a tensor. Returns whether there was one.
///
/// # Errors
/// [`Error::Format`] for an array whose number format or byte order is not supported.
pub(super) fn arrays_to_tensors(graph: &mut Graph) -> Result<bool> {
    let found = graph.nodes.iter().enumerate().filter_map(|(id, node)| {
        let Node::Opaque(name, parts) = node else {
            return None;
        };
        match parts[..] {
            [_, state] if is_array(*name) => Some((id, state)),
            _ => None,
        }
    });
    let found: Vec<(usize, Id)> = found.collect();
    let mut tensors = Vec::with_capacity(found.len());
    for &(id, state) in &found {
        tensors.push((id, tensor(graph, state)?));
    }
    for (id, tensor) in tensors {
        graph.nodes[id] = Node::Tensor(Box::new(tensor));
    }
    Ok(!found.is_empty())
}

/// Whether a class is that of a pickled array. NumPy 2 has renamed its module.
fn is_array(name: Name) -> bool {
    let modules = ["numpy.core.multiarray", "numpy._core.multiarray"];
    name.name == "_reconstruct" && modules.contains(&name.module)
}

fn tensor<'a>(graph: &Graph<'a>, state: Id) -> Result<TensorRef<'a>> {
    let &[_, shape, dtype, fortran, data] = items(graph, state)? else {
        return Err(damaged("an array without its shape, type or numbers"));
    };
    let shape = items(graph, shape)?.iter().map(|&id| size(graph, id));
    let shape: Vec<usize> = shape.collect::<Result<_>>()?;
    if shape.len() > super::pickle::MAX_RANK {
        return Err(damaged("an array of more dimensions than any tensor"));
    }
    let Node::Bytes(numbers) = graph.node(data) else {
        return Err(Error::Format(
            "holds arrays whose numbers are text, as pickles before protocol 3 have them; pickle it again \
             with protocol 3 or later"
                .to_string(),
        ));
    };
    let (class, bytes) = class(graph, dtype)?;
    // Strides in elements: the last axis has stride 1, or the first axis in Fortran order.
    let mut strides = vec![1; shape.len()];
    let mut step = 1_usize;
    let mut axes: Vec<usize> = (0..shape.len()).collect();
    if !matches!(graph.node(fortran), Node::Bool(true)) {
        axes.reverse();
    }
    for axis in axes {
        strides[axis] = step;
        step = step.saturating_mul(shape[axis]);
    }
    Ok(TensorRef {
        storage: Storage {
            class,
            key: "",
            inside: Some(*numbers),
            offset: 0,
            elements: numbers.len() / bytes,
        },
        offset: 0,
        shape,
        strides,
    })
}

/// torch's storage class for this dtype, and the bytes of an element.
fn class(graph: &Graph, dtype: Id) -> Result<(&'static str, usize)> {
    let unknown = || Error::Format("holds arrays of a type that is not read".to_string());
    let Node::Opaque(name, parts) = graph.node(dtype) else {
        return Err(unknown());
    };
    let [args, state] = parts[..] else {
        return Err(unknown());
    };
    let text = |id: Option<&Id>| match id.map(|&id| graph.node(id)) {
        Some(Node::Str(text)) => Some(*text),
        _ => None,
    };
    let code = text(items(graph, args)?.first());
    let order = text(items(graph, state)?.get(1));
    if (name.module, name.name) != ("numpy", "dtype") || order == Some(">") {
        return Err(unknown());
    }
    match code {
        Some("f8") => Ok(("DoubleStorage", 8)),
        Some("f4") => Ok(("FloatStorage", 4)),
        Some("f2") => Ok(("HalfStorage", 2)),
        Some("i8") => Ok(("LongStorage", 8)),
        Some("i4") => Ok(("IntStorage", 4)),
        Some(other) => Err(Error::Format(format!(
            "holds arrays of numpy's type {}, which are not read",
            clip(other)
        ))),
        None => Err(unknown()),
    }
}

fn items<'g>(graph: &'g Graph, id: Id) -> Result<&'g [Id]> {
    match graph.node(id) {
        Node::Tuple(items) | Node::List(items) => Ok(items),
        _ => Err(damaged("an array of which a part is no tuple")),
    }
}

fn size(graph: &Graph, id: Id) -> Result<usize> {
    let size = match graph.node(id) {
        Node::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    };
    size.ok_or_else(|| damaged("an array whose size is no number, or is below 0"))
}
