//! Restoring the state of a method from an archive.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};

use crate::{
    error::{Error, Result},
    loss_scale::LossScale,
    method::{Method, StateVisitor},
    model::{AnyNetwork, Kind},
    optim::Sgd,
    queue::Queue,
    weights::{Archive, Stored},
};

/// Moves each part of `learner`'s state out of the archive; velocities only if `velocities`.
///
/// # Errors
/// [`Error::Mismatch`] when a tensor is missing, has another shape or is not part of the state;
/// [`Error::Format`] when the position of a queue is past its end.
pub(super) fn restore(
    archive: &mut Archive,
    positions: &BTreeMap<String, usize>,
    velocities: bool,
    loss_scale: Option<LossScale>,
    learner: &mut dyn Method,
) -> Result<()> {
    learner.visit_state(&mut Restore {
        archive,
        positions,
        velocities,
        loss_scale,
    })?;
    match archive.names().next() {
        None => Ok(()),
        Some(extra) => Err(Error::Mismatch(format!(
            "{extra} is not part of the run's state"
        ))),
    }
}

struct Restore<'a> {
    archive: &'a mut Archive,
    positions: &'a BTreeMap<String, usize>,
    velocities: bool,
    loss_scale: Option<LossScale>,
}

impl StateVisitor for Restore<'_> {
    fn network(&mut self, name: &str, network: &mut dyn AnyNetwork) -> Result<()> {
        self.archive.restore(&format!("{name}."), network)
    }

    fn velocity(
        &mut self,
        name: &str,
        optimizer: &mut Sgd,
        network: &dyn AnyNetwork,
    ) -> Result<()> {
        if !self.velocities {
            return Ok(());
        }
        let tensors = network.list().into_iter();
        let parameters = tensors.filter(|tensor| tensor.kind == Kind::Parameter);
        let velocity = parameters.map(|tensor| {
            let name = format!("{name}.{}", tensor.name);
            let stored = take(self.archive, &name, &tensor.shape)?;
            let count = stored.values.len();
            let data = TensorData::new(stored.values, [count]);
            Ok(Tensor::from_data(data, &tensor.values.device()))
        });
        let velocity: Vec<_> = velocity.collect::<Result<_>>()?;
        optimizer.restore(velocity);
        Ok(())
    }

    fn queue(&mut self, name: &str, queue: &mut Queue) -> Result<()> {
        let keys = queue.keys();
        let [len, dim] = keys.dims();
        let stored = take(self.archive, name, &[len, dim])?;
        let position = self.positions.get(name).copied().unwrap_or(0);
        if position >= len {
            return Err(Error::Format(format!(
                "{name} writes at {position}, past its end"
            )));
        }
        let data = TensorData::new(stored.values, [len, dim]);
        *queue = Queue::from_parts(Tensor::from_data(data, &keys.device()), position);
        Ok(())
    }

    fn loss_scale(&mut self, scale: &mut LossScale) -> Result<()> {
        *scale = self.loss_scale.unwrap_or(*scale);
        Ok(())
    }
}

fn take(archive: &mut Archive, name: &str, shape: &[usize]) -> Result<Stored> {
    let stored = archive
        .take(name)
        .ok_or_else(|| Error::Mismatch(format!("the checkpoint lacks {name}")))?;
    if stored.shape == shape {
        Ok(stored)
    } else {
        Err(Error::Mismatch(format!(
            "{name} has shape {:?}, expected {shape:?}",
            stored.shape
        )))
    }
}
