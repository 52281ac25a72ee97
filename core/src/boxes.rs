//! Axis-aligned boxes, their overlap, and non-maximum suppression.

use serde::{Deserialize, Serialize};

/// A box from (x0, y0) to (x1, y1) in continuous pixel coordinates: pixel (i, j) covers
/// [i, i+1) × [j, j+1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub x0: f64,
    /// Upper edge.
    pub y0: f64,
    /// Right edge, at least `x0`.
    pub x1: f64,
    /// Lower edge, at least `y0`.
    pub y1: f64,
}

impl Rect {
    /// A box with the corners (`x0`, `y0`) and (`x1`, `y1`).
    pub fn new(x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        Self { x0, y0, x1, y1 }
    }

    /// Width × height; 0 where a side is negative.
    pub fn area(&self) -> f64 {
        (self.x1 - self.x0).max(0.0) * (self.y1 - self.y0).max(0.0)
    }

    /// The centre, (x, y).
    pub fn center(&self) -> [f64; 2] {
        [0.5 * (self.x0 + self.x1), 0.5 * (self.y0 + self.y1)]
    }

    /// Area of the intersection.
    pub fn intersection(&self, other: &Self) -> f64 {
        let shared = Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        };
        shared.area()
    }

    /// Intersection over union, in [0, 1]; 0 for two empty boxes.
    pub fn iou(&self, other: &Self) -> f64 {
        let shared = self.intersection(other);
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    /// The box after resizing the picture by the factors `x` and `y`.
    pub fn scaled(&self, x: f64, y: f64) -> Self {
        Self::new(self.x0 * x, self.y0 * y, self.x1 * x, self.y1 * y)
    }

    /// The part inside a picture of `width` × `height` pixels; a box without area if there is no such part.
    pub fn clipped(&self, width: f64, height: f64) -> Self {
        Self {
            x0: self.x0.clamp(0.0, width),
            y0: self.y0.clamp(0.0, height),
            x1: self.x1.clamp(0.0, width),
            y1: self.y1.clamp(0.0, height),
        }
    }

    /// The box after mirroring a picture of `width` pixels left to right.
    pub fn mirrored(&self, width: f64) -> Self {
        Self {
            x0: width - self.x1,
            x1: width - self.x0,
            ..*self
        }
    }
}

/// A box that a detector predicts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The box in pixels.
    #[serde(flatten)]
    pub rect: Rect,
    /// The index of the class.
    pub class: usize,
    /// The confidence, in [0, 1].
    pub score: f64,
}

/// Greedy non-maximum suppression within each class: a detection is dropped when its IoU with a kept
/// one of the same class and a higher score is above `bound`. At most `keep` detections remain, in
/// descending order of score (equal scores in the given order). Each is returned with what came with it.
pub fn suppress<T>(
    mut detections: Vec<(Detection, T)>,
    bound: f64,
    keep: usize,
) -> Vec<(Detection, T)> {
    detections.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score));
    let mut kept: Vec<(Detection, T)> = Vec::new();
    for candidate in detections {
        if kept.len() == keep {
            break;
        }
        let (found, _) = &candidate;
        let same = |(better, _): &(Detection, T)| {
            better.class == found.class && better.rect.iou(&found.rect) > bound
        };
        if !kept.iter().any(same) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_what_both_cover_over_what_either_covers() {
        let a = Rect::new(0.0, 0.0, 4.0, 2.0);
        assert_eq!(a.iou(&Rect::new(2.0, 0.0, 6.0, 2.0)), 1.0 / 3.0);
        assert_eq!(a.iou(&a), 1.0);
        assert_eq!(a.iou(&Rect::new(4.0, 0.0, 6.0, 2.0)), 0.0);
        let empty = Rect::new(1.0, 1.0, 1.0, 1.0);
        assert_eq!((a.iou(&empty), empty.iou(&empty)), (0.0, 0.0));
        assert_eq!(a.mirrored(10.0), Rect::new(6.0, 0.0, 10.0, 2.0));
        assert_eq!(a.clipped(3.0, 1.0), Rect::new(0.0, 0.0, 3.0, 1.0));
    }

    #[test]
    fn the_better_of_two_of_a_class_stays_and_other_classes_do_not_matter() {
        let at = |x: f64, class, score| Detection {
            rect: Rect::new(x, 0.0, x + 10.0, 10.0),
            class,
            score,
        };
        let given = vec![
            at(1.0, 0, 0.5),
            at(0.0, 0, 0.9),
            at(0.5, 1, 0.7),
            at(30.0, 0, 0.1),
        ];
        let given: Vec<(Detection, usize)> = given.into_iter().zip(0..).collect();
        let kept = suppress(given.clone(), 0.6, 100);
        let kept: Vec<(f64, usize)> = kept.iter().map(|(d, i)| (d.score, *i)).collect();
        assert_eq!(kept, [(0.9, 1), (0.7, 2), (0.1, 3)]);
        assert_eq!(suppress(given, 0.6, 1).len(), 1);
    }
}
