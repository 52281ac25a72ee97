//! The parts of a method's state, as a checkpoint walks them.

use crate::{error::Result, loss_scale::LossScale, model::AnyNetwork, optim::Sgd, queue::Queue};

/// Receives each part of a method's state in turn and may replace it. No two parts have the same name.
pub trait StateVisitor {
    /// A network with its parameters and statistics.
    ///
    /// # Errors
    /// Those of the visitor.
    fn network(&mut self, name: &str, network: &mut dyn AnyNetwork) -> Result<()>;

    /// What `optimizer` remembers about the parameters of `network`.
    ///
    /// # Errors
    /// Those of the visitor.
    fn velocity(&mut self, name: &str, optimizer: &mut Sgd, network: &dyn AnyNetwork)
    -> Result<()>;

    /// A queue of keys and its position.
    ///
    /// # Errors
    /// Those of the visitor.
    fn queue(&mut self, name: &str, queue: &mut Queue) -> Result<()>;

    /// The loss scale, where there is one.
    ///
    /// # Errors
    /// Those of the visitor.
    fn loss_scale(&mut self, scale: &mut LossScale) -> Result<()>;
}
