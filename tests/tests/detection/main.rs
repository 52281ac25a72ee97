//! Compares detection, classification and segmentation with their reference implementations: COCO's evaluation,
//! torchvision's FCOS, scikit-learn's nearest neighbours, torchmetrics' Jaccard index, DAVIS' J and F.

mod fcos;
mod instances;
mod metrics;
mod segmentation;
mod video;

use std::path::Path;

use serde_json::Value;

/// A golden file below `tests/golden`.
fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = list(value).iter();
    values.map(|v| v.as_f64().expect("a number")).collect()
}

fn index(value: &Value) -> usize {
    value.as_u64().expect("an index") as usize
}

fn indices(value: &Value) -> Vec<usize> {
    list(value).iter().map(index).collect()
}
