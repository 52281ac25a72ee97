//! Transfer of a backbone to other tasks by small heads on its features.

pub mod detection;
pub mod instances;
pub mod linear;
pub mod segmentation;

use burn::tensor::Tensor;

use crate::{
    features::Feature,
    model::{Linear, ResNet, TensorVisitor, Tensors, head::pool},
};

/// A backbone and a head on one of its feature maps that are trained together (fine-tuning). With a
/// frozen backbone only the head is trained, and this type is not used.
#[derive(Debug, Clone)]
pub struct FineTuned<H> {
    /// The pre-trained backbone.
    pub backbone: ResNet,
    /// The head of the task, which starts at random.
    pub head: H,
}

impl<H> FineTuned<H> {
    /// The feature map of a batch [B, 3, H, W], the input of the head. Batch normalisation uses the statistics of
    /// the batch, split into `groups` groups, and updates the running statistics.
    ///
    /// # Panics
    /// For [`Feature::Dense`], which does not come from the backbone.
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

/// A classifier of whole pictures: the mean of the last feature map over its cells, and a linear layer.
impl FineTuned<Linear> {
    /// Logits [B, classes] of normalised images [B, 3, H, W]. Batch normalisation uses the running statistics.
    pub fn classify(&self, images: Tensor<4>) -> Tensor<2> {
        self.head.forward(pool(self.backbone.forward(images)))
    }

    /// The same in training: batch normalisation uses the statistics of the batch and updates the running statistics.
    pub fn classify_train(&mut self, images: Tensor<4>) -> Tensor<2> {
        self.head
            .forward(pool(self.backbone.forward_train(images, 1)))
    }
}

impl<H: Tensors> Tensors for FineTuned<H> {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.backbone.visit(&format!("{prefix}backbone."), visitor);
        self.head.visit(&format!("{prefix}head."), visitor);
    }
}
