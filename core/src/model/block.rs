//! The residual blocks (He et al. 2016), built from their description in [`crate::network`].

use super::{
    layers::{Conv2d, Init},
    norm::BatchNorm,
    visit::{TensorVisitor, Tensors},
};
use crate::{
    network::{self, Convolution, SHORTCUT_NAMES, chain_names},
    ops::{Activation, FeatureMap},
};

/// Convolution, batch normalisation, activation: the unit of the stem and of the blocks.
#[derive(Debug, Clone)]
pub(super) struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    pub(super) fn new(init: &Init, convolution: &Convolution) -> Self {
        let Convolution {
            name,
            input,
            output,
            size,
            stride,
            dilation,
            ..
        } = convolution;
        Self {
            conv: Conv2d::backbone(init, name, [*input, *output], *size, *stride, *dilation),
            norm: BatchNorm::new(init, *output),
        }
    }

    /// Normalises by the running statistics, in one pass with the convolution.
    pub(super) fn forward(&self, x: FeatureMap, activation: Activation) -> FeatureMap {
        self.conv.map_affine(x, self.norm.by_running(), activation)
    }

    /// Normalises by the statistics of the batch, separately in each of `groups` groups, and updates the
    /// running statistics.
    pub(super) fn forward_train(
        &mut self,
        x: FeatureMap,
        groups: usize,
        activation: Activation,
    ) -> FeatureMap {
        let x = self.conv.map(x);
        // Frees the packed weights. If the backward pass needs them, the gradient graph holds its own reference.
        // The key encoder has no graph and would keep them in memory without using them again.
        self.conv.forget();
        self.norm.forward_train(x, groups, activation)
    }

    /// Visits the tensors, with names that begin with `prefix` and the names `conv` and `norm`.
    pub(super) fn visit<V: TensorVisitor>(
        &mut self,
        prefix: &str,
        [conv, norm]: [&str; 2],
        visitor: &mut V,
    ) {
        self.conv.visit(&format!("{prefix}{conv}."), visitor);
        self.norm.visit(&format!("{prefix}{norm}."), visitor);
    }
}

/// A residual block: ReLU(F(x) + shortcut(x)). In F, batch normalisation follows each convolution, and ReLU all
/// but the last.
#[derive(Debug, Clone)]
pub struct Block {
    chain: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
}

impl Block {
    /// A block with initial weights from `init`.
    pub fn new(init: &Init, block: &network::Block) -> Self {
        let layer = |convolution| ConvNorm::new(init, convolution);
        Self {
            chain: block.convolutions.iter().map(layer).collect(),
            shortcut: block.shortcut.as_ref().map(layer),
        }
    }

    /// [B, in, H, W] → [B, out, ⌈H/stride⌉, ⌈W/stride⌉], normalised by the running statistics.
    pub fn forward(&self, x: FeatureMap) -> FeatureMap {
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x.clone(), Activation::Identity),
            None => x.clone(),
        };
        let (last, first) = self.chain.split_last().expect("a block has convolutions");
        let inside = first
            .iter()
            .fold(x, |x, layer| layer.forward(x, Activation::Relu));
        last.forward(inside, Activation::AddRelu(shortcut))
    }

    /// As [`Self::forward`], but normalised by the statistics of the batch, separately in each of `groups`
    /// groups; updates the running statistics.
    pub fn forward_train(&mut self, x: FeatureMap, groups: usize) -> FeatureMap {
        let shortcut = match &mut self.shortcut {
            Some(shortcut) => shortcut.forward_train(x.clone(), groups, Activation::Identity),
            None => x.clone(),
        };
        let (last, first) = self
            .chain
            .split_last_mut()
            .expect("a block has convolutions");
        let inside = first.iter_mut().fold(x, |x, layer| {
            layer.forward_train(x, groups, Activation::Relu)
        });
        last.forward_train(inside, groups, Activation::AddRelu(shortcut))
    }
}

impl Tensors for Block {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        for (i, layer) in self.chain.iter_mut().enumerate() {
            let [conv, norm] = chain_names(i);
            layer.visit(prefix, [&conv, &norm], visitor);
        }
        if let Some(layer) = &mut self.shortcut {
            layer.visit(prefix, SHORTCUT_NAMES, visitor);
        }
    }
}
