//! The pieces of work that densecl and PyTorch do in their worker processes.

use std::path::PathBuf;

use densecl::config::Backbone;
use serde::{Deserialize, Serialize};

/// Channels of the heads' outputs and of the keys, as in the paper.
pub(crate) const DIM: usize = 128;

/// A piece of work with all its sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Work {
    /// A whole training step.
    Step { network: Network },
    /// One part of a training step.
    Part { part: Part, network: Network },
    /// InfoNCE of [queries, dim] against [keys, dim], forward and backward.
    Loss {
        queries: usize,
        keys: usize,
        dim: usize,
    },
    /// The last feature map of a batch; batch normalisation uses its running statistics.
    Inference {
        backbone: Backbone,
        size: usize,
        batch: usize,
        /// The same network as an ONNX file, for onnxruntime.
        onnx: Option<PathBuf>,
    },
}

/// The sizes that decide the cost of a training step. Output stride 32; batch normalisation over the whole
/// batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) backbone: Backbone,
    /// Side of a view in pixels.
    pub(crate) size: usize,
    pub(crate) batch: usize,
    /// Keys in each of the two queues.
    pub(crate) queue: usize,
}

impl Network {
    /// Queries of the dense loss: one per cell of the batch.
    pub(crate) fn cells(self) -> usize {
        self.batch * (self.size / 32) * (self.size / 32)
    }
}

/// The parts of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// The momentum update of the key encoder.
    Ema,
    /// Forward pass of the query encoder, which records the graph for the gradients.
    ForwardQuery,
    /// Forward pass of the key encoder without gradients; images shuffled before it, keys put back in order
    /// after it.
    ForwardKey,
    /// Similarity of all cells, best match of each query cell, gathering the positives.
    Matching,
    /// InfoNCE of the global queries, forward and backward.
    GlobalLoss,
    /// InfoNCE of the cells, forward and backward.
    DenseLoss,
    /// The in-view loss of the cells, forward and backward; not part of the paper's step.
    InViewLoss,
    /// Backward pass of the query encoder, from its outputs to its parameters.
    Backward,
    /// SGD with momentum and weight decay.
    Optimizer,
}

impl Part {
    /// All parts, in the order in which a step does them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Ema,
        Self::ForwardQuery,
        Self::ForwardKey,
        Self::Matching,
        Self::GlobalLoss,
        Self::DenseLoss,
        Self::InViewLoss,
        Self::Backward,
        Self::Optimizer,
    ];

    /// Whether the paper's training step, the one timed as a whole, contains this part.
    pub(crate) fn is_of_the_paper(self) -> bool {
        self != Self::InViewLoss
    }

    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ema => "momentum encoder (EMA)",
            Self::ForwardQuery => "forward, query",
            Self::ForwardKey => "forward, key",
            Self::Matching => "matching",
            Self::GlobalLoss => "global loss, forward + backward",
            Self::DenseLoss => "dense loss, forward + backward",
            Self::InViewLoss => "in-view loss, forward + backward (not in the paper's step)",
            Self::Backward => "backward of the network",
            Self::Optimizer => "optimizer (SGD)",
        }
    }
}
