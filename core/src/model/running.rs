//! The running statistics of batch normalisation in a step that several ranks share.
//!
//! One rank alone updates them in each forward pass, r ← 0.9·r + 0.1·s. On several ranks the updates of the others'
//! passes are missing, and their order matters. So each pass begins with running statistics of 0, after which they are
//! 0.1·s exactly. At the end of the step the ranks exchange these numbers and apply all updates in the order of the
//! batch, which gives the bits of one rank alone.

use burn::tensor::Tensor;

use super::{
    norm::MOMENTUM,
    visit::{Kind, TensorVisitor, Tensors},
};
use crate::{
    error::Result,
    world::{self, World},
};

/// Records the running statistics of a network's passes during a step. Does nothing where a rank is alone.
#[derive(Debug)]
pub struct RunningStatistics {
    shared: bool,
    /// The statistics before the step, in the order of the network.
    before: Vec<Tensor<1>>,
    /// For each pass 0.1 times the statistics of its batch, concatenated.
    passes: Vec<Tensor<1>>,
}

impl RunningStatistics {
    /// Begins a step. Until [`Self::finish`] the running statistics of `network` have no meaning, so it can only be used
    /// by passes that normalise by the statistics of the batch.
    pub fn begin<N: Tensors>(network: &mut N, world: &dyn World) -> Self {
        let shared = world.size() > 1;
        Self {
            shared,
            before: if shared { taken(network) } else { Vec::new() },
            passes: Vec::new(),
        }
    }

    /// To be called after each forward pass of `network` in the step.
    pub fn passed<N: Tensors>(&mut self, network: &mut N) {
        if self.shared {
            self.passes.push(Tensor::cat(taken(network), 0));
        }
    }

    /// Ends the step: applies the updates of the passes of all ranks.
    ///
    /// # Errors
    /// When the device failed, or another rank has ended; `network` must then not be used any more.
    pub fn finish<N: Tensors>(self, network: &mut N, world: &mut dyn World) -> Result<()> {
        if !self.shared {
            return Ok(());
        }
        let mut running = self.before;
        for pass in world::gather(world, self.passes)? {
            let mut start = 0;
            for statistic in &mut running {
                let length = statistic.dims()[0];
                // Of the batch they are multiplied by the momentum already.
                let of_batch = pass.clone().narrow(0, start, length);
                *statistic = statistic.clone() * (1.0 - MOMENTUM) + of_batch;
                start += length;
            }
        }
        network.visit("", &mut Put(running.into_iter()));
        Ok(())
    }
}

/// The running statistics of `network`, which are set to 0.
fn taken<N: Tensors>(network: &mut N) -> Vec<Tensor<1>> {
    let mut take = Take(Vec::new());
    network.visit("", &mut take);
    take.0
}

struct Take(Vec<Tensor<1>>);

impl TensorVisitor for Take {
    fn tensor<const D: usize>(&mut self, _: &str, kind: Kind, tensor: &mut Tensor<D>) {
        if kind == Kind::Buffer {
            let zeros = tensor.zeros_like();
            let statistic = std::mem::replace(tensor, zeros);
            self.0.push(statistic.flatten(0, D - 1));
        }
    }
}

struct Put(std::vec::IntoIter<Tensor<1>>);

impl TensorVisitor for Put {
    fn tensor<const D: usize>(&mut self, _: &str, kind: Kind, tensor: &mut Tensor<D>) {
        if kind == Kind::Buffer {
            let statistic = self.0.next().expect("one for each buffer");
            *tensor = statistic.reshape(tensor.shape());
        }
    }
}
