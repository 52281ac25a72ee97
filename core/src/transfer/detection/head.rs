//! FCOS's head: the neck of one feature level, two towers of convolutions and three outputs.

use burn::tensor::{Tensor, activation::relu};

use crate::model::{Conv2d, GroupNorm, Init, TensorVisitor, Tensors};

/// Number of groups of group normalisation; the channels of the hidden layers are a multiple of it.
pub(in crate::transfer) const GROUPS: usize = 32;
/// Standard deviation of the initial weights of every convolution after the neck.
pub(in crate::transfer) const STD: f64 = 0.01;
/// Initial probability of every class in every cell (Lin et al. 2017, π of focal loss).
const PRIOR: f64 = 0.01;

/// Convolution, group normalisation, ReLU.
#[derive(Debug, Clone)]
pub(in crate::transfer) struct Layer {
    pub(in crate::transfer) conv: Conv2d,
    pub(in crate::transfer) norm: GroupNorm,
}

impl Layer {
    pub(in crate::transfer) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.norm.forward(self.conv.forward(x)))
    }

    pub(in crate::transfer) fn visit<V: TensorVisitor>(
        &mut self,
        conv: &str,
        norm: &str,
        visitor: &mut V,
    ) {
        self.conv.visit(conv, visitor);
        self.norm.visit(norm, visitor);
    }
}

/// The predictions of the head for every cell of a map of h × w cells.
#[derive(Debug, Clone)]
pub struct Predictions {
    /// Logits of the classes [B, classes, h, w].
    pub classes: Tensor<4>,
    /// Distances from the cell's point to the left, upper, right and lower side of the box, in strides,
    /// ≥ 0 [B, 4, h, w].
    pub sides: Tensor<4>,
    /// Logit of the centre-ness [B, 1, h, w].
    pub centerness: Tensor<4>,
}

/// FCOS's head on one feature map.
#[derive(Debug, Clone)]
pub struct FcosHead {
    neck: Layer,
    class_tower: Vec<Layer>,
    box_tower: Vec<Layer>,
    classes: Conv2d,
    sides: Conv2d,
    centerness: Conv2d,
}

impl FcosHead {
    /// A new head for feature maps of `input` channels, with `convs` convolutions of `hidden` channels in
    /// each tower (in the paper 4 of 256).
    ///
    /// # Panics
    /// When `hidden` is not a multiple of 32.
    pub fn new(init: &Init, input: usize, classes: usize, hidden: usize, convs: usize) -> Self {
        assert_eq!(hidden % GROUPS, 0, "{hidden} channels in {GROUPS} groups");
        let norm = || GroupNorm::new(init, hidden, GROUPS);
        let output = |name: &str, channels: usize, bias: f64| {
            Conv2d::normal(init, name, [hidden, channels], 3, STD, bias)
        };
        let tower = |name: &str| {
            let layer = |i: usize| Layer {
                conv: output(&format!("{name}.conv.{}", 3 * i), hidden, 0.0),
                norm: norm(),
            };
            (0..convs).map(layer).collect()
        };
        Self {
            neck: Layer {
                conv: Conv2d::pointwise(init, "neck.0", [input, hidden]),
                norm: norm(),
            },
            class_tower: tower("classification_head"),
            box_tower: tower("regression_head"),
            classes: output(
                "classification_head.cls_logits",
                classes,
                -((1.0 - PRIOR) / PRIOR).ln(),
            ),
            sides: output("regression_head.bbox_reg", 4, 0.0),
            centerness: output("regression_head.bbox_ctrness", 1, 0.0),
        }
    }

    /// Predictions from features [B, input, h, w].
    pub fn forward(&self, features: Tensor<4>) -> Predictions {
        self.forward_with_maps(features).0
    }

    /// The same, with the maps [B, hidden, h, w] behind the neck and behind the tower of the boxes, on which further
    /// heads may stand.
    pub(in crate::transfer) fn forward_with_maps(
        &self,
        features: Tensor<4>,
    ) -> (Predictions, [Tensor<4>; 2]) {
        let x = self.neck.forward(features);
        let through = |tower: &[Layer]| tower.iter().fold(x.clone(), |x, l| l.forward(x));
        let boxes = through(&self.box_tower);
        let predictions = Predictions {
            classes: self.classes.forward(through(&self.class_tower)),
            sides: relu(self.sides.forward(boxes.clone())),
            centerness: self.centerness.forward(boxes.clone()),
        };
        (predictions, [x, boxes])
    }
}

impl Tensors for FcosHead {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        let p = prefix;
        self.neck
            .visit(&format!("{p}neck.0."), &format!("{p}neck.1."), visitor);
        for (name, tower) in [
            ("classification_head", &mut self.class_tower),
            ("regression_head", &mut self.box_tower),
        ] {
            // In torchvision a tower is a sequence in which convolution, normalisation and ReLU have a number each.
            for (i, layer) in tower.iter_mut().enumerate() {
                let place = |at: usize| format!("{p}{name}.conv.{at}.");
                layer.visit(&place(3 * i), &place(3 * i + 1), visitor);
            }
        }
        for (name, conv) in [
            ("classification_head.cls_logits", &mut self.classes),
            ("regression_head.bbox_reg", &mut self.sides),
            ("regression_head.bbox_ctrness", &mut self.centerness),
        ] {
            conv.visit(&format!("{p}{name}."), visitor);
        }
    }
}
