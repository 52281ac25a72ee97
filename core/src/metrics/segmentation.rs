//! Segmentation: which pixels have the right class.

/// The label of pixels that count for nothing (Pascal VOC's, Cityscapes').
pub const IGNORE: u8 = 255;

/// Per class how many pixels are right, how many should be, and how many were said to be: all that IoU
/// and pixel accuracy need, in 3·C numbers where a confusion matrix has C².
///
/// Counts of pictures add up, so those of a data set are the sum of its pictures'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    right: Vec<u64>,
    truth: Vec<u64>,
    predicted: Vec<u64>,
}

impl ClassCounts {
    /// No pixels of `classes` classes.
    pub fn new(classes: usize) -> Self {
        let zeros = vec![0; classes];
        Self {
            right: zeros.clone(),
            truth: zeros.clone(),
            predicted: zeros,
        }
    }

    /// Adds pixels: their true class, or [`IGNORE`], and the predicted one.
    ///
    /// # Panics
    /// When the two differ in length, or a class is none.
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
    /// When they are of another number of classes.
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

    /// Pixels that count.
    pub fn pixels(&self) -> u64 {
        self.truth.iter().sum()
    }

    /// Intersection over union of each class, in [0, 1]; `None` for a class that is neither among the
    /// truth nor among the predictions.
    pub fn iou(&self) -> Vec<Option<f64>> {
        (0..self.right.len())
            .map(|class| {
                let union = self.truth[class] + self.predicted[class] - self.right[class];
                (union > 0).then(|| self.right[class] as f64 / union as f64)
            })
            .collect()
    }

    /// Mean IoU over the classes that are present among the truth or the predictions, as torchmetrics'
    /// macro average and mmsegmentation take it: a class that is predicted and nowhere true counts 0.
    /// `None` without a pixel.
    pub fn mean_iou(&self) -> Option<f64> {
        let present: Vec<f64> = self.iou().into_iter().flatten().collect();
        (!present.is_empty()).then(|| present.iter().sum::<f64>() / present.len() as f64)
    }

    /// Share of the pixels whose class is right, in [0, 1]; `None` without a pixel.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let pixels = self.pixels();
        (pixels > 0).then(|| self.right.iter().sum::<u64>() as f64 / pixels as f64)
    }

    /// True pixels of each class.
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
        // Class 0: 1 of {0, 1}; class 1: 1 of {1, 2, 4}; class 2 only predicted; class 3 only ignored.
        assert_eq!(counts.iou(), [Some(0.5), Some(1.0 / 3.0), Some(0.0), None]);
        assert_eq!(counts.mean_iou(), Some((0.5 + 1.0 / 3.0) / 3.0));
        assert_eq!(counts.pixel_accuracy(), Some(0.5));
        let mut twice = counts.clone();
        twice.merge(&counts);
        assert_eq!(twice.mean_iou(), counts.mean_iou());
        assert_eq!(twice.pixels(), 8);
    }
}
