//! The content of a pickle as data: nodes in a flat list, which refer to each other by index.
//!
//! Values in a pickle may be shared, deeply nested, or contain themselves. In a flat list, sharing needs no
//! reference counts, cycles do not leak, and dropping the list does not recurse.

/// The index of a [`Node`] in its [`Graph`].
pub(super) type Id = u32;

/// One value of a pickle; text and bytes are borrowed from the file.
#[derive(Debug)]
pub(super) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer that does not fit i64: two's complement, little-endian.
    BigInt(&'a [u8]),
    Float,
    Str(&'a str),
    /// Bytes, or text that is not UTF-8.
    Bytes(&'a [u8]),
    /// A list or a set.
    List(Vec<Id>),
    Tuple(Vec<Id>),
    /// Pairs in the order of insertion.
    Dict(Vec<(Id, Id)>),
    /// The name of a class or function, which is never resolved.
    Global(Name<'a>),
    Storage(Storage<'a>),
    Tensor(Box<TensorRef<'a>>),
    /// An object of an unknown class, with the values from which it was made.
    Opaque(Name<'a>, Vec<Id>),
}

/// `module.name` of a class or function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", clip(self.module), clip(self.name))
    }
}

/// The first 80 characters of a text of the file, for an error message.
pub(super) fn clip(text: &str) -> &str {
    text.char_indices()
        .nth(80)
        .map_or(text, |(end, _)| &text[..end])
}

/// A storage: `elements` values of one number format, from `offset` on, usually outside the pickle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    /// torch's class of its number format, e.g. `FloatStorage`.
    pub(super) class: &'a str,
    pub(super) key: &'a str,
    /// The bytes of a NumPy array, which are inside the pickle; `key` is then empty.
    pub(super) inside: Option<&'a [u8]>,
    pub(super) offset: usize,
    pub(super) elements: usize,
}

/// A tensor: a strided view of a storage, with offset and strides in elements.
#[derive(Debug)]
pub(super) struct TensorRef<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The content of a pickle.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) root: Id,
}

impl<'a> Graph<'a> {
    /// The node at `id`, which must be of this graph.
    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    /// The value for the text `key`. Of several pairs with this key the last counts, as in Python.
    pub(super) fn get(&self, dict: &[(Id, Id)], key: &str) -> Option<Id> {
        let is_key = |id: Id| matches!(self.node(id), Node::Str(text) if *text == key);
        dict.iter().rfind(|pair| is_key(pair.0)).map(|pair| pair.1)
    }

    /// Whether a tensor or a storage can be reached from `id`. Nodes in `visited` are skipped and new ones
    /// added, so that many calls together visit each node once.
    pub(super) fn holds_tensors(&self, id: Id, visited: &mut [bool]) -> bool {
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            if std::mem::replace(&mut visited[id as usize], true) {
                continue;
            }
            match self.node(id) {
                Node::Tensor(_) | Node::Storage(_) => return true,
                Node::List(items) | Node::Tuple(items) | Node::Opaque(_, items) => {
                    waiting.extend(items);
                }
                Node::Dict(pairs) => waiting.extend(pairs.iter().flat_map(|pair| [pair.0, pair.1])),
                _ => {}
            }
        }
        false
    }
}
