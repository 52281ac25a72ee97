//! FCOS's loss: focal loss for the classes, GIoU for the boxes, binary cross entropy for the
//! centre-ness.

use burn::tensor::{
    Int, Tensor, TensorData,
    activation::{log_sigmoid, sigmoid},
};

use super::{head::Predictions, targets::CellTarget};

/// Weight of positives in focal loss.
const ALPHA: f64 = 0.25;
/// Avoids a division by 0 for empty boxes; the value is torchvision's.
const EPSILON: f64 = 1e-7;

/// The three parts of the loss, each a sum divided by the number of foreground cells (at least 1), as a
/// tensor of one element.
#[derive(Debug, Clone)]
pub struct FcosLoss {
    /// Sigmoid focal loss over all cells and classes (Lin et al. 2017; α = 0.25, γ = 2).
    pub classes: Tensor<1>,
    /// 1 − GIoU over the foreground cells (Rezatofighi et al. 2019).
    pub boxes: Tensor<1>,
    /// Binary cross entropy of the centre-ness over the foreground cells.
    pub centerness: Tensor<1>,
}

impl FcosLoss {
    /// The sum of the parts.
    pub fn total(&self) -> Tensor<1> {
        self.classes.clone() + self.boxes.clone() + self.centerness.clone()
    }
}

/// The loss of a batch; `targets` holds one list of cells per picture, made by [`super::assign`].
///
/// # Panics
/// When the numbers of pictures or cells differ.
pub fn fcos_loss(predictions: Predictions, targets: &[Vec<Option<CellTarget>>]) -> FcosLoss {
    let [batch, classes, rows, columns] = predictions.classes.dims();
    let cells = rows * columns;
    assert_eq!(batch, targets.len(), "one list of targets per picture");
    let device = predictions.classes.device();

    let mut one_hot = vec![0f32; batch * classes * cells];
    let (mut places, mut sides, mut centerness) = (Vec::new(), Vec::new(), Vec::new());
    for (image, of_image) in targets.iter().enumerate() {
        assert_eq!(of_image.len(), cells, "one target per cell");
        for (cell, target) in of_image.iter().enumerate() {
            let Some(target) = target else { continue };
            one_hot[(image * classes + target.class) * cells + cell] = 1.0;
            places.push((image * cells + cell) as i64);
            sides.extend(target.sides);
            centerness.push(target.centerness);
        }
    }
    let foreground = places.len();
    let one_hot = TensorData::new(one_hot, [batch, classes, rows, columns]);
    let one_hot = Tensor::<4>::from_data(one_hot, &device);
    let share = 1.0 / foreground.max(1) as f64;
    let class_loss = focal(predictions.classes, one_hot).sum() * share;
    if foreground == 0 {
        let none = Tensor::<1>::zeros([1], &device);
        return FcosLoss {
            classes: class_loss,
            boxes: none.clone(),
            centerness: none,
        };
    }

    // Selects the foreground cells of a map: [B, channels, h, w] → [F, channels].
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [foreground]), &device);
    let rows_of = |map: Tensor<4>| {
        let [b, channels, h, w] = map.dims();
        let rows: Tensor<2> = map.permute([0, 2, 3, 1]).reshape([b * h * w, channels]);
        rows.select(0, places.clone())
    };
    let sides = Tensor::<2>::from_data(TensorData::new(sides, [foreground, 4]), &device);
    let centerness = TensorData::new(centerness, [foreground, 1]);
    let centerness = Tensor::<2>::from_data(centerness, &device);
    let giou = generalized_iou(rows_of(predictions.sides), sides);
    FcosLoss {
        classes: class_loss,
        boxes: (giou.neg() + 1.0).sum() * share,
        centerness: cross_entropy(rows_of(predictions.centerness), centerness).sum() * share,
    }
}

/// Binary cross entropy −t·ln σ(x) − (1 − t)·ln(1 − σ(x)) of logits x with targets t.
pub(in crate::transfer) fn cross_entropy<const D: usize>(
    logits: Tensor<D>,
    target: Tensor<D>,
) -> Tensor<D> {
    let positive = log_sigmoid(logits.clone()) * target.clone();
    let negative = log_sigmoid(logits.neg()) * (target.neg() + 1.0);
    (positive + negative).neg()
}

/// Focal loss α_t·(1 − p_t)²·cross entropy of logits; `target` is 0 or 1.
fn focal<const D: usize>(logits: Tensor<D>, target: Tensor<D>) -> Tensor<D> {
    let p = sigmoid(logits.clone());
    // 1 − p_t = p + t − 2·p·t for t = 0 or 1.
    let missing = p.clone() + target.clone() - p * target.clone() * 2.0;
    let alpha = target.clone() * (2.0 * ALPHA - 1.0) + (1.0 - ALPHA);
    cross_entropy(logits, target) * missing.square() * alpha
}

/// GIoU of pairs of boxes around a common point, given by the distances [F, 4] of their sides from it; [F, 1].
fn generalized_iou(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let side = |sides: &Tensor<2>, at: usize| sides.clone().narrow(1, at, 1);
    let extent = |sides: &Tensor<2>| -> [Tensor<2>; 2] {
        [0, 1].map(|axis| side(sides, axis) + side(sides, axis + 2))
    };
    let area = |sides: &Tensor<2>| {
        let [width, height] = extent(sides);
        width * height
    };
    // Both boxes contain the point. So the distance to a side of the intersection is the smaller of the two boxes'
    // distances, and the distance to a side of the hull is the larger one.
    let shared = area(&a.clone().min_pair(b.clone()));
    let hull = area(&a.clone().max_pair(b.clone()));
    let union = area(&a) + area(&b) - shared.clone();
    let iou = shared / (union.clone() + EPSILON);
    iou - (hull.clone() - union) / (hull + EPSILON)
}
