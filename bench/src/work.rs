//! What is timed: said by the table's rows, understood by both sides.

use std::path::PathBuf;

use densecl::config::Backbone;
use serde::{Deserialize, Serialize};

/// Channels of the heads' outputs and of the keys, as in the paper.
pub(crate) const DIM: usize = 128;

/// One kind of work, in full: what a side must know to do it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Work {
    /// A whole training step.
    Step { network: Network },
    /// A part of it.
    Part { part: Part, network: Network },
    /// InfoNCE of [queries, dim] against [keys, dim], forward and backward.
    Loss {
        queries: usize,
        keys: usize,
        dim: usize,
    },
    /// The last feature map of a batch, batch normalisation by its running statistics.
    Inference {
        backbone: Backbone,
        size: usize,
        batch: usize,
        /// The same network as an ONNX file, for onnxruntime.
        onnx: Option<PathBuf>,
    },
}

/// What decides the cost of a training step; output stride 32, one group of batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) backbone: Backbone,
    /// Pixels of a side of a view.
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
    /// The key encoder follows.
    Ema,
    /// Query encoder with a gradient graph.
    ForwardQuery,
    /// Key encoder without, its keys shuffled and restored.
    ForwardKey,
    /// Similarity, best match, the positives gathered.
    Matching,
    /// InfoNCE of the global queries, forward and backward.
    GlobalLoss,
    /// InfoNCE of the cells, forward and backward.
    DenseLoss,
    /// The in-view loss of the cells, forward and backward; not part of the paper's step.
    InViewLoss,
    /// Through the query encoder, from its outputs to its parameters.
    Backward,
    /// SGD with momentum and weight decay.
    Optimizer,
}

impl Part {
    /// In the order of a step.
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

    /// Whether the step that is timed whole has it.
    pub(crate) fn is_of_the_paper(self) -> bool {
        self != Self::InViewLoss
    }

    /// As the table says it.
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
