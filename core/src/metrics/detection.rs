//! Average precision as COCO defines it: `pycocotools.cocoeval.COCOeval` for boxes, to the letter.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::boxes::{Detection, Rect};

/// Detections judged per picture, the best first.
const MAX_DETECTIONS: usize = 100;
/// Points of the recall axis at which precision is read: 0, 0.01, …, 1.
const RECALL_POINTS: usize = 101;
/// IoU thresholds 0.5, 0.55, …, 0.95.
const THRESHOLDS: usize = 10;

/// An object that is there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Where.
    pub rect: Rect,
    /// What, as an index into the classes.
    pub class: usize,
    /// By which it counts as small, medium or large, in pixels²: the object's own area where it is
    /// known (COCO), else the box's.
    pub area: f64,
    /// A group of objects under one box: finding it is neither right nor wrong, any number of
    /// detections may, and what counts is the share of the *detection* that lies inside.
    pub crowd: bool,
    /// Finding it is neither right nor wrong (VOC's `difficult`).
    pub difficult: bool,
}

impl Truth {
    /// An ordinary object.
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

    /// IoU; with a crowd, intersection over the detection's own area.
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

/// What is in one picture, and what was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scene {
    /// The objects.
    pub truths: Vec<Truth>,
    /// The detections, in any order.
    pub found: Vec<Detection>,
}

/// Average precisions in [0, 1]; `None` where no class has an object to find.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AveragePrecision {
    /// Mean over IoU 0.5, 0.55, …, 0.95 and over the classes: COCO's AP.
    pub ap: Option<f64>,
    /// At IoU 0.5: VOC's.
    pub ap50: Option<f64>,
    /// At IoU 0.75.
    pub ap75: Option<f64>,
    /// AP of objects below 32² pixels.
    pub ap_small: Option<f64>,
    /// AP of objects from 32² to 96² pixels.
    pub ap_medium: Option<f64>,
    /// AP of objects above 96² pixels.
    pub ap_large: Option<f64>,
    /// Recall with 100 detections a picture, mean over the same thresholds and classes: AR₁₀₀.
    pub recall: Option<f64>,
    /// AP of each class.
    pub per_class: Vec<Option<f64>>,
}

/// Judges the detections in all `scenes`; a class is an index below `classes`.
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

/// The verdicts on all detections, picture by picture: what a bootstrap over pictures draws from
/// without matching boxes again.
#[derive(Debug, Clone)]
pub struct Judged {
    classes: usize,
    scenes: Vec<Vec<ClassVerdicts>>,
}

/// The verdicts on one class in one picture.
#[derive(Debug, Clone)]
struct ClassVerdicts {
    class: usize,
    /// Those that count.
    objects: usize,
    verdicts: Vec<Verdict>,
}

/// The verdict on one detection, a bit for each threshold.
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

    /// AP, AP50 and AP75 of the pictures `drawn`, each as often as it is there.
    pub fn precision(&self, drawn: &[usize]) -> [Option<f64>; 3] {
        let curves = self.curves(drawn.iter().copied());
        [0..THRESHOLDS, 0..1, 5..6].map(|at| mean_precision(&curves, at))
    }

    /// Objects whose area is outside of `areas` are ignored.
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

    /// For each class its curve at each threshold; `None` without an object that counts.
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

/// The mean over the classes, at some thresholds.
fn mean_precision(curves: &[Option<[Curve; THRESHOLDS]>], at: Range<usize>) -> Option<f64> {
    let found = curves.iter().flatten().flat_map(|of| &of[at.clone()]);
    mean(found.map(|curve| curve.precision))
}

/// One precision–recall curve.
#[derive(Debug, Clone, Copy, Default)]
struct Curve {
    /// Mean of the interpolated precision over the recall points.
    precision: f64,
    /// The recall reached.
    recall: f64,
}

/// `numpy.linspace`, to the last bit: recalls are fractions that often equal a recall point.
fn linspace(from: f64, to: f64, points: usize, at: usize) -> f64 {
    if at + 1 == points {
        return to;
    }
    at as f64 * ((to - from) / (points - 1) as f64) + from
}

/// Which detections of one picture and class find an object: the best first, each takes the free
/// object it overlaps most, and one to be ignored only where it fits no other.
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

/// Precision made monotone from the right and read at the recall points.
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
        // By hand: right at rank 1, wrong at rank 2, right at rank 3. Recall 1/2 then 1, precision 1
        // up to recall 0.5 (51 points), 2/3 beyond (50 points).
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
        // A picture drawn twice counts twice, one that is not drawn does not.
        let empty = Scene::default();
        let judged = Judged::new(&[difficult, empty], 1);
        let again = judged.precision(&[0, 0, 1]);
        assert_eq!(again[1], Some(1.0));
        assert_eq!(judged.precision(&[1]), [None; 3]);
    }
}
