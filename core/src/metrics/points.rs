//! Errors of the positions at which points of one picture are found in another.

use super::pck;

/// The error bounds of PCK, as shares of the larger side of the second picture.
pub const PCK_BOUNDS: [f32; 2] = [0.05, 0.1];

/// A point of one picture that was searched for in another. Positions are (x, y) in pixels of the other
/// picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundPoint {
    /// The true position.
    pub truth: [f32; 2],
    /// The position at which it was found.
    pub found: [f32; 2],
    /// The position with the same relative coordinates: the point's own, scaled to the other picture's size.
    pub same_place: [f32; 2],
    /// Whether the match is mutual: the match of the found cell is this point's cell.
    pub mutual: bool,
    /// Whether this point's cell or the found cell is [at the border](crate::matching::at_border) of its grid.
    pub at_border: bool,
}

/// Errors of the features, or of a baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointErrors {
    /// Share of the points within each of [`PCK_BOUNDS`], in [0, 1].
    pub pck: [f64; 2],
    /// Mean distance to the true position, in pixels.
    pub end_point: f64,
}

/// Errors of the points of one pair of pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairScore {
    /// Number of points.
    pub points: usize,
    /// Errors of the matches by features.
    pub found: PointErrors,
    /// Expected errors of a uniformly random candidate.
    pub chance: PointErrors,
    /// Errors of taking the same place in the other picture. A network whose features depend on the
    /// position instead of the content scores close to them.
    pub same_place: PointErrors,
    /// Share of the points whose match is mutual, in [0, 1].
    pub mutual: f64,
    /// Share of the mutual matches within each of [`PCK_BOUNDS`]; `None` without a mutual match.
    pub mutual_precision: Option<[f64; 2]>,
    /// The same without matches at the border.
    pub mutual_precision_without_border: Option<[f64; 2]>,
}

impl PairScore {
    /// Scores a pair. `candidates` are the positions that a match can have, the centres of the cells of the
    /// second picture; `larger_side` is the longer side of that picture in pixels. `None` when there is no
    /// point.
    ///
    /// # Panics
    /// When there is no candidate.
    pub fn new(points: &[FoundPoint], candidates: &[[f32; 2]], larger_side: f32) -> Option<Self> {
        assert!(
            !candidates.is_empty(),
            "there must be a candidate for a match"
        );
        if points.is_empty() {
            return None;
        }
        let bounds = PCK_BOUNDS.map(|share| share * larger_side);
        let found: Vec<f32> = points.iter().map(|p| distance(p.found, p.truth)).collect();
        let same: Vec<f32> = points
            .iter()
            .map(|p| distance(p.same_place, p.truth))
            .collect();
        let of_mutual = |is_counted: fn(&FoundPoint) -> bool| -> Vec<f32> {
            let mutual = points.iter().zip(&found);
            let mutual = mutual.filter(|(point, _)| point.mutual && is_counted(point));
            mutual.map(|(_, error)| *error).collect()
        };
        let mutual = of_mutual(|_| true);
        let inner = of_mutual(|point| !point.at_border);
        let precision =
            |errors_of: &[f32]| (!errors_of.is_empty()).then(|| errors(errors_of, bounds).pck);
        let mut chance = PointErrors {
            pck: [0.0; 2],
            end_point: 0.0,
        };
        for point in points {
            for &candidate in candidates {
                let error = distance(candidate, point.truth);
                chance.end_point += f64::from(error);
                for (sum, bound) in chance.pck.iter_mut().zip(bounds) {
                    *sum += f64::from(u8::from(error <= bound));
                }
            }
        }
        let draws = (points.len() * candidates.len()) as f64;
        chance.end_point /= draws;
        chance.pck = chance.pck.map(|sum| sum / draws);
        Some(Self {
            points: points.len(),
            found: errors(&found, bounds),
            chance,
            same_place: errors(&same, bounds),
            mutual: mutual.len() as f64 / points.len() as f64,
            mutual_precision: precision(&mutual),
            mutual_precision_without_border: precision(&inner),
        })
    }
}

fn errors(errors: &[f32], bounds: [f32; 2]) -> PointErrors {
    PointErrors {
        pck: bounds.map(|bound| pck(errors, bound).unwrap_or(0.0)),
        end_point: errors.iter().map(|&e| f64::from(e)).sum::<f64>() / errors.len() as f64,
    }
}

fn distance([x, y]: [f32; 2], [u, v]: [f32; 2]) -> f32 {
    (x - u).hypot(y - v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_scored_beside_its_baselines() {
        let point = |found: f32, mutual, at_border| FoundPoint {
            truth: [50.0, 50.0],
            found: [found, 50.0],
            same_place: [50.0, 58.0],
            mutual,
            at_border,
        };
        // Errors of 0, 5, 8 and 40 pixels; the side of 100 pixels gives the bounds 5 and 10.
        let points = [
            point(50.0, true, true),
            point(55.0, true, false),
            point(42.0, true, false),
            point(90.0, false, false),
        ];
        let candidates = [[50.0, 50.0], [50.0, 70.0]];
        let score = PairScore::new(&points, &candidates, 100.0).expect("points");
        assert_eq!(score.points, 4);
        assert_eq!(score.found.pck, [0.5, 0.75]);
        assert_eq!(score.found.end_point, 13.25);
        assert_eq!(score.chance.pck, [0.5, 0.5]);
        assert_eq!(score.chance.end_point, 10.0);
        assert_eq!(score.same_place.pck, [0.0, 1.0]);
        assert_eq!(score.same_place.end_point, 8.0);
        assert_eq!(score.mutual, 0.75);
        assert_eq!(score.mutual_precision, Some([2.0 / 3.0, 1.0]));
        assert_eq!(score.mutual_precision_without_border, Some([0.5, 1.0]));
        assert_eq!(PairScore::new(&[], &candidates, 100.0), None);
        let alone = PairScore::new(&points[3..], &candidates, 100.0).expect("a point");
        assert_eq!(alone.mutual_precision, None);
        let at_border = PairScore::new(&points[..1], &candidates, 100.0).expect("a point");
        assert_eq!(at_border.mutual_precision, Some([1.0, 1.0]));
        assert_eq!(at_border.mutual_precision_without_border, None);
    }
}
