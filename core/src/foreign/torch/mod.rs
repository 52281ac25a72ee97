//! Checkpoints of PyTorch (`.pth`), read as data: nothing in them is executed.
//!
//! A `.pth` is a pickle, a program that Python's reader runs, beside raw numbers. `pickle` reads the
//! program without running it, and `meaning` says what its calls stand for; `zip` and `legacy` are
//! the two ways in which torch packs both into one file (since 1.6 and before); `tensor` makes
//! row-major f32 of a strided view; `write` is what `torch.save` does. Whose names the
//! tensors have is known to [`names`](super::names).
//!
//! What a file says of sizes is believed only as far as the file is long: memory stays within a small
//! multiple of the file's, and whatever is wrong with it is an [`Error`].

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

/// Where programs put the state dict in a checkpoint, the more telling name first.
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
/// Dictionaries in dictionaries.
const MAX_DEPTH: usize = 16;
/// Entries of a state dict; a ResNet-101 with both encoders has about 1,300.
const MAX_ENTRIES: usize = 1 << 16;
/// Bytes of a tensor's whole name.
const MAX_NAME: usize = 512;

/// A file that torch saved: its values, and its numbers where they lie in the file.
#[derive(Debug)]
pub struct TorchFile<'a> {
    graph: Graph<'a>,
    storages: HashMap<&'a str, &'a [u8]>,
    bytes: usize,
}

/// The tensors of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct StateDict {
    /// Keys under which it was found, joined by dots: `state_dict`, or empty at the top.
    pub under: String,
    /// Name and values, in the file's order. Dictionaries inside are flattened with dots. Numbers
    /// wider than f32 are rounded to it.
    pub tensors: Vec<(String, Stored)>,
    /// What else is in the file and was not read, e.g. `epoch` and `optimizer`.
    pub beside: Vec<String>,
}

/// The tensors of a checkpoint where they lie in the file: each is copied when it is asked for.
#[derive(Debug)]
pub struct Listing<'f, 'a> {
    file: &'f TorchFile<'a>,
    tensors: Vec<(String, &'f TensorRef<'a>)>,
    /// As [`StateDict::under`].
    pub under: String,
    /// As [`StateDict::beside`].
    pub beside: Vec<String>,
}

/// The tensors in the bytes of a `.pth` file, in either of torch's formats.
///
/// # Errors
/// [`Error::Format`] as for [`TorchFile::parse`] and [`TorchFile::state_dict`].
pub fn state_dict(bytes: &[u8]) -> Result<StateDict> {
    TorchFile::parse(bytes)?.state_dict()
}

/// Whether bytes begin as one of torch's formats does, which says nothing about the rest.
pub fn is_torch(bytes: &[u8]) -> bool {
    zip::is_zip(bytes) || bytes.starts_with(&[0x80])
}

impl<'a> TorchFile<'a> {
    /// Reads the structure of a file; tensors stay where they are.
    ///
    /// # Errors
    /// [`Error::Format`] when `bytes` are no file of torch's, are truncated or damaged, or hold a
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

    /// Whether the file is a pickle of numpy's arrays, not of torch's tensors.
    pub fn is_numpy(&self) -> bool {
        let inside = |tensor: &TensorRef| tensor.storage.inside.is_some();
        let nodes = self.graph.nodes.iter();
        let mut tensors = nodes.filter_map(|node| match node {
            Node::Tensor(tensor) => Some(inside(tensor)),
            _ => None,
        });
        tensors.next().unwrap_or(false)
    }

    /// The truth value under this key of the outermost dictionary.
    pub fn truth(&self, key: &str) -> Option<bool> {
        let id = self.graph.get(self.dict(self.graph.root)?, key)?;
        match self.graph.node(id) {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer at these keys of nested dictionaries, e.g. `["meta", "iter"]`.
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
    /// [`Error::Format`] as [`Self::listing`], and when a tensor is damaged or of a type that is not
    /// read.
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

    /// Finds the state dict.
    ///
    /// It is the dictionary with tensors in it, under `state_dict`, `model` and the like or at the
    /// top.
    ///
    /// # Errors
    /// [`Error::Format`] when there is none, when the tensors together declare more numbers than the
    /// file has bytes, or when tensors hide in an object of a class that is not known here.
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

        // A tensor may declare any size with strides of 0. No honest file has more elements than
        // bytes.
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

    /// Goes down to the state dict: the keys on the way and what it is. What lies beside the way is
    /// added to `beside`.
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
    /// Names and shapes, in the file's order.
    pub fn keys(&self) -> Vec<(String, Vec<usize>)> {
        let keys = self.tensors.iter();
        keys.map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
            .collect()
    }

    /// Copies the tensor at this place of [`Self::keys`].
    ///
    /// # Errors
    /// [`Error::Format`] when it is damaged or of a type that is not read.
    ///
    /// # Panics
    /// When there is no such place.
    pub fn read(&self, index: usize) -> Result<Stored> {
        let (name, tensor) = &self.tensors[index];
        self.file.read(tensor).map_err(|e| about(name, e))
    }
}

/// The walk over a state dict.
struct Found<'f, 'a> {
    file: &'f TorchFile<'a>,
    tensors: Vec<(String, &'f TensorRef<'a>)>,
    beside: Vec<String>,
    /// Nodes already searched for hidden tensors.
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
            // One dictionary may be met in many places: this bounds the walk.
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

/// What every parser here says of a file that contradicts itself.
fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Format(format!("a damaged file of torch's: {what}"))
}

/// Puts the name of the tensor before what is wrong with it.
fn about(name: &str, error: Error) -> Error {
    match error {
        Error::Format(what) => Error::Format(format!("{name}: {what}")),
        other => other,
    }
}
