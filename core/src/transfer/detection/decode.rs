//! Converts the head's predictions to detections.

use serde::{Deserialize, Serialize};

use crate::boxes::{Detection, Rect, suppress};

/// Settings of the conversion of predictions to detections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecodeConfig {
    /// Smallest probability of a class in a cell. FCOS takes 0.05, which a detector that is trained for
    /// minutes seldom reaches; additional detections of low score do not lower the average precision.
    pub least_probability: f32,
    /// Number of candidates per picture before suppression, those with the highest scores.
    pub candidates: usize,
    /// IoU of two boxes of a class above which the one with the lower score is suppressed.
    pub suppress_above: f64,
    /// Largest number of detections per picture.
    pub keep: usize,
}

impl Default for DecodeConfig {
    fn default() -> Self {
        Self {
            least_probability: 0.01,
            candidates: 1000,
            suppress_above: 0.6,
            keep: 100,
        }
    }
}

/// The detections in one picture of (width, height) pixels, by descending score, each with the number of its cell.
///
/// `classes` are logits `[classes, cells]`, `sides` distances in strides `[4, cells]` and `centerness`
/// logits `[cells]`, row major over a grid of `columns` columns. The score is
/// √(σ(class)·σ(centre-ness)). Boxes are clipped to the picture; those without area or with NaN are left
/// out.
///
/// # Panics
/// When the numbers of cells differ.
pub fn decode(
    [classes, sides, centerness]: [&[f32]; 3],
    columns: usize,
    stride: f64,
    [width, height]: [f64; 2],
    config: &DecodeConfig,
) -> Vec<(Detection, usize)> {
    let cells = centerness.len();
    assert_eq!(sides.len(), 4 * cells, "four sides per cell");
    assert_eq!(classes.len() % cells, 0, "one logit per class and cell");
    let sigmoid = |x: f32| 1.0 / (1.0 + f64::from(-x).exp());
    let mut candidates: Vec<(f64, usize)> = (0..classes.len())
        .filter(|&at| sigmoid(classes[at]) > f64::from(config.least_probability))
        .map(|at| {
            let score = sigmoid(classes[at]) * sigmoid(centerness[at % cells]);
            (score.sqrt(), at)
        })
        .collect();
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    candidates.truncate(config.candidates);
    let boxes = candidates.into_iter().filter_map(|(score, at)| {
        let (class, cell) = (at / cells, at % cells);
        let x = ((cell % columns) as f64 + 0.5) * stride;
        let y = ((cell / columns) as f64 + 0.5) * stride;
        let [left, top, right, bottom] =
            [0, 1, 2, 3].map(|side| f64::from(sides[side * cells + cell]) * stride);
        let rect = Rect::new(x - left, y - top, x + right, y + bottom).clipped(width, height);
        let found = Detection { rect, class, score };
        (rect.area() > 0.0 && score.is_finite()).then_some((found, cell))
    });
    suppress(boxes.collect(), config.suppress_above, config.keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sure_cell_becomes_its_box_once_and_inside_the_picture() {
        // 1×2 cells of 8 px, two classes; both cells predict the same box of class 1.
        let classes = [-9.0, -9.0, 3.0, 2.0];
        let sides = [0.5, 1.5, 1.0, 1.0, 2.0, 1.0, 0.25, 0.25];
        let found = decode(
            [&classes, &sides, &[4.0, 4.0]],
            2,
            8.0,
            [16.0, 8.0],
            &DecodeConfig::default(),
        );
        assert_eq!(found.len(), 1);
        let (found, cell) = found[0];
        assert_eq!((found.class, cell), (1, 0));
        assert_eq!(found.rect, Rect::new(0.0, 0.0, 16.0, 6.0));
        let expected: f64 = (1.0 / (1.0 + (-3f64).exp()) / (1.0 + (-4f64).exp())).sqrt();
        assert!((found.score - expected).abs() < 1e-9);
        // Predictions that are NaN give no detection and do not panic.
        let none = decode(
            [&[f32::NAN; 4], &[f32::NAN; 8], &[f32::NAN; 2]],
            2,
            8.0,
            [16.0, 8.0],
            &DecodeConfig::default(),
        );
        assert!(none.is_empty());
    }
}
