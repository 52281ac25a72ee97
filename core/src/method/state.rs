//! The visitor with which checkpoints save and restore the state of a method.

use crate::{error::Result, loss_scale::LossScale, model::AnyNetwork, optim::Sgd, queue::Queue};

/// Receives each part of a method's state in turn, under a unique name, and may replace it.
pub trait StateVisitor {
    /// A network: its parameters and its batch-normalisation statistics.
    ///
    /// # Errors
    /// Those of the visitor.
    fn network(&mut self, name: &str, network: &mut dyn AnyNetwork) -> Result<()>;

    /// The velocity that `optimizer` holds for each parameter of `network`.
    ///
    /// # Errors
    /// Those of the visitor.
    fn velocity(&mut self, name: &str, optimizer: &mut Sgd, network: &dyn AnyNetwork)
    -> Result<()>;

    /// A queue: its keys, and the row to be written next.
    ///
    /// # Errors
    /// Those of the visitor.
    fn queue(&mut self, name: &str, queue: &mut Queue) -> Result<()>;

    /// The loss scale. Not called for a method without one.
    ///
    /// # Errors
    /// Those of the visitor.
    fn loss_scale(&mut self, scale: &mut LossScale) -> Result<()>;
}
