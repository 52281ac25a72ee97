//! SGD's momentum buffers in a checkpoint, as in `torch.optim.SGD.state_dict()`.
//!
//! ```text
//! optimizer: {state: {0: {momentum_buffer: tensor}, 1: …}, param_groups: [{params: [0, 1, …], …}, …]}
//! ```

use std::collections::BTreeMap;

use super::{
    TorchFile, about, damaged,
    value::{Id, Node, TensorRef},
};
use crate::{error::Result, stored::Stored};

/// The momentum buffers, by the index of their parameter in the optimizer.
#[derive(Debug)]
pub struct Momentum<'f, 'a> {
    file: &'f TorchFile<'a>,
    buffers: BTreeMap<usize, &'f TensorRef<'a>>,
    /// The number of parameters of the optimizer, with and without a buffer.
    pub parameters: usize,
}

impl<'a> TorchFile<'a> {
    /// The buffers under the key `optimizer`; `None` if there is no optimizer, or it has made no step.
    ///
    /// # Errors
    /// `Error::Format` when there is a buffer for a parameter that does not exist.
    pub fn momentum(&self) -> Result<Option<Momentum<'_, 'a>>> {
        let inside = |id: Id, key: &str| self.graph.get(self.dict(id)?, key);
        let Some(optimizer) = inside(self.graph.root, "optimizer") else {
            return Ok(None);
        };
        let parts = (
            inside(optimizer, "state"),
            inside(optimizer, "param_groups"),
        );
        let (Some(state), Some(groups)) = parts else {
            return Ok(None);
        };
        let list = |id: Id| match self.graph.node(id) {
            Node::List(items) | Node::Tuple(items) => Some(items),
            _ => None,
        };
        let mut parameters = 0_usize;
        for &group in list(groups).into_iter().flatten() {
            let members = inside(group, "params").and_then(list);
            parameters = parameters.saturating_add(members.map_or(0, Vec::len));
        }
        let mut buffers = BTreeMap::new();
        for &(number, state) in self.dict(state).unwrap_or_default() {
            let Some(buffer) = inside(state, "momentum_buffer") else {
                continue;
            };
            let Node::Tensor(buffer) = self.graph.node(buffer) else {
                continue;
            };
            let number = match self.graph.node(number) {
                Node::Int(number) => usize::try_from(*number).ok(),
                _ => None,
            };
            let number = number.filter(|number| *number < parameters);
            let number = number.ok_or_else(|| damaged("a momentum of no parameter"))?;
            buffers.insert(number, buffer.as_ref());
        }
        let momentum = Momentum {
            file: self,
            buffers,
            parameters,
        };
        Ok((!momentum.buffers.is_empty()).then_some(momentum))
    }
}

impl Momentum<'_, '_> {
    /// The shape of a parameter's buffer; `None` if it has none.
    pub fn shape(&self, number: usize) -> Option<&[usize]> {
        let buffer = self.buffers.get(&number)?;
        Some(&buffer.shape)
    }

    /// Copies a buffer. Check [`Self::shape`] first, because the file determines how much memory this takes.
    ///
    /// # Errors
    /// `Error::Format` when it is damaged or does not exist.
    pub fn read(&self, number: usize) -> Result<Stored> {
        let name = format!("the momentum of parameter {number}");
        let buffer = self.buffers.get(&number);
        let buffer = buffer.ok_or_else(|| damaged(format!("{name} is not there")))?;
        self.file.read(buffer).map_err(|e| about(&name, e))
    }
}
