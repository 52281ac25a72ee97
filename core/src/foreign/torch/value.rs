//! What a pickle can hold, as data: nodes in one flat list that refer to each other by index.
//!
//! Pickles share and nest values as they like. In a flat list sharing costs nothing, a cycle is no
//! danger to whoever does not walk it, and nothing recurses when the list is dropped.

/// The place of a [`Node`] in its [`Graph`].
pub(super) type Id = u32;

/// One value of a pickle; text and bytes are borrowed from the file.
#[derive(Debug)]
pub(super) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond i64: two's complement, little-endian.
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
    /// A class or function by name. Only a name: there is nothing to look it up in.
    Global(Name<'a>),
    Storage(Storage<'a>),
    Tensor(Box<TensorRef<'a>>),
    /// An object of a class that is not known here, and everything it was made from.
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

/// The beginning of a text of the file, for a message.
pub(super) fn clip(text: &str) -> &str {
    text.char_indices()
        .nth(80)
        .map_or(text, |(end, _)| &text[..end])
}

/// Numbers of one type, kept outside the pickle; `view` elements from `offset` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    /// torch's name of its type, e.g. `FloatStorage`.
    pub(super) class: &'a str,
    pub(super) key: &'a str,
    /// The numbers, where they lie inside the pickle: numpy's. Then there is no key.
    pub(super) inside: Option<&'a [u8]>,
    pub(super) offset: usize,
    pub(super) elements: usize,
}

/// A strided view of a storage. Offset and strides count elements.
#[derive(Debug)]
pub(super) struct TensorRef<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A whole pickle.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) root: Id,
}

impl<'a> Graph<'a> {
    /// The node at `id`, which came from this graph.
    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    /// The value of the last pair whose key is the text `key`, as Python's dictionaries have it.
    pub(super) fn get(&self, dict: &[(Id, Id)], key: &str) -> Option<Id> {
        let is_key = |id: Id| matches!(self.node(id), Node::Str(text) if *text == key);
        dict.iter().rfind(|pair| is_key(pair.0)).map(|pair| pair.1)
    }

    /// Whether a tensor or a storage can be reached from `id`. Nodes in `visited` are not looked at
    /// again, so that many questions together cost one walk.
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
