//! Recognising which program wrote a checkpoint, and translating the names of its tensors to ours.
//!
//! Programs give different names to the tensors of the same ResNet. [`recognise`] determines the layout from
//! names and shapes alone, and classifies every tensor: used under a name of ours, dropped for a stated reason,
//! or unknown, which is an error. [`Mapping::apply`] or [`Mapping::gather`] then moves the values.

mod detectron2;
mod keras;
mod layout;
mod other_methods;
mod recognition;
mod selection;
mod shapes;
mod wrappers;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::layout::{Fate, Scheme};
pub use self::{
    detectron2::{from_detectron2, to_detectron2},
    keras::from_keras,
    layout::{Layout, Reason},
    selection::Selection,
};
use crate::{
    config::ModelConfig,
    error::{Error, Result, SHOWN, first_names},
    names::{KEY, QUERY, QUEUE_POSITIONS, QUEUES, VELOCITY},
    stored::Stored,
};

/// How each tensor of a checkpoint is used.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// The naming scheme of the file.
    pub layout: Layout,
    /// The network, inferred from the shapes of the tensors. Shapes do not determine the output stride, the grid
    /// of the dense head, and, without heads and queues, `dim`; these settings have their default values.
    pub model: ModelConfig,
    /// The file's name and ours of each tensor that is used. Ours are torchvision's names for the backbone,
    /// `global_head.*` and `dense_head.*`. If the file has a key encoder ([`Self::is_checkpoint`]), the
    /// encoders have the prefixes `query.` and `key.`, and there may be `queue.global`, `queue.dense` and their
    /// `queue_position.*`.
    pub used: Vec<(String, String)>,
    /// Names in the file that are known but not used, with the reason.
    pub dropped: Vec<(String, Reason)>,
    /// Our names of the tensors that the network needs and the file lacks.
    pub missing: Vec<String>,
    /// Names in the file that are unknown.
    pub unknown: Vec<String>,
    /// Messages about tensors whose shape is not that of the network.
    pub misshapen: Vec<String>,
    /// Parts of a training state of which the file has no tensor, e.g. `dense head`.
    pub absent: Vec<&'static str>,
}

/// Tensors with our names.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The tensors of [`Mapping::used`], except the positions of the queues.
    pub tensors: BTreeMap<String, Stored>,
    /// The row that the next key overwrites, in the global and in the dense queue; 0 if the file does not
    /// contain it.
    pub queue_positions: [usize; 2],
}

/// Determines the layout and the network of a file from the names and shapes `keys`, and classifies each tensor.
///
/// # Errors
/// [`Error::Mismatch`] when the names fit no [`Layout`], or the backbone is not supported. Unknown and missing
/// tensors are errors only in [`Mapping::check`].
pub fn recognise(keys: &[(String, Vec<usize>)]) -> Result<Mapping> {
    recognise_selected(keys, &Selection::default())
}

/// The same for those of the keys that `selection` takes; the others are dropped, each for its reason.
///
/// # Errors
/// As [`recognise`], and when the prefix or a pattern of the selection fits no key.
pub fn recognise_selected(keys: &[(String, Vec<usize>)], selection: &Selection) -> Result<Mapping> {
    let (selected, left_out) = selection.of(keys)?;
    let bare = wrappers::without(&selected);
    let names: BTreeSet<String> = bare.iter().cloned().collect();
    let in_file = selected.iter().map(|(_, key, _)| *key).collect();
    let scheme = Scheme::of(&names, &in_file)?;

    let mut mapping = Mapping {
        layout: scheme.layout,
        model: ModelConfig::default(),
        used: Vec::new(),
        dropped: left_out,
        missing: Vec::new(),
        unknown: Vec::new(),
        misshapen: Vec::new(),
        absent: Vec::new(),
    };
    // For each of our names the file's name and shape.
    let mut found: BTreeMap<String, (&str, &[usize])> = BTreeMap::new();
    for (bare_name, (_, key, shape)) in bare.iter().zip(&selected) {
        match scheme.fate(bare_name, shape) {
            Fate::Use(name) => {
                if let Some((first, _)) = found.insert(name, (*key, *shape)) {
                    return Err(Error::Mismatch(format!(
                        "{first} and {key} are the same tensor"
                    )));
                }
            }
            Fate::Drop(Reason::CopyOf(original)) => {
                // Named as the file names it, so that both can be compared.
                let mut all = bare.iter().zip(&selected);
                let found = all.find(|(name, _)| **name == original);
                let original = found.map_or(original, |(_, (_, key, _))| (*key).to_string());
                let copy = Reason::CopyOf(original);
                mapping.dropped.push(((*key).to_string(), copy));
            }
            Fate::Drop(reason) => mapping.dropped.push(((*key).to_string(), reason)),
            Fate::Unknown => mapping.unknown.push((*key).to_string()),
        }
    }

    let shapes: BTreeMap<&str, &[usize]> = found
        .iter()
        .map(|(name, (_, shape))| (name.as_str(), *shape))
        .collect();
    mapping.model = shapes::infer(&scheme, &shapes)?;
    mapping.absent = absent(&shapes);
    let expected = shapes::expected(&mapping.model, &scheme, &shapes);
    for (name, (key, shape)) in &found {
        match expected.get(name) {
            None => mapping.unknown.push((*key).to_string()),
            Some(wanted) => {
                if wanted.as_slice() != *shape {
                    mapping
                        .misshapen
                        .push(format!("{key} has shape {shape:?}, expected {wanted:?}"));
                }
                mapping.used.push(((*key).to_string(), name.clone()));
            }
        }
    }
    let lacking = expected.keys().filter(|name| !found.contains_key(*name));
    mapping.missing = lacking.cloned().collect();
    Ok(mapping)
}

/// The parts of a training state of which there is no tensor.
fn absent(shapes: &BTreeMap<&str, &[usize]>) -> Vec<&'static str> {
    let parts = [
        ("global head", "global_head.fc1.weight"),
        ("dense head", "dense_head.conv1.weight"),
        ("key encoder", "key.conv1.weight"),
        ("global queue", QUEUES[0]),
        ("dense queue", QUEUES[1]),
    ];
    let lacks = |name: &str| !shapes.keys().any(|key| key.ends_with(name));
    let lacking = parts.iter().filter(|(_, name)| lacks(name));
    lacking.map(|(part, _)| *part).collect()
}

impl Mapping {
    /// Whether the file has a key encoder. The names of the encoders then begin with `query.` and `key.`.
    pub fn is_checkpoint(&self) -> bool {
        !self.absent.contains(&"key encoder")
    }

    /// Checks that no tensor is unknown, missing or of the wrong shape.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the names of such tensors.
    pub fn check(&self) -> Result<()> {
        let network = self.model.describe();
        let problems = [
            (&self.unknown, "keys that are no part of it"),
            (&self.missing, "missing tensors"),
            (&self.misshapen, "other shapes"),
        ];
        match problems.iter().find(|(keys, _)| !keys.is_empty()) {
            None => Ok(()),
            Some((keys, what)) => {
                // What is not understood may be left out, if that is said.
                let advice = if std::ptr::eq(*keys, &self.unknown) {
                    "; --ignore leaves tensors out by name"
                } else {
                    ""
                };
                Err(Error::Mismatch(format!(
                    "read as {} ({network}), the file has {what}: {}{advice}",
                    self.layout,
                    first_names(keys, SHOWN)
                )))
            }
        }
    }

    /// The mapping for importing the query encoder alone: its names lose the prefix `query.`, and the other
    /// tensors of a training state are dropped.
    pub fn weights_alone(mut self) -> Self {
        let query = if self.is_checkpoint() { QUERY } else { "" };
        let others = [KEY, VELOCITY, "queue.", "queue_position."];
        for (key, name) in std::mem::take(&mut self.used) {
            if others.iter().any(|part| name.starts_with(part)) {
                self.dropped.push((key, Reason::TrainingState));
            } else {
                let name = name.strip_prefix(query).unwrap_or(&name).to_string();
                self.used.push((key, name));
            }
        }
        self
    }

    /// Renames the tensors of the file to our names.
    ///
    /// # Errors
    /// As [`Self::gather`], and [`Error::Mismatch`] when `tensors` are not those for which this mapping was made.
    pub fn apply(&self, tensors: Vec<(String, Stored)>) -> Result<Imported> {
        let tensors: HashMap<String, Stored> = tensors.into_iter().collect();
        self.gather(|key| {
            let stored = tensors.get(key).cloned();
            stored.ok_or_else(|| Error::Mismatch(format!("{key} is gone")))
        })
    }

    /// Reads the used tensors one at a time by the file's names, and returns them with our names. Dropped
    /// tensors are not read, except copies, which are compared with their original.
    ///
    /// # Errors
    /// [`Error::Mismatch`] as [`Self::check`]. [`Error::Format`] when a used tensor contains NaN or infinity,
    /// when a copy differs from its original, or when the position of a queue is outside the queue. The errors
    /// of `read`.
    pub fn gather(&self, mut read: impl FnMut(&str) -> Result<Stored>) -> Result<Imported> {
        self.check()?;
        for (key, reason) in &self.dropped {
            if let Reason::CopyOf(original) = reason
                && !same(&read(key)?, &read(original)?)
            {
                return Err(Error::Format(format!(
                    "{key} should be the same as {original}, and is not"
                )));
            }
        }
        let mut imported = Imported {
            tensors: BTreeMap::new(),
            queue_positions: [0; 2],
        };
        for (key, name) in &self.used {
            let stored = read(key)?;
            if let Some(value) = stored.values.iter().find(|value| !value.is_finite()) {
                return Err(Error::Format(format!("{key} holds {value}")));
            }
            if let Some(which) = QUEUE_POSITIONS.iter().position(|position| position == name) {
                // The tensor has one element, as `check` ensures; f32 is exact up to 2²⁴.
                let at = stored.values.first().copied().unwrap_or_default();
                if at < 0.0 {
                    return Err(Error::Format(format!("{key} is {at}, below 0")));
                }
                imported.queue_positions[which] = at as usize;
            } else if QUEUES.contains(&name.as_str()) && self.layout != Layout::Densecl {
                imported.tensors.insert(name.clone(), transposed(stored));
            } else {
                imported.tensors.insert(name.clone(), stored);
            }
        }
        for (queue, position) in QUEUES.iter().zip(imported.queue_positions) {
            let keys = imported
                .tensors
                .get(*queue)
                .map_or(1, |stored| stored.shape[0]);
            if position >= keys {
                return Err(Error::Format(format!(
                    "{queue} is written at {position}, past its {keys} keys"
                )));
            }
        }
        Ok(imported)
    }
}

/// Whether two tensors are equal bit by bit; NaN equals itself.
fn same(a: &Stored, b: &Stored) -> bool {
    let bits = |stored: &Stored| {
        stored
            .values
            .iter()
            .map(|v| v.to_bits())
            .collect::<Vec<_>>()
    };
    a.shape == b.shape && bits(a) == bits(b)
}

/// [dim, K] → [K, dim]: other programs store the keys of a queue in columns.
fn transposed(stored: Stored) -> Stored {
    let (rows, columns) = (stored.shape[0], stored.shape[1]);
    let values = (0..columns)
        .flat_map(|column| (0..rows).map(move |row| row * columns + column))
        .map(|at| stored.values[at])
        .collect();
    Stored {
        shape: vec![columns, rows],
        values,
    }
}
