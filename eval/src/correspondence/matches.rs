//! Finds the points of one picture in another by their features.

use anyhow::Context;
use burn::tensor::Tensor;
use densecl::features::map_similarity;
use densecl::interpolate::sample;
use densecl::matching::{at_border, cell_center, l2_normalize, similarity, subcell_peak};
use densecl::metrics::{FoundPoint, PCK_BOUNDS, PairScore};
use densecl::visualize::MatchLine;

use super::pairs::Truth;

/// The matches of a pair. Ends of lines are in [0, 1], relative to the size of the picture.
pub(super) struct PairMatches {
    pub(super) score: PairScore,
    /// Share of the points within each of [`PCK_BOUNDS`], as shares of the larger side of the object's box, where the
    /// points are of an object.
    pub(super) by_object: Option<[f64; 2]>,
    pub(super) lines: Vec<MatchLine>,
    pub(super) shown: Vec<Shown>,
}

/// A match that `densecl match` would show if its cosine reaches the threshold: mutual, and not at the border.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shown {
    pub(super) cosine: f32,
    /// Whether it is within each of [`PCK_BOUNDS`].
    pub(super) right: [bool; 2],
}

/// A point of A to be found in B.
struct Query {
    /// Position in A, in pixels.
    place: [f32; 2],
    /// Index of the cell of A that contains it.
    cell: usize,
    /// True position in B, in pixels.
    truth: [f32; 2],
}

/// Finds the points of A in B, or in B `mirrored` left to right. `a` and `b` are feature maps [1, C, h, w] of unit
/// vectors; sizes are those of the pictures on disk. `None` where no point is visible in both.
///
/// # Errors
/// When the device fails.
pub(super) fn match_pair(
    a: Tensor<4>,
    b: Tensor<4>,
    [size_a, size_b]: [[u32; 2]; 2],
    truth: &Truth,
    mirrored: bool,
) -> anyhow::Result<Option<PairMatches>> {
    let in_b = |[x, y]: [f32; 2]| {
        if mirrored {
            [size_b[0] as f32 - x, y]
        } else {
            [x, y]
        }
    };
    let grid = |map: &Tensor<4>| {
        let [_, _, rows, columns] = map.dims();
        [rows, columns]
    };
    let (grid_a, grid_b) = (grid(&a), grid(&b));
    let [cells_a, cells_b] = [grid_a, grid_b].map(|[rows, columns]| rows * columns);
    // Convert (x, y) from cells to pixels, and back.
    let pixels = |[x, y]: [f32; 2], [rows, columns]: [usize; 2], [width, height]: [u32; 2]| {
        [
            x * width as f32 / columns as f32,
            y * height as f32 / rows as f32,
        ]
    };
    let cells = |[x, y]: [f32; 2], [rows, columns]: [usize; 2], [width, height]: [u32; 2]| {
        [
            x * columns as f32 / width as f32,
            y * rows as f32 / height as f32,
        ]
    };
    let read = |tensor: Tensor<3>| -> anyhow::Result<Vec<f32>> {
        tensor
            .try_into_vec_as()
            .context("reading similarities back from the device")
    };

    let all = read(map_similarity(a.clone(), b.clone()))?;
    let best_in_a: Vec<usize> = (0..cells_b)
        .map(|cell| best((0..cells_a).map(|i| all[i * cells_b + cell])))
        .collect();
    let mut object = None;
    let queries: Vec<Query>;
    let rows: Vec<f32>;
    if let Truth::Points(points) = truth {
        object = points.object;
        let points = points.inside([size_a, size_b]);
        let places: Vec<[f32; 2]> = points.clone().map(|p| cells(p.a, grid_a, size_a)).collect();
        if places.is_empty() {
            return Ok(None);
        }
        queries = points
            .zip(&places)
            .map(|(point, [x, y])| Query {
                place: point.a,
                cell: *y as usize * grid_a[1] + *x as usize,
                truth: in_b(point.b),
            })
            .collect();
        let [_, channels, ..] = b.dims();
        let keys = b.reshape([1, channels, cells_b]);
        rows = read(similarity(l2_normalize(sample(a, &places), 1), keys))?;
    } else {
        let seen = |cell: usize| {
            let place = pixels(cell_center(cell, grid_a[1]), grid_a, size_a);
            let truth = in_b(truth.at(place, size_b)?);
            Some(Query { place, cell, truth })
        };
        queries = (0..cells_a).filter_map(seen).collect();
        rows = queries
            .iter()
            .flat_map(|query| all[query.cell * cells_b..][..cells_b].iter().copied())
            .collect();
    }
    let found = |(row, query): (&[f32], &Query)| {
        let chosen = best(row.iter().copied());
        let point = FoundPoint {
            truth: query.truth,
            found: pixels(subcell_peak(row, chosen, grid_b), grid_b, size_b),
            same_place: [0, 1].map(|i| query.place[i] * size_b[i] as f32 / size_a[i] as f32),
            mutual: best_in_a[chosen] == query.cell,
            at_border: at_border(query.cell, grid_a) || at_border(chosen, grid_b),
        };
        (point, query.place, row[chosen])
    };
    let found: Vec<(FoundPoint, [f32; 2], f32)> = rows
        .chunks_exact(cells_b)
        .zip(&queries)
        .map(found)
        .collect();
    let points: Vec<FoundPoint> = found.iter().map(|(point, ..)| *point).collect();
    let candidates: Vec<[f32; 2]> = (0..cells_b)
        .map(|cell| pixels(cell_center(cell, grid_b[1]), grid_b, size_b))
        .collect();
    let larger = size_b[0].max(size_b[1]) as f32;
    let Some(score) = PairScore::new(&points, &candidates, larger) else {
        return Ok(None);
    };
    let error = |point: &FoundPoint| {
        let [dx, dy] = [0, 1].map(|i| point.found[i] - point.truth[i]);
        dx.hypot(dy) / larger
    };
    let shown = found
        .iter()
        .filter(|(point, ..)| point.mutual && !point.at_border)
        .map(|(point, _, cosine)| Shown {
            cosine: *cosine,
            right: PCK_BOUNDS.map(|bound| error(point) <= bound),
        })
        .collect();
    let share = |at: [f32; 2], size: [u32; 2]| [0, 1].map(|i| at[i] / size[i] as f32);
    let lines = found
        .iter()
        .map(|(point, place, score)| MatchLine {
            a: share(*place, size_a),
            b: share(point.found, size_b),
            score: *score,
            correct: Some(error(point) <= PCK_BOUNDS[1]),
        })
        .collect();
    let by_object = object
        .and_then(|side| PairScore::new(&points, &candidates, side))
        .map(|score| score.found.pck);
    Ok(Some(PairMatches {
        score,
        by_object,
        lines,
        shown,
    }))
}

/// Index of the largest value; of equal ones the first, and 0 if all are NaN.
fn best(values: impl Iterator<Item = f32>) -> usize {
    let mut best = (f32::NEG_INFINITY, 0);
    for (index, value) in values.enumerate() {
        if value > best.0 {
            best = (value, index);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::correspondence::key_points::{KeyPoint, KeyPoints};

    /// A map whose cell i is the unit vector with index `cells[i]`.
    fn map(cells: &[usize], [rows, columns]: [usize; 2]) -> Tensor<4> {
        let n = cells.len();
        let mut values = vec![0.0; n * n];
        for (place, &cell) in cells.iter().enumerate() {
            values[cell * n + place] = 1.0;
        }
        let data = TensorData::new(values, [1, n, rows, columns]);
        Tensor::from_data(data, &Device::flex())
    }

    #[test]
    fn a_perfect_network_is_perfect_on_pictures_of_any_two_sizes() {
        // B shows A at twice the size, mirrored.
        let truth = Truth::Homography([-2.0, 0.0, 59.5 - 1.0 + 1.0, 0.0, 2.0, 0.5, 0.0, 0.0, 1.0]);
        let a = map(&[0, 1, 2, 3, 4, 5], [2, 3]);
        let b = map(&[2, 1, 0, 5, 4, 3], [2, 3]);
        let found = match_pair(a, b, [[30, 20], [60, 40]], &truth, false)
            .expect("on the CPU")
            .expect("points");
        assert_eq!(found.score.points, 6);
        assert!(found.score.found.end_point < 1.01, "{:?}", found.score);
        assert_eq!(found.score.found.pck, [1.0, 1.0]);
        assert_eq!(found.score.mutual_precision, Some([1.0, 1.0]));
        // Two by three cells have no border.
        let without_border = found.score.mutual_precision_without_border;
        assert_eq!(without_border, Some([1.0, 1.0]));
        assert!(found.score.same_place.pck[1] < 0.5);
        // Mirrored left to right, B is A again, in twice the size.
        let (a, b) = (
            map(&[0, 1, 2, 3, 4, 5], [2, 3]),
            map(&[0, 1, 2, 3, 4, 5], [2, 3]),
        );
        let mirrored = match_pair(a, b, [[30, 20], [60, 40]], &truth, true)
            .expect("on the CPU")
            .expect("points");
        assert!(
            mirrored.score.found.end_point < 1.01,
            "{:?}",
            mirrored.score
        );
    }

    #[test]
    fn mutual_matches_with_an_end_at_the_border_are_told_apart() {
        // B shows A, but for a cell inside (6) and one in the corner (0), which are exchanged. So of 25 mutual matches
        // two are wrong; of one of them the cell of A is at the border, of the other the cell of B.
        let grid = [5, 5];
        let cells: Vec<usize> = (0..25).collect();
        let mut exchanged = cells.clone();
        exchanged.swap(0, 6);
        let truth = Truth::Homography([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let (a, b) = (map(&cells, grid), map(&exchanged, grid));
        let found = match_pair(a, b, [[50, 50]; 2], &truth, false);
        let PairMatches { score, shown, .. } = found.expect("on the CPU").expect("points");
        assert_eq!(score.mutual, 1.0);
        assert_eq!(score.mutual_precision, Some([23.0 / 25.0; 2]));
        assert_eq!(score.mutual_precision_without_border, Some([1.0, 1.0]));
        // Of the 3 x 3 cells inside, 6 has its match in the corner.
        let right = Shown {
            cosine: 1.0,
            right: [true, true],
        };
        assert_eq!(shown, [right; 8]);
    }

    #[test]
    fn key_points_are_looked_for_where_they_are() {
        let (a, b) = (map(&[0, 1, 2, 3], [2, 2]), map(&[3, 2, 1, 0], [2, 2]));
        let point = |a, b| KeyPoint { a, b };
        let points = vec![
            point([5.0, 5.0], [15.0, 15.0]),
            point([15.0, 5.0], [5.0, 15.0]),
            // Outside the picture: not evaluated.
            point([25.0, 5.0], [5.0, 15.0]),
        ];
        let object = Some(100.0);
        let truth = Truth::Points(KeyPoints { points, object });
        let found = match_pair(a, b, [[20, 20]; 2], &truth, false)
            .expect("on the CPU")
            .expect("points");
        assert_eq!((found.score.points, found.score.found.end_point), (2, 0.0));
        assert_eq!(found.score.mutual, 1.0);
        assert_eq!(found.by_object, Some([1.0, 1.0]));
    }
}
