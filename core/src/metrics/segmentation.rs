//! Metrics of semantic segmentation: IoU and pixel accuracy.

/// The label of pixels that are left out (as in Pascal VOC and Cityscapes).
pub const IGNORE: u8 = 255;

/// For each class the numbers of correct pixels, of true pixels and of predicted pixels. IoU and pixel
/// accuracy need no more than these 3·C numbers, where a confusion matrix has C².
///
/// The counts of a data set are the sums of its pictures' counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    right: Vec<u64>,
    truth: Vec<u64>,
    predicted: Vec<u64>,
}

impl ClassCounts {
    /// All counts 0, for `classes` classes.
    pub fn new(classes: usize) -> Self {
        let zeros = vec![0; classes];
        Self {
            right: zeros.clone(),
            truth: zeros.clone(),
            predicted: zeros,
        }
    }

    /// Adds pixels by their true classes ([`IGNORE`] leaves a pixel out) and their predicted classes.
    ///
    /// # Panics
    /// When the two differ in length, or a class is not below the number of classes.
    pub fn add(&mut self, truth: &[u8], predicted: &[u8]) {
        assert_eq!(truth.len(), predicted.len(), "a prediction per pixel");
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            if truth != IGNORE {
                self.truth[usize::from(truth)] += 1;
                self.predicted[usize::from(predicted)] += 1;
                self.right[usize::from(truth)] += u64::from(truth == predicted);
            }
        }
    }

    /// Adds the counts of other pixels.
    ///
    /// # Panics
    /// When the numbers of classes differ.
    pub fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.right, &other.right),
            (&mut self.truth, &other.truth),
            (&mut self.predicted, &other.predicted),
        ];
        for (sum, more) in pairs {
            assert_eq!(sum.len(), more.len(), "the same classes");
            for (sum, more) in sum.iter_mut().zip(more) {
                *sum += more;
            }
        }
    }

    /// Number of pixels that are not ignored.
    pub fn pixels(&self) -> u64 {
        self.truth.iter().sum()
    }

    /// Intersection over union (IoU) of each class, in [0, 1]; `None` for a class with neither true nor
    /// predicted pixels.
    pub fn iou(&self) -> Vec<Option<f64>> {
        (0..self.right.len())
            .map(|class| {
                let union = self.truth[class] + self.predicted[class] - self.right[class];
                (union > 0).then(|| self.right[class] as f64 / union as f64)
            })
            .collect()
    }

    /// Mean IoU over the classes with true or predicted pixels, as the macro average of torchmetrics and
    /// mmsegmentation define it: a class that is predicted but nowhere true counts as 0. `None` without
    /// pixels.
    pub fn mean_iou(&self) -> Option<f64> {
        let present: Vec<f64> = self.iou().into_iter().flatten().collect();
        (!present.is_empty()).then(|| present.iter().sum::<f64>() / present.len() as f64)
    }

    /// Share of the pixels whose predicted class is correct, in [0, 1]; `None` without pixels.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let pixels = self.pixels();
        (pixels > 0).then(|| self.right.iter().sum::<u64>() as f64 / pixels as f64)
    }

    /// Number of true pixels of each class.
    pub fn truth(&self) -> &[u64] {
        &self.truth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_pixels_count_for_nothing_and_absent_classes_are_no_zeros() {
        let mut counts = ClassCounts::new(4);
        assert_eq!((counts.mean_iou(), counts.pixel_accuracy()), (None, None));
        counts.add(&[0, 0, 1, IGNORE, 1], &[0, 1, 1, 3, 2]);
        assert_eq!(counts.pixels(), 4);
        // By pixel numbers: class 0 has 1 correct in the union {0, 1}, class 1 has 1 in {1, 2, 4}; class 2 is only
        // predicted, class 3 only at an ignored pixel.
        assert_eq!(counts.iou(), [Some(0.5), Some(1.0 / 3.0), Some(0.0), None]);
        assert_eq!(counts.mean_iou(), Some((0.5 + 1.0 / 3.0) / 3.0));
        assert_eq!(counts.pixel_accuracy(), Some(0.5));
        let mut twice = counts.clone();
        twice.merge(&counts);
        assert_eq!(twice.mean_iou(), counts.mean_iou());
        assert_eq!(twice.pixels(), 8);
    }
}
