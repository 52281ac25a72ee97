//! Metrics of the evaluations; they take and return plain numbers.

mod classification;
mod correspondence;
mod detection;
mod masks;
mod points;
mod segmentation;

pub use classification::{in_top_k, knn_votes, top_k_accuracy};
pub use correspondence::{CorrespondenceAccuracy, within_one_cell};
pub use detection::{
    AveragePrecision, Judged, Scene, SceneMasks, Truth, average_precision, mask_average_precision,
};
pub use masks::{boundary_accuracy, region_similarity};
pub use points::{FoundPoint, PCK_BOUNDS, PairScore, PointErrors};
pub use segmentation::{ClassCounts, IGNORE};

/// PCK, the percentage of correct keypoints: the share of `errors` (distances to the true position) that are
/// at most `bound`, both in pixels. In [0, 1]; `None` when `errors` is empty.
///
/// An error that is not finite stands for a point that was not found and counts as wrong.
pub fn pck(errors: &[f32], bound: f32) -> Option<f64> {
    let right = errors.iter().filter(|&&error| error <= bound).count();
    (!errors.is_empty()).then(|| right as f64 / errors.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pck_counts_errors_up_to_the_bound_and_nothing_found_as_wrong() {
        assert_eq!(pck(&[], 1.0), None);
        assert_eq!(pck(&[0.5, 1.0, 1.5, f32::NAN], 1.0), Some(0.5));
    }
}
