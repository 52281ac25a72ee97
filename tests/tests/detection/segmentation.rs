//! Compares IoU and pixel accuracy with scikit-learn and torchmetrics.

use densecl::metrics::ClassCounts;

use crate::{golden, index, indices, list};

#[test]
fn iou_and_accuracy_are_those_of_scikit_learn_and_torchmetrics() {
    let cases = golden("metrics/segmentation.json");
    for case in list(&cases) {
        let labels = |name: &str| -> Vec<u8> {
            let labels = indices(&case[name]).into_iter();
            labels.map(|label| label as u8).collect()
        };
        let number = |name: &str| case[name].as_f64().expect("a number");
        let mut counts = ClassCounts::new(index(&case["classes"]));
        // Counted in two parts and merged, as the pictures of a data set are.
        let (truth, predicted) = (labels("truth"), labels("predicted"));
        let half = truth.len() / 2;
        counts.add(&truth[..half], &predicted[..half]);
        let mut rest = ClassCounts::new(index(&case["classes"]));
        rest.add(&truth[half..], &predicted[half..]);
        counts.merge(&rest);

        let iou = counts.iou();
        assert_eq!(iou.len(), list(&case["iou"]).len());
        for (ours, theirs) in iou.iter().zip(list(&case["iou"])) {
            match (ours, theirs.as_f64()) {
                (Some(ours), Some(theirs)) => assert!((ours - theirs).abs() < 1e-12),
                (ours, theirs) => assert_eq!(*ours, theirs),
            }
        }
        // torchmetrics computes in f32.
        let mean = counts.mean_iou().expect("pixels");
        assert!((mean - number("mean_iou")).abs() < 1e-6);
        let accuracy = counts.pixel_accuracy().expect("pixels");
        assert!((accuracy - number("pixel_accuracy")).abs() < 1e-12);
        let pixels: Vec<usize> = counts.truth().iter().map(|&n| n as usize).collect();
        assert_eq!(pixels, indices(&case["true_pixels"]));
    }
}
