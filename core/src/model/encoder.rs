//! An encoder: the backbone and both heads. The query and the key encoder are two of these.

use burn::tensor::{Device, Tensor};

use super::{
    head::{DenseHead, GlobalHead},
    layers::Init,
    norm::Phase,
    resnet::ResNet,
    visit::{Kind, TensorVisitor, Tensors},
};
use crate::{config::ModelConfig, matching::l2_normalize};

/// Backbone f and the two projection heads.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// f.
    pub backbone: ResNet,
    /// One vector per image.
    pub global_head: GlobalHead,
    /// One vector per cell.
    pub dense_head: DenseHead,
}

/// What an encoder says about a batch; every vector has unit length. N = cells of the dense grid.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// Global vectors [B, dim].
    pub global: Tensor<2>,
    /// Dense vectors, one per cell [B, dim, N].
    pub dense: Tensor<3>,
    /// The mean of an image's dense vectors before normalisation [B, dim]: the dense queue's key.
    pub dense_pooled: Tensor<2>,
    /// The backbone's features on the same grid [B, C, N], by which cells are matched.
    pub backbone: Tensor<3>,
}

impl Encoder {
    /// A freshly initialised encoder on `device`, without a gradient graph: a pure function of
    /// `(config, seed)`.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        let device = device.clone().inner();
        let init = Init {
            seed,
            device: &device,
        };
        let backbone = ResNet::new(&init, config);
        let channels = backbone.channels();
        Self {
            backbone,
            global_head: GlobalHead::new(&init, channels, config.dim),
            dense_head: DenseHead::new(&init, channels, config.dim, config.num_grid),
        }
    }

    /// How many values the tensors of such an encoder hold: known without making one, so that a file
    /// can be refused before memory is asked for on its word.
    pub fn size(config: &ModelConfig) -> usize {
        let (backbone, channels) = ResNet::size(config);
        // Both heads: C→C and C→dim, with biases.
        let head = (channels + 1) * (channels + config.dim);
        backbone + 2 * head
    }

    /// Images [B, 3, H, W], normalised, to embeddings.
    pub fn forward(&mut self, images: Tensor<4>, phase: Phase) -> Embeddings {
        let features = self.backbone.forward(images, phase);
        let global = self.global_head.forward(features.clone());
        let cells = |map: Tensor<4>| {
            let [b, c, h, w] = map.dims();
            map.reshape([b, c, h * w])
        };
        let dense = cells(self.dense_head.forward(features.clone()));
        let [b, dim, _] = dense.dims();
        Embeddings {
            global: l2_normalize(global, 1),
            dense_pooled: l2_normalize(dense.clone().mean_dim(2).reshape([b, dim]), 1),
            dense: l2_normalize(dense, 1),
            backbone: l2_normalize(cells(self.dense_head.pool(features)), 1),
        }
    }

    /// The same encoder with every parameter a leaf of the gradient graph: the query encoder.
    pub fn trainable(mut self) -> Self {
        self.visit("", &mut Track(true));
        self
    }

    /// The same encoder outside any gradient graph: for evaluation.
    pub fn inference(mut self) -> Self {
        self.visit("", &mut Track(false));
        self
    }
}

struct Track(bool);

impl TensorVisitor for Track {
    fn tensor<const D: usize>(&mut self, _: &str, kind: Kind, tensor: &mut Tensor<D>) {
        let inner = tensor.clone().inner();
        *tensor = match kind {
            Kind::Parameter if self.0 => inner.autodiff().require_grad(),
            _ => inner,
        };
    }
}

impl Tensors for Encoder {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.backbone.visit(prefix, visitor);
        self.global_head
            .visit(&format!("{prefix}global_head."), visitor);
        self.dense_head
            .visit(&format!("{prefix}dense_head."), visitor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Backbone, model::NamedTensor};

    #[test]
    fn the_size_of_an_encoder_is_what_its_tensors_hold() {
        for backbone in [
            Backbone::ResNet10,
            Backbone::ResNet18,
            Backbone::ResNet34,
            Backbone::ResNet50,
            Backbone::ResNet101,
        ] {
            let config = ModelConfig {
                backbone,
                width: 2,
                dim: 3,
                ..ModelConfig::default()
            };
            let encoder = Encoder::new(&config, 0, &Device::flex());
            let values = |tensor: &NamedTensor| tensor.shape.iter().product::<usize>();
            let held: usize = encoder.named().iter().map(values).sum();
            assert_eq!(Encoder::size(&config), held, "{backbone:?}");
        }
    }
}
