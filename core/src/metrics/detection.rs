//! Average precision as COCO defines it, equal to `pycocotools.cocoeval.COCOeval` for boxes.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::boxes::{Detection, Rect};

/// Number of detections that are evaluated per picture and class, those with the highest scores.
const MAX_DETECTIONS: usize = 100;
/// Number of recalls at which the precision is sampled: 0, 0.01, …, 1.
const RECALL_POINTS: usize = 101;
/// Number of IoU thresholds: 0.5, 0.55, …, 0.95.
const THRESHOLDS: usize = 10;

/// An annotated object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The box in pixels.
    pub rect: Rect,
    /// The index of the class.
    pub class: usize,
    /// The area in pixels² that decides whether the object is small, medium or large: the object's own
    /// area where it is annotated (COCO), else the box's.
    pub area: f64,
    /// Whether the box holds a group of objects. Any number of detections can match a group and count
    /// neither as correct nor as wrong; their overlap is the share of the *detection* inside the group.
    pub crowd: bool,
    /// Whether a detection of it counts neither as correct nor as wrong (VOC's `difficult`).
    pub difficult: bool,
}

impl Truth {
    /// An object that is neither a crowd nor difficult, with the box's area.
    pub fn new(rect: Rect, class: usize) -> Self {
        Self {
            rect,
            class,
            area: rect.area(),
            crowd: false,
            difficult: false,
        }
    }

    fn ignored(&self, areas: [f64; 2]) -> bool {
        self.crowd || self.difficult || self.area < areas[0] || self.area > areas[1]
    }

    /// The IoU with a detection; for a crowd, the intersection over the detection's area.
    fn overlap(&self, found: &Rect) -> f64 {
        if !self.crowd {
            return self.rect.iou(found);
        }
        let area = found.area();
        if area > 0.0 {
            self.rect.intersection(found) / area
        } else {
            0.0
        }
    }
}

/// The objects and the detections of one picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scene {
    /// The objects.
    pub truths: Vec<Truth>,
    /// The detections, in any order.
    pub found: Vec<Detection>,
}

/// Average precisions in [0, 1]; `None` where no class has an object that counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AveragePrecision {
    /// Mean over IoU 0.5, 0.55, …, 0.95 and over the classes: COCO's AP.
    pub ap: Option<f64>,
    /// AP at IoU 0.5, the metric of VOC.
    pub ap50: Option<f64>,
    /// AP at IoU 0.75.
    pub ap75: Option<f64>,
    /// AP of objects below 32² pixels.
    pub ap_small: Option<f64>,
    /// AP of objects from 32² to 96² pixels.
    pub ap_medium: Option<f64>,
    /// AP of objects above 96² pixels.
    pub ap_large: Option<f64>,
    /// AR₁₀₀: recall with 100 detections per picture, the mean over the same thresholds and classes.
    pub recall: Option<f64>,
    /// AP of each class.
    pub per_class: Vec<Option<f64>>,
}

/// Evaluates the detections in all `scenes`; a class is an index below `classes`.
///
/// # Panics
/// When a class is not below `classes`.
pub fn average_precision(scenes: &[Scene], classes: usize) -> AveragePrecision {
    let judged = Judged::new(scenes, classes);
    let all = judged.curves(0..scenes.len());
    let sized = |areas| {
        let judged = Judged::within(scenes, classes, areas);
        mean_precision(&judged.curves(0..scenes.len()), 0..THRESHOLDS)
    };
    AveragePrecision {
        ap: mean_precision(&all, 0..THRESHOLDS),
        ap50: mean_precision(&all, 0..1),
        ap75: mean_precision(&all, 5..6),
        ap_small: sized([0.0, 32f64.powi(2)]),
        ap_medium: sized([32f64.powi(2), 96f64.powi(2)]),
        ap_large: sized([96f64.powi(2), 1e10]),
        recall: mean(all.iter().flatten().flatten().map(|curve| curve.recall)),
        per_class: all
            .iter()
            .map(|of| mean_precision(std::slice::from_ref(of), 0..THRESHOLDS))
            .collect(),
    }
}

/// Whether each detection is correct, picture by picture. A bootstrap over pictures computes the average precision
/// of many draws, and boxes need not be matched again for each draw.
#[derive(Debug, Clone)]
pub struct Judged {
    classes: usize,
    scenes: Vec<Vec<ClassVerdicts>>,
}

/// The detections of one class in one picture.
#[derive(Debug, Clone)]
struct ClassVerdicts {
    class: usize,
    /// The number of objects that count.
    objects: usize,
    verdicts: Vec<Verdict>,
}

/// Whether one detection is correct, and whether it is ignored, with one bit per IoU threshold.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    score: f64,
    right: u16,
    ignored: u16,
}

impl Judged {
    /// Matches detections and objects in all `scenes`; a class is an index below `classes`.
    ///
    /// # Panics
    /// When a class is not below `classes`.
    pub fn new(scenes: &[Scene], classes: usize) -> Self {
        Self::within(scenes, classes, [0.0, 1e10])
    }

    /// AP, AP50 and AP75 of the pictures with the indices `drawn`; a repeated index counts as often as it occurs.
    pub fn precision(&self, drawn: &[usize]) -> [Option<f64>; 3] {
        let curves = self.curves(drawn.iter().copied());
        [0..THRESHOLDS, 0..1, 5..6].map(|at| mean_precision(&curves, at))
    }

    /// As [`Judged::new`], but objects with an area outside of `areas` are ignored.
    fn within(scenes: &[Scene], classes: usize, areas: [f64; 2]) -> Self {
        let judge_scene = |scene: &Scene| {
            let mut by_class: BTreeMap<usize, Scene> = BTreeMap::new();
            for truth in &scene.truths {
                assert!(truth.class < classes, "class {}", truth.class);
                by_class.entry(truth.class).or_default().truths.push(*truth);
            }
            for found in &scene.found {
                assert!(found.class < classes, "class {}", found.class);
                by_class.entry(found.class).or_default().found.push(*found);
            }
            let judged = by_class.into_iter().map(|(class, mut own)| {
                own.found.sort_by(|a, b| b.score.total_cmp(&a.score));
                own.found.truncate(MAX_DETECTIONS);
                let counts = own.truths.iter().filter(|truth| !truth.ignored(areas));
                ClassVerdicts {
                    class,
                    objects: counts.count(),
                    verdicts: judge(&own, areas),
                }
            });
            judged.collect()
        };
        Self {
            classes,
            scenes: scenes.iter().map(judge_scene).collect(),
        }
    }

    /// The precision–recall curve of each class at each threshold; `None` for a class without objects that count.
    fn curves(&self, drawn: impl Iterator<Item = usize>) -> Vec<Option<[Curve; THRESHOLDS]>> {
        let mut together: Vec<(usize, Vec<Verdict>)> = vec![(0, Vec::new()); self.classes];
        for of_class in drawn.flat_map(|scene| &self.scenes[scene]) {
            let (objects, verdicts) = &mut together[of_class.class];
            *objects += of_class.objects;
            verdicts.extend(&of_class.verdicts);
        }
        let curves = together.into_iter().map(|(objects, mut verdicts)| {
            verdicts.sort_by(|a, b| b.score.total_cmp(&a.score));
            (objects > 0).then(|| std::array::from_fn(|at| curve(&verdicts, at, objects)))
        });
        curves.collect()
    }
}

/// The mean precision over the classes and the thresholds `at`.
fn mean_precision(curves: &[Option<[Curve; THRESHOLDS]>], at: Range<usize>) -> Option<f64> {
    let found = curves.iter().flatten().flat_map(|of| &of[at.clone()]);
    mean(found.map(|curve| curve.precision))
}

/// Summary of one precision–recall curve.
#[derive(Debug, Clone, Copy, Default)]
struct Curve {
    /// Mean of the interpolated precision over the sampled recalls.
    precision: f64,
    /// The largest recall.
    recall: f64,
}

/// `numpy.linspace`, equal to the last bit, because recalls are fractions that often equal a sampled recall.
fn linspace(from: f64, to: f64, points: usize, at: usize) -> f64 {
    if at + 1 == points {
        return to;
    }
    at as f64 * ((to - from) / (points - 1) as f64) + from
}

/// Matches the detections of one picture and class with its objects. By descending score each detection
/// takes the unmatched object with the largest overlap, and an ignored object only if no other fits.
fn judge(scene: &Scene, areas: [f64; 2]) -> Vec<Verdict> {
    let mut truths: Vec<&Truth> = scene.truths.iter().collect();
    truths.sort_by_key(|truth| truth.ignored(areas));
    let mut taken: [Vec<bool>; THRESHOLDS] = std::array::from_fn(|_| vec![false; truths.len()]);
    let judged = scene.found.iter().map(|found| {
        let overlaps: Vec<f64> = truths.iter().map(|t| t.overlap(&found.rect)).collect();
        let area = found.rect.area();
        let outside = area < areas[0] || area > areas[1];
        let mut verdict = Verdict {
            score: found.score,
            right: 0,
            ignored: 0,
        };
        for (at, taken) in taken.iter_mut().enumerate() {
            let mut best = linspace(0.5, 0.95, THRESHOLDS, at);
            let mut chosen: Option<usize> = None;
            for (i, truth) in truths.iter().enumerate() {
                if taken[i] && !truth.crowd {
                    continue;
                }
                let settled = chosen.is_some_and(|c| !truths[c].ignored(areas));
                if settled && truth.ignored(areas) {
                    break;
                }
                if overlaps[i] >= best {
                    best = overlaps[i];
                    chosen = Some(i);
                }
            }
            let ignored = chosen.map_or(outside, |i| truths[i].ignored(areas));
            if let Some(i) = chosen {
                taken[i] = true;
                verdict.right |= 1 << at;
            }
            verdict.ignored |= u16::from(ignored) << at;
        }
        verdict
    });
    judged.collect()
}

/// Computes the curve: the precision is made monotone from the right and sampled at the recalls.
fn curve(verdicts: &[Verdict], at: usize, objects: usize) -> Curve {
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

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(x: f64, score: f64) -> Detection {
        Detection {
            rect: Rect::new(x, 0.0, x + 10.0, 10.0),
            class: 0,
            score,
        }
    }

    fn truth(x: f64) -> Truth {
        Truth::new(found(x, 0.0).rect, 0)
    }

    #[test]
    fn all_found_is_1_nothing_found_is_0_and_no_object_is_none() {
        let perfect = Scene {
            truths: vec![truth(0.0), truth(20.0)],
            found: vec![found(20.0, 0.9), found(0.0, 0.8)],
        };
        let ap = average_precision(std::slice::from_ref(&perfect), 2);
        assert_eq!((ap.ap, ap.recall), (Some(1.0), Some(1.0)));
        assert_eq!(ap.per_class, [Some(1.0), None]);
        let blind = Scene {
            found: vec![],
            ..perfect
        };
        assert_eq!(average_precision(&[blind], 1).ap, Some(0.0));
        assert_eq!(average_precision(&[Scene::default()], 1).ap, None);
    }

    #[test]
    fn a_second_detection_of_an_object_is_wrong_and_one_of_a_difficult_object_is_not() {
        // Computed by hand: the detections of rank 1 and 3 are correct, that of rank 2 is wrong. The precision
        // is 1 up to a recall of 0.5 (51 points) and 2/3 beyond (50 points).
        let scene = Scene {
            truths: vec![truth(0.0), truth(20.0)],
            found: vec![found(0.0, 0.9), found(0.0, 0.8), found(20.0, 0.7)],
        };
        let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        let ap = average_precision(std::slice::from_ref(&scene), 1);
        assert!((ap.ap50.expect("objects") - expected).abs() < 1e-12);

        let mut difficult = scene;
        difficult.truths.push(Truth {
            difficult: true,
            ..truth(40.0)
        });
        difficult.found = vec![found(0.0, 0.9), found(40.0, 0.8), found(20.0, 0.7)];
        assert_eq!(
            average_precision(std::slice::from_ref(&difficult), 1).ap50,
            Some(1.0)
        );
        // A picture that is drawn twice counts twice, one that is not drawn does not count.
        let empty = Scene::default();
        let judged = Judged::new(&[difficult, empty], 1);
        let again = judged.precision(&[0, 0, 1]);
        assert_eq!(again[1], Some(1.0));
        assert_eq!(judged.precision(&[1]), [None; 3]);
    }
}
