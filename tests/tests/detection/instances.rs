//! Compares masks, and their average precision, with pycocotools.

use densecl::boxes::Detection;
use densecl::mask::Mask;
use densecl::metrics::{Scene, SceneMasks, Truth, mask_average_precision};
use serde_json::Value;

use crate::{golden, index, indices, list, numbers};

fn size(value: &Value) -> [u32; 2] {
    ["width", "height"].map(|side| index(&value[side]) as u32)
}

#[test]
fn polygons_and_run_lengths_are_the_masks_of_pycocotools() {
    let cases = golden("metrics/instances.json");
    for case in list(&cases["polygons"]) {
        let size = size(case);
        let polygons: Vec<Vec<f64>> = list(&case["polygons"]).iter().map(numbers).collect();
        let runs = indices(&case["runs"]).into_iter().map(|run| run as u32);
        let expected = Mask::from_runs(runs.collect(), size).expect("a mask");
        let drawn = Mask::from_polygons(&polygons, size).expect("polygons");
        assert_eq!(drawn.pixels(), expected.pixels(), "{polygons:?}");
        let text = case["compressed"].as_str().expect("text");
        let read = Mask::from_compressed(text, size).expect("RLE");
        assert_eq!(read.pixels(), expected.pixels(), "{text}");
        assert_eq!(read.area(), index(&case["area"]) as u64);
    }
}

#[test]
fn average_precision_of_masks_is_that_of_pycocotools() {
    let cases = golden("metrics/instances.json");
    for case in list(&cases["average_precision"]) {
        let (mut scenes, mut masks) = (Vec::new(), Vec::new());
        for scene in list(&case["scenes"]) {
            let size = size(scene);
            let mask = |one: &Value| {
                let text = one["mask"].as_str().expect("text");
                Mask::from_compressed(text, size).expect("RLE")
            };
            // Boxes that overlap in nothing show that masks are compared.
            let rect = |i: usize| densecl::boxes::Rect::new(i as f64, 0.0, i as f64 + 0.5, 1.0);
            let truths = list(&scene["truths"])
                .iter()
                .enumerate()
                .map(|(i, t)| Truth {
                    area: t["area"].as_f64().expect("a number"),
                    crowd: t["crowd"] == true,
                    ..Truth::new(rect(i), index(&t["class"]))
                });
            let found = list(&scene["found"])
                .iter()
                .enumerate()
                .map(|(i, d)| Detection {
                    rect: rect(1000 + i),
                    class: index(&d["class"]),
                    score: d["score"].as_f64().expect("a number"),
                });
            scenes.push(Scene {
                truths: truths.collect(),
                found: found.collect(),
            });
            masks.push(SceneMasks {
                truths: list(&scene["truths"]).iter().map(mask).collect(),
                found: list(&scene["found"]).iter().map(mask).collect(),
            });
        }
        let got = mask_average_precision(&scenes, &masks, index(&case["classes"]));
        let got = serde_json::to_value(got).expect("JSON");
        for (name, want) in case["expected"].as_object().expect("an object") {
            let (got, want) = (got[name].as_f64(), want.as_f64());
            match (got, want) {
                (Some(got), Some(want)) => {
                    assert!((got - want).abs() <= 1e-9, "{name}: {got} {want}")
                }
                _ => assert_eq!(got, want, "{name}"),
            }
        }
    }
}
