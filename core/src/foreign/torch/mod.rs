//! Reading checkpoints of PyTorch (`.pth`) without executing anything in them, and writing them.
//!
//! A `.pth` file consists of a pickle and of raw values. A pickle is a program that Python's reader executes.
//! Here, `pickle` interprets it without calling any function, and `meaning` recognises the calls that stand for
//! tensors. `zip` and `legacy` read the two file formats of torch (since 1.6 and before), `tensor` converts a
//! strided view to row-major f32, and `write` writes what `torch.save` does. [`names`](super::names) translates
//! the names of tensors.
//!
//! Sizes in a file are checked against the length of the file, so memory stays within a small multiple of it. A
//! damaged or malicious file causes an [`Error`], and no panic.

mod cursor;
mod legacy;
mod meaning;
mod momentum;
mod numpy;
mod pickle;
mod tensor;
mod value;
mod write;
mod zip;

use std::collections::{HashMap, HashSet};

use self::value::{Graph, Id, Node, TensorRef, clip};
pub use self::{momentum::Momentum, write::write};
use crate::{
    error::{Error, Result},
    stored::Stored,
};

/// The keys under which programs store the state dict in a checkpoint, in the order in which they are tried.
const WRAPPERS: [&str; 8] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "teacher",
    "student",
    // VISSL's: classy_state_dict.base_model.model has the trunk and the heads.
    "classy_state_dict",
    "base_model",
];
/// The deepest permitted nesting of dictionaries.
const MAX_DEPTH: usize = 16;
/// The most entries of a state dict; a ResNet-101 with both encoders has about 1,300.
const MAX_ENTRIES: usize = 1 << 16;
/// The longest name of a tensor, in bytes.
const MAX_NAME: usize = 512;

/// A parsed file of torch: the object that was saved, and the raw values of tensors, borrowed from the file.
#[derive(Debug)]
pub struct TorchFile<'a> {
    graph: Graph<'a>,
    storages: HashMap<String, &'a [u8]>,
    bytes: usize,
}

/// The tensors of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct StateDict {
    /// Keys under which the tensors were found, joined by dots, such as `state_dict`; empty at the top level.
    pub under: String,
    /// Names and values, in the order of the file. Names in nested dictionaries are joined by dots. Values are
    /// converted to f32.
    pub tensors: Vec<(String, Stored)>,
    /// Other entries of the file, which were not read, e.g. `epoch` and `optimizer`.
    pub beside: Vec<String>,
}

/// The tensors of a checkpoint, which are copied out of the file one at a time.
#[derive(Debug)]
pub struct Listing<'f, 'a> {
    file: &'f TorchFile<'a>,
    tensors: Vec<(String, &'f TensorRef<'a>)>,
    /// As [`StateDict::under`].
    pub under: String,
    /// As [`StateDict::beside`].
    pub beside: Vec<String>,
}

/// Reads all tensors of a `.pth` file, in either of torch's formats.
///
/// # Errors
/// [`Error::Format`] as [`TorchFile::parse`] and [`TorchFile::state_dict`].
pub fn state_dict(bytes: &[u8]) -> Result<StateDict> {
    TorchFile::parse(bytes)?.state_dict()
}

/// Whether the first bytes are those of a format of torch; the rest is not checked.
pub fn is_torch(bytes: &[u8]) -> bool {
    zip::is_zip(bytes) || bytes.starts_with(&[0x80])
}

impl<'a> TorchFile<'a> {
    /// Reads the structure of a file, without copying the values of tensors.
    ///
    /// # Errors
    /// [`Error::Format`] when `bytes` are not a file of torch, are truncated or damaged, or contain a
    /// TorchScript program.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (graph, storages) = if zip::is_zip(bytes) {
            zip::read(bytes)?
        } else if is_torch(bytes) {
            legacy::read(bytes)?
        } else {
            return Err(Error::Format(
                "not a file of torch's: neither a zip archive nor a pickle".to_string(),
            ));
        };
        Ok(Self {
            graph,
            storages,
            bytes: bytes.len(),
        })
    }

    /// Whether the file is a pickle of NumPy arrays instead of torch's tensors.
    pub fn is_numpy(&self) -> bool {
        let inside = |tensor: &TensorRef| tensor.storage.inside.is_some();
        let nodes = self.graph.nodes.iter();
        let mut tensors = nodes.filter_map(|node| match node {
            Node::Tensor(tensor) => Some(inside(tensor)),
            _ => None,
        });
        tensors.next().unwrap_or(false)
    }

    /// The boolean under this key of the outermost dictionary; `None` if there is none.
    pub fn truth(&self, key: &str) -> Option<bool> {
        let id = self.graph.get(self.dict(self.graph.root)?, key)?;
        match self.graph.node(id) {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer under these keys of nested dictionaries, e.g. `["meta", "iter"]`; `None` if there is none.
    pub fn integer(&self, keys: &[&str]) -> Option<i64> {
        let mut id = self.graph.root;
        for key in keys {
            id = self.graph.get(self.dict(id)?, key)?;
        }
        match self.graph.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Finds the state dict and copies its tensors.
    ///
    /// # Errors
    /// [`Error::Format`] as [`Self::listing`], and when a tensor is damaged or its number format is not supported.
    pub fn state_dict(&self) -> Result<StateDict> {
        let listing = self.listing()?;
        let tensors = listing.tensors.iter().map(|(name, tensor)| {
            let stored = self.read(tensor).map_err(|e| about(name, e))?;
            Ok((name.clone(), stored))
        });
        Ok(StateDict {
            tensors: tensors.collect::<Result<_>>()?,
            under: listing.under,
            beside: listing.beside,
        })
    }

    /// Finds the state dict: the dictionary with tensors at the top level, or under keys such as `state_dict`
    /// and `model`.
    ///
    /// # Errors
    /// [`Error::Format`] when there is none, when the tensors together have more elements than the file has
    /// bytes, or when there are tensors inside a list or an object of an unknown class, where they cannot be
    /// read.
    pub fn listing(&self) -> Result<Listing<'_, 'a>> {
        let mut found = Found {
            file: self,
            beside: Vec::new(),
            tensors: Vec::new(),
            visited: vec![false; self.graph.nodes.len()],
            entries: 0,
        };
        let (under, dict) = self.unwrap(&mut found.beside)?;
        found.collect(dict, "", 0)?;
        let Found {
            tensors, beside, ..
        } = found;
        if tensors.is_empty() {
            return Err(Error::Format(
                "no tensors with names in it: not a checkpoint of a network".to_string(),
            ));
        }

        // With strides of 0, a tensor may have any size without values in the file, and copying it could exhaust
        // the memory. Files that torch writes have no more elements than bytes.
        let mut left = self.bytes;
        let mut names = HashSet::new();
        for (name, tensor) in &tensors {
            let rest = left.checked_sub(tensor.count().map_err(|e| about(name, e))?);
            left =
                rest.ok_or_else(|| damaged("its tensors declare more numbers than it has bytes"))?;
            if !names.insert(name) {
                return Err(damaged(format!("{name} is in it twice")));
            }
        }
        Ok(Listing {
            file: self,
            tensors,
            under,
            beside,
        })
    }

    fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.graph.node(id) {
            Node::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Descends to the state dict. Returns the keys on the way, and the state dict; adds the other keys to
    /// `beside`.
    fn unwrap(&self, beside: &mut Vec<String>) -> Result<(String, Id)> {
        let mut way: Vec<&str> = Vec::new();
        let mut id = self.graph.root;
        while way.len() < MAX_DEPTH {
            let Some(pairs) = self.dict(id) else {
                return Err(self.not_a_dict(id));
            };
            let is_tensor = |id: Id| matches!(self.graph.node(id), Node::Tensor(_));
            if pairs.iter().any(|pair| is_tensor(pair.1)) {
                break;
            }
            let inner = WRAPPERS.iter().find_map(|key| {
                let inner = self.graph.get(pairs, key)?;
                self.dict(inner).map(|_| (*key, inner))
            });
            let Some((key, inner)) = inner else { break };
            for (other, _) in pairs {
                match self.graph.node(*other) {
                    Node::Str(other) if *other != key && beside.len() < MAX_ENTRIES => {
                        beside.push(clip(other).to_string());
                    }
                    _ => {}
                }
            }
            way.push(key);
            id = inner;
        }
        Ok((way.join("."), id))
    }

    fn not_a_dict(&self, id: Id) -> Error {
        Error::Format(match self.graph.node(id) {
            Node::Opaque(name, _) => format!(
                "holds an object of class {name}, which would have to run Python code; save its \
                 state_dict() instead"
            ),
            Node::Tensor(_) => "holds a single tensor without a name".to_string(),
            _ => "holds no dictionary of tensors".to_string(),
        })
    }

    fn read(&self, tensor: &TensorRef) -> Result<Stored> {
        let key = tensor.storage.key;
        let keyed = || self.storages.get(key).copied();
        let storage = tensor.storage.inside.or_else(keyed);
        let storage =
            storage.ok_or_else(|| damaged(format!("its storage {} is missing", clip(key))))?;
        tensor.read(storage)
    }
}

impl Listing<'_, '_> {
    /// Names and shapes, in the order of the file.
    pub fn keys(&self) -> Vec<(String, Vec<usize>)> {
        let keys = self.tensors.iter();
        keys.map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
            .collect()
    }

    /// Copies the tensor at this index of [`Self::keys`].
    ///
    /// # Errors
    /// [`Error::Format`] when it is damaged or its number format is not supported.
    ///
    /// # Panics
    /// When `index` is out of range.
    pub fn read(&self, index: usize) -> Result<Stored> {
        let (name, tensor) = &self.tensors[index];
        self.file.read(tensor).map_err(|e| about(name, e))
    }
}

/// Collects the tensors of a state dict.
struct Found<'f, 'a> {
    file: &'f TorchFile<'a>,
    tensors: Vec<(String, &'f TensorRef<'a>)>,
    beside: Vec<String>,
    /// Whether each node has been searched for tensors inside unknown objects.
    visited: Vec<bool>,
    entries: usize,
}

impl Found<'_, '_> {
    fn collect(&mut self, dict: Id, prefix: &str, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(damaged("dictionaries nested deeper than in any checkpoint"));
        }
        let file = self.file;
        for &(key, value) in file.dict(dict).unwrap_or_default() {
            // A dictionary may occur in many places, so the number of entries is bounded.
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(damaged(format!(
                    "more than {MAX_ENTRIES} entries in its state dict"
                )));
            }
            let name = match file.graph.node(key) {
                Node::Str(key) if prefix.len() + key.len() < MAX_NAME => format!("{prefix}{key}"),
                Node::Str(key) => {
                    return Err(damaged(format!("a key of absurd length, {}…", clip(key))));
                }
                Node::Int(key) => format!("{prefix}{key}"),
                _ => format!("{prefix}?"),
            };
            match file.graph.node(value) {
                Node::Tensor(tensor) => self.tensors.push((name, tensor)),
                Node::Dict(_) => self.collect(value, &format!("{name}."), depth + 1)?,
                other => {
                    if file.graph.holds_tensors(value, &mut self.visited) {
                        let what = match other {
                            Node::Opaque(class, _) => format!("an object of class {class}"),
                            _ => "a list".to_string(),
                        };
                        return Err(Error::Format(format!(
                            "{name} is {what} with tensors in it, which cannot be read without \
                             running Python code; save a state_dict() instead"
                        )));
                    }
                    self.beside.push(name);
                }
            }
        }
        Ok(())
    }
}

/// The error of all parsers of this module for a damaged file.
fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Format(format!("a damaged file of torch's: {what}"))
}

/// Puts the name of the tensor before the message.
fn about(name: &str, error: Error) -> Error {
    match error {
        Error::Format(what) => Error::Format(format!("{name}: {what}")),
        other => other,
    }
}
