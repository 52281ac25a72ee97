//! Hierarchical grouping (Uijlings et al. 2013, algorithm 1): the two most similar neighbours are joined until one region
//! is left; every region on the way is a candidate for an object.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::features::{COLOURS, Region};

/// Which similarities are added up. Texture, size and fill always count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Similarity {
    /// With colour.
    WithColour,
    /// Without.
    WithoutColour,
}

/// Two regions that could be joined.
#[derive(Debug, PartialEq)]
struct Pair {
    similarity: f32,
    regions: [u32; 2],
}

impl Eq for Pair {}

impl Ord for Pair {
    /// The more similar pair is the greater; of equal ones that of older regions.
    fn cmp(&self, other: &Self) -> Ordering {
        self.similarity
            .total_cmp(&other.similarity)
            .then_with(|| other.regions.cmp(&self.regions))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The bounds of all regions of a picture of `pixels` pixels: those given, and those that arise by joining, in this order.
pub(super) fn group(
    mut regions: Vec<Region>,
    pixels: usize,
    similarity: Similarity,
) -> Vec<[u32; 4]> {
    let pixels = pixels as f32;
    let mut heap = BinaryHeap::new();
    for (a, region) in (0..).zip(&regions) {
        for &b in region.neighbours.iter().filter(|&&b| b > a) {
            heap.push(Pair {
                similarity: compare(region, &regions[b as usize], pixels, similarity),
                regions: [a, b],
            });
        }
    }
    let mut gone = vec![false; regions.len()];
    while let Some(Pair {
        regions: [a, b], ..
    }) = heap.pop()
    {
        if gone[a as usize] || gone[b as usize] {
            continue;
        }
        (gone[a as usize], gone[b as usize]) = (true, true);
        let new = regions.len() as u32;
        let mut joined = join(&regions[a as usize], &regions[b as usize]);
        joined.neighbours.retain(|other| !gone[*other as usize]);
        for &other in &joined.neighbours {
            let neighbour = &mut regions[other as usize];
            neighbour.neighbours.push(new);
            heap.push(Pair {
                similarity: compare(&joined, &regions[other as usize], pixels, similarity),
                regions: [other, new],
            });
        }
        // Only the bounds of what was joined are needed from here on.
        for old in [a, b] {
            regions[old as usize].histogram = Vec::new();
        }
        regions.push(joined);
        gone.push(false);
    }
    regions.into_iter().map(|region| region.bounds).collect()
}

/// s = s_colour + s_texture + s_size + s_fill (equations 1 to 6), each in [0, 1].
fn compare(a: &Region, b: &Region, pixels: f32, similarity: Similarity) -> f32 {
    let shared = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a.min(*b)).sum::<f32>();
    let (colours_a, textures_a) = a.histogram.split_at(COLOURS);
    let (colours_b, textures_b) = b.histogram.split_at(COLOURS);
    let colour = match similarity {
        Similarity::WithColour => shared(colours_a, colours_b),
        Similarity::WithoutColour => 0.0,
    };
    let texture = shared(textures_a, textures_b);
    let both = a.size + b.size;
    let size = 1.0 - both / pixels;
    let [left, top, right, bottom] = around(a.bounds, b.bounds);
    let area = (right - left) as f32 * (bottom - top) as f32;
    let fill = 1.0 - (area - both) / pixels;
    colour + texture + size + fill
}

fn around(a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
    [
        a[0].min(b[0]),
        a[1].min(b[1]),
        a[2].max(b[2]),
        a[3].max(b[3]),
    ]
}

/// The region of both; its histograms are the means by size.
fn join(a: &Region, b: &Region) -> Region {
    let size = a.size + b.size;
    let [of_a, of_b] = [a.size / size, b.size / size];
    let numbers = a.histogram.iter().zip(&b.histogram);
    let mut neighbours = [a.neighbours.as_slice(), &b.neighbours].concat();
    neighbours.sort_unstable();
    neighbours.dedup();
    Region {
        size,
        bounds: around(a.bounds, b.bounds),
        histogram: numbers.map(|(a, b)| of_a * a + of_b * b).collect(),
        neighbours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square of 10 × 10 pixels at column `x`, whose colour and texture are each in one bin.
    fn square(x: u32, colour: usize, texture: usize, neighbours: &[u32]) -> Region {
        let mut histogram = vec![0.0; COLOURS + 240];
        histogram[colour] = 1.0;
        histogram[COLOURS + texture] = 1.0;
        Region {
            size: 100.0,
            bounds: [x, 0, x + 10, 10],
            histogram,
            neighbours: neighbours.to_vec(),
        }
    }

    #[test]
    fn the_similarity_is_the_sum_of_the_papers_four() {
        let (a, b) = (square(0, 3, 7, &[1]), square(20, 3, 8, &[0]));
        // Colour 1, texture 0, size 1 − 200/1000, fill 1 − (300 − 200)/1000.
        let with = compare(&a, &b, 1000.0, Similarity::WithColour);
        assert!((with - (1.0 + 0.0 + 0.8 + 0.9)).abs() < 1e-6, "{with}");
        let without = compare(&a, &b, 1000.0, Similarity::WithoutColour);
        assert!((without - 1.7).abs() < 1e-6, "{without}");
    }

    #[test]
    fn the_most_similar_neighbours_are_joined_first() {
        let row = || {
            vec![
                square(0, 1, 1, &[1]),
                square(10, 2, 2, &[0, 2]),
                square(20, 2, 2, &[1, 3]),
                square(30, 2, 1, &[2]),
            ]
        };
        let found = group(row(), 400, Similarity::WithColour);
        assert_eq!(
            found[4..],
            [[10, 0, 30, 10], [10, 0, 40, 10], [0, 0, 40, 10]]
        );
        // By texture alone the last two joins tie, and the older neighbour comes first.
        let found = group(row(), 400, Similarity::WithoutColour);
        assert_eq!(
            found[4..],
            [[10, 0, 30, 10], [0, 0, 30, 10], [0, 0, 40, 10]]
        );
    }

    #[test]
    fn regions_that_do_not_touch_are_never_joined() {
        let found = group(
            vec![square(0, 1, 1, &[]), square(50, 1, 1, &[])],
            1000,
            Similarity::WithColour,
        );
        assert_eq!(found, [[0, 0, 10, 10], [50, 0, 60, 10]]);
    }
}
