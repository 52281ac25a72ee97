//! Compares average precision with pycocotools and k-NN classification with scikit-learn.

use densecl::boxes::{Detection, Rect};
use densecl::metrics::{Scene, Truth, average_precision, knn_votes, top_k_accuracy};
use serde_json::Value;

use crate::{golden, index, indices, list, numbers};

/// Allowed difference: the two implementations add f64 values in different orders.
const TOLERANCE: f64 = 1e-9;

/// A box in COCO's format: x, y, width, height.
fn rect(value: &Value) -> Rect {
    let [x, y, w, h]: [f64; 4] = numbers(value).try_into().expect("four numbers");
    Rect::new(x, y, x + w, y + h)
}

fn scene(value: &Value) -> Scene {
    let truth = |t: &Value| Truth {
        rect: rect(&t["box"]),
        class: index(&t["class"]),
        area: t["area"].as_f64().expect("a number"),
        crowd: t["crowd"] == true,
        difficult: t["difficult"] == true,
    };
    let found = |d: &Value| Detection {
        rect: rect(&d["box"]),
        class: index(&d["class"]),
        score: d["score"].as_f64().expect("a number"),
    };
    Scene {
        truths: list(&value["truths"]).iter().map(truth).collect(),
        found: list(&value["found"]).iter().map(found).collect(),
    }
}

#[test]
fn average_precision_is_that_of_pycocotools() {
    let cases = golden("metrics/detection.json");
    for case in list(&cases) {
        let scenes: Vec<Scene> = list(&case["scenes"]).iter().map(scene).collect();
        let got = average_precision(&scenes, index(&case["classes"]));
        let got = serde_json::to_value(got).expect("JSON");
        let expected = case["expected"].as_object().expect("an object");
        for (name, want) in expected {
            let pairs = match want {
                Value::Array(want) => list(&got[name]).iter().zip(want).collect(),
                want => vec![(&got[name], want)],
            };
            for (got, want) in pairs {
                let what = format!("{}, {name}: {got}, pycocotools {want}", case["name"]);
                match (got.as_f64(), want.as_f64()) {
                    (Some(got), Some(want)) => {
                        assert!((got - want).abs() <= TOLERANCE, "{what}");
                    }
                    (got, want) => assert_eq!(got, want, "{what}"),
                }
            }
        }
    }
}

#[test]
fn nearest_neighbours_vote_as_in_scikit_learn() {
    let cases = golden("metrics/classification.json");
    for case in list(&cases) {
        let (classes, k) = (index(&case["classes"]), index(&case["k"]));
        let temperature = case["temperature"].as_f64().expect("a number");
        let (train, labels) = (indices(&case["train_labels"]), indices(&case["labels"]));
        for (row, want) in list(&case["similarity"]).iter().zip(list(&case["votes"])) {
            let row: Vec<f32> = numbers(row).iter().map(|v| *v as f32).collect();
            let got = knn_votes(&row, &train, classes, k, temperature);
            for (got, want) in got.iter().zip(numbers(want)) {
                // The similarities are rounded to f32, which causes errors of about 6e-8 / τ.
                assert!((got - want).abs() < 1e-5, "{got}, scikit-learn {want}");
            }
        }
        let scores: Vec<f64> = list(&case["scores"]).iter().flat_map(numbers).collect();
        for (k, want) in (1..).zip(numbers(&case["top"])) {
            let got = top_k_accuracy(&scores, &labels, classes, k).expect("samples");
            assert!((got - want).abs() < TOLERANCE, "top {k}: {got}, {want}");
        }
    }
}
