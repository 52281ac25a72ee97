//! torch's file format before 1.6, which it still writes on request: several pickles, followed by the raw values.
//!
//! ```text
//! pickle  magic number             pickle  the object, which refers to storages by key
//! pickle  version, 1001            pickle  the keys of the storages, in the order in which they follow
//! pickle  sys_info                 for each key: number of elements (i64), elements
//! ```

use std::collections::HashMap;

use super::{
    cursor::Cursor,
    damaged,
    numpy::arrays_to_tensors,
    pickle::read_pickle,
    tensor::Dtype,
    value::{Graph, Node, clip},
};
use crate::error::{Error, Result};

/// torch's magic number 0x1950a86a20f9469cfc6c, in the byte order of a pickle.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// The object, and the bytes of each storage by its key. For a single pickle of NumPy arrays, the values are
/// inside the object and there are no storages.
///
/// # Errors
/// `Error::Format` when `bytes` are damaged, or a pickle of another kind.
pub(super) fn read(bytes: &[u8]) -> Result<(Graph<'_>, HashMap<String, &[u8]>)> {
    let mut cursor = Cursor::new(bytes, 0);
    let mut magic = read_pickle(&mut cursor)?;
    if !matches!(magic.node(magic.root), Node::BigInt(digits) if **digits == MAGIC) {
        if arrays_to_tensors(&mut magic)? {
            return Ok((magic, HashMap::new()));
        }
        return Err(Error::Format(
            "a pickle, but not one that torch.save wrote, and without arrays of numpy's"
                .to_string(),
        ));
    }
    let version = read_pickle(&mut cursor)?;
    if !matches!(version.node(version.root), Node::Int(VERSION)) {
        return Err(damaged("an unknown version of torch's old format"));
    }
    let system = read_pickle(&mut cursor)?;
    if big_endian(&system) {
        return Err(Error::Format(
            "written on a big-endian machine; load and save it again with torch".to_string(),
        ));
    }
    let object = read_pickle(&mut cursor)?;
    let keys = read_pickle(&mut cursor)?;

    let classes: HashMap<&str, &str> = object
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::Storage(storage) => Some((storage.key, storage.class)),
            _ => None,
        })
        .collect();
    let Node::List(order) = keys.node(keys.root) else {
        return Err(damaged("the list of its storages is missing"));
    };
    let mut storages = HashMap::new();
    for id in order {
        let Node::Str(key) = keys.node(*id) else {
            return Err(damaged("a storage without a name"));
        };
        let class = classes
            .get(key)
            .ok_or_else(|| damaged(format!("storage {} belongs to nothing", clip(key))))?;
        let elements = cursor.u64()?;
        let size = Dtype::of(class)?.size() as u64;
        let data = cursor.take_u64(elements.saturating_mul(size))?;
        if storages.insert((*key).to_owned(), data).is_some() {
            return Err(damaged(format!("storage {} is there twice", clip(key))));
        }
    }
    Ok((object, storages))
}

fn big_endian(system: &Graph) -> bool {
    let Node::Dict(pairs) = system.node(system.root) else {
        return false;
    };
    let little = system.get(pairs, "little_endian");
    little.is_some_and(|id| matches!(system.node(id), Node::Bool(false)))
}
