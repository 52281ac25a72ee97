//! Precision over recall, sampled as COCO does.

use super::Verdict;

/// Number of recalls at which the precision is sampled: 0, 0.01, …, 1.
const RECALL_POINTS: usize = 101;

/// Summary of one precision–recall curve.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Curve {
    /// Mean of the interpolated precision over the sampled recalls.
    pub(super) precision: f64,
    /// The largest recall.
    pub(super) recall: f64,
}

/// `numpy.linspace`, equal to the last bit, because recalls are fractions that often equal a sampled recall.
pub(super) fn linspace(from: f64, to: f64, points: usize, at: usize) -> f64 {
    if at + 1 == points {
        return to;
    }
    at as f64 * ((to - from) / (points - 1) as f64) + from
}

/// Computes the curve: the precision is made monotone from the right and sampled at the recalls.
pub(super) fn curve(verdicts: &[Verdict], at: usize, objects: usize) -> Curve {
    let (mut right, mut wrong) = (0.0, 0.0);
    let mut points: Vec<[f64; 2]> = Vec::with_capacity(verdicts.len());
    for verdict in verdicts.iter().filter(|v| v.ignored >> at & 1 == 0) {
        if verdict.right >> at & 1 == 1 {
            right += 1.0;
        } else {
            wrong += 1.0;
        }
        points.push([right / objects as f64, right / (right + wrong)]);
    }
    for i in (1..points.len()).rev() {
        points[i - 1][1] = points[i - 1][1].max(points[i][1]);
    }
    let sum: f64 = (0..RECALL_POINTS)
        .map(|point| {
            let wanted = linspace(0.0, 1.0, RECALL_POINTS, point);
            let reached = points.partition_point(|[recall, _]| *recall < wanted);
            points.get(reached).map_or(0.0, |[_, precision]| *precision)
        })
        .sum();
    Curve {
        precision: sum / RECALL_POINTS as f64,
        recall: right / objects as f64,
    }
}
