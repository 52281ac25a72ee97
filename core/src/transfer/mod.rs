//! What a backbone is worth in another task: small heads on its features.

pub mod detection;
pub mod linear;
pub mod segmentation;

use burn::tensor::Tensor;

use crate::{
    features::Feature,
    model::{ResNet, TensorVisitor, Tensors},
};

/// A backbone and a head on one of its feature maps, trained together: the fine-tuned transfer. In
/// the frozen transfer only a head is trained.
#[derive(Debug, Clone)]
pub struct FineTuned<H> {
    /// f.
    pub backbone: ResNet,
    /// The new head.
    pub head: H,
}

impl<H> FineTuned<H> {
    /// The feature map of a batch [B, 3, H, W] that the head is to see, with batch normalisation by the batch,
    /// in this many groups; the running statistics follow.
    ///
    /// # Panics
    /// For [`Feature::Dense`], which is no feature of a backbone.
    pub fn features_train(
        &mut self,
        images: Tensor<4>,
        feature: Feature,
        groups: usize,
    ) -> Tensor<4> {
        let stages = self.backbone.stages_train(images, groups);
        let map = feature.of_backbone(&stages);
        map.expect("the dense head is no part of a backbone")
    }
}

impl<H: Tensors> Tensors for FineTuned<H> {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.backbone.visit(&format!("{prefix}backbone."), visitor);
        self.head.visit(&format!("{prefix}head."), visitor);
    }
}
