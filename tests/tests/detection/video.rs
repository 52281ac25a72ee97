//! Compares J and F of masks, and label propagation, with the definitions of DAVIS and DINO.

use densecl::metrics::{boundary_accuracy, region_similarity};
use densecl_eval::propagation::{Neighbours, PropagationSettings};
use serde_json::Value;

use crate::{golden, index, indices, list, numbers};

/// A mask from the lengths of its runs; the first is of pixels that are not set.
fn mask(runs: &Value) -> Vec<bool> {
    let runs = indices(runs).into_iter().enumerate();
    runs.flat_map(|(i, length)| std::iter::repeat_n(i % 2 == 1, length))
        .collect()
}

#[test]
fn region_and_boundary_are_those_of_the_davis_evaluation() {
    let cases = golden("metrics/video.json");
    for case in list(&cases["masks"]) {
        let size = [index(&case["width"]), index(&case["height"])];
        let [truth, found, ignored] = ["truth", "found", "ignored"].map(|name| mask(&case[name]));
        assert_eq!(truth.len(), size[0] * size[1]);
        let expected = |name: &str| case[name].as_f64().expect("a number");
        let j = region_similarity(&truth, &found, &ignored);
        assert!((j - expected("j")).abs() < 1e-12, "{j}");
        let f = boundary_accuracy(&truth, &found, &ignored, size);
        assert!((f - expected("f")).abs() < 1e-12, "{f} {}", expected("f"));
    }
}

#[test]
fn labels_are_propagated_as_by_dino() {
    let cases = golden("metrics/video.json");
    for case in list(&cases["propagation"]) {
        let grid = [index(&case["rows"]), index(&case["columns"])];
        let (cells, classes) = (grid[0] * grid[1], index(&case["classes"]));
        let settings = PropagationSettings {
            context: index(&case["context"]),
            k: index(&case["k"]),
            radius: index(&case["radius"]),
            temperature: case["temperature"].as_f64().expect("a number") as f32,
        };
        let features: Vec<Vec<f64>> = list(&case["features"]).iter().map(numbers).collect();
        let floats = |values: &Value| -> Vec<f32> {
            let values = numbers(values).into_iter();
            values.map(|value| value as f32).collect()
        };
        // Features and labels of the first frame and of those that were found.
        let mut known = vec![(&features[0], floats(&case["first"]))];
        for (target, expected) in features[1..].iter().zip(list(&case["found"])) {
            let recent = known[1..].len().saturating_sub(settings.context);
            let voters: Vec<_> = known[..1].iter().chain(&known[1 + recent..]).collect();
            let mut neighbours = Neighbours::new(grid, settings);
            for (source, _) in &voters {
                neighbours.add(&similarity(target, source, cells));
            }
            let labels: Vec<&[f32]> = voters.iter().map(|(_, labels)| &labels[..]).collect();
            let found = neighbours.votes(&labels, classes);
            let expected = floats(expected);
            assert_eq!(found.len(), expected.len());
            for (ours, theirs) in found.iter().zip(&expected) {
                // The reference computes in f64. Measured: 5e-7.
                assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
            }
            known.push((target, found));
        }
    }
}

/// Cosine similarity of each cell of `target` with each of `source`, both of unit vectors.
fn similarity(target: &[f64], source: &[f64], cells: usize) -> Vec<f32> {
    let channels = target.len() / cells;
    let source = source.chunks_exact(channels);
    let rows = target.chunks_exact(channels).flat_map(|a| {
        let dot = move |b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() as f32;
        source.clone().map(dot)
    });
    rows.collect()
}
