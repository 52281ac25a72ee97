//! The figures of a video: J and F of each object, and their means over videos.
//!
//! As the DAVIS 2017 challenge computes them: the mean over a video's frames without the first and the last, for each
//! object; then the mean over all objects of all videos.

use densecl::metrics::{boundary_accuracy, region_similarity};
use image::GrayImage;
use serde_json::json;

use crate::figures::{Figure, bootstrap};

/// A mask counts as found where a measure is above this.
const FOUND: f64 = 0.5;

/// The objects to follow in a video, which those of its first mask are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objects {
    /// The value of each object in the masks, sorted.
    values: Vec<u8>,
    /// Whether 255 means that a pixel is not judged.
    ignores: bool,
}

impl Objects {
    const IGNORED: u8 = 255;

    /// The objects of a mask. 0 is background. 255 marks pixels that are not judged (DAVIS 2017), but where it is the
    /// only value it is the object (DAVIS 2016).
    pub(super) fn of(mask: &GrayImage) -> Self {
        let mut seen = [false; 256];
        mask.as_raw()
            .iter()
            .for_each(|&value| seen[usize::from(value)] = true);
        let mut values: Vec<u8> = (1..Self::IGNORED)
            .filter(|&value| seen[usize::from(value)])
            .collect();
        let ignores = !values.is_empty();
        if !ignores && seen[usize::from(Self::IGNORED)] {
            values.push(Self::IGNORED);
        }
        Self { values, ignores }
    }

    /// Number of objects.
    pub(super) fn count(&self) -> usize {
        self.values.len()
    }

    /// The class of each pixel: 0, or 1 + the index of its object. Other values are background.
    pub(super) fn classes(&self, mask: &GrayImage) -> Vec<u8> {
        let class = |value: &u8| {
            let found = self.values.iter().zip(1..).find(|(own, _)| *own == value);
            found.map_or(0, |(_, class)| class)
        };
        mask.as_raw().iter().map(class).collect()
    }

    /// J and F of each object in a frame: `mask` is the truth, `found` the classes of the same pixels.
    pub(super) fn judge(&self, mask: &GrayImage, found: &[u8]) -> Vec<[f64; 2]> {
        let size = [mask.width() as usize, mask.height() as usize];
        let ignored: Vec<bool> = mask
            .as_raw()
            .iter()
            .map(|&value| self.ignores && value == Self::IGNORED)
            .collect();
        let judge = |(&value, class): (&u8, u8)| {
            let truth: Vec<bool> = mask.as_raw().iter().map(|&at| at == value).collect();
            let found: Vec<bool> = found.iter().map(|&at| at == class).collect();
            [
                region_similarity(&truth, &found, &ignored),
                boundary_accuracy(&truth, &found, &ignored, size),
            ]
        };
        self.values.iter().zip(1..).map(judge).collect()
    }
}

/// J and F of one video, for each judged frame and each object.
#[derive(Debug, Clone, Default)]
pub(super) struct VideoScores {
    pub(super) name: String,
    /// By frame and object: what the backbone found.
    pub(super) found: Vec<Vec<[f64; 2]>>,
    /// The same if every frame had the first frame's mask.
    pub(super) still: Vec<Vec<[f64; 2]>>,
}

/// A measure of one object: its values in all judged frames → a number.
type Of = fn(&[f64]) -> f64;

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn recall(values: &[f64]) -> f64 {
    let found = values.iter().filter(|&&value| value > FOUND).count();
    found as f64 / values.len() as f64
}

impl VideoScores {
    /// `of` J (`measure` 0) or F (1), one value per object.
    fn objects(frames: &[Vec<[f64; 2]>], measure: usize, of: Of) -> Vec<f64> {
        let count = frames.first().map_or(0, Vec::len);
        let one = |object: usize| {
            let values: Vec<f64> = frames.iter().map(|frame| frame[object][measure]).collect();
            of(&values)
        };
        (0..count).map(one).collect()
    }

    /// Mean of J and F over the objects; `None` where no frame is judged.
    pub(super) fn j_and_f(&self) -> Option<f64> {
        let [j, f] = [0, 1].map(|measure| Self::objects(&self.found, measure, mean));
        (!j.is_empty()).then(|| (mean(&j) + mean(&f)) / 2.0)
    }

    pub(super) fn details(&self) -> serde_json::Value {
        json!({
            "video": self.name,
            "judged_frames": self.found.len(),
            "j": Self::objects(&self.found, 0, mean),
            "f": Self::objects(&self.found, 1, mean),
        })
    }
}

/// The figures over all videos.
pub(super) fn figures(videos: &[VideoScores]) -> Vec<Figure> {
    type Frames = fn(&VideoScores) -> &[Vec<[f64; 2]>];
    let found: Frames = |video| &video.found;
    let still: Frames = |video| &video.still;
    let over = |drawn: &[usize], frames: Frames, measure: usize, of: Of| {
        let objects = drawn
            .iter()
            .flat_map(|&i| VideoScores::objects(frames(&videos[i]), measure, of));
        let objects: Vec<f64> = objects.collect();
        (!objects.is_empty()).then(|| mean(&objects))
    };
    let both = |drawn: &[usize], frames: Frames| {
        let [j, f] = [0, 1].map(|measure| over(drawn, frames, measure, mean));
        Some((j? + f?) / 2.0)
    };
    let all: Vec<usize> = (0..videos.len()).collect();
    let figure = |name: &str, value: &(dyn Fn(&[usize]) -> Option<f64> + Sync)| {
        Figure::share(name, value(&all).unwrap_or(0.0))
            .with_interval(bootstrap(videos.len(), value))
    };
    let objects = videos.iter().filter_map(|video| video.found.first());
    vec![
        figure("J&F", &|drawn| both(drawn, found)),
        figure("J", &|drawn| over(drawn, found, 0, mean)),
        figure("F", &|drawn| over(drawn, found, 1, mean)),
        figure("J recall", &|drawn| over(drawn, found, 0, recall)),
        figure("F recall", &|drawn| over(drawn, found, 1, recall)),
        figure("J&F of the first mask", &|drawn| both(drawn, still)).baseline(),
        Figure::count("objects", objects.map(Vec::len).sum()),
        Figure::count("judged frames", videos.iter().map(|v| v.found.len()).sum()),
        Figure::count("videos", videos.len()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(values: &[u8]) -> GrayImage {
        GrayImage::from_raw(values.len() as u32, 1, values.to_vec()).expect("a row")
    }

    #[test]
    fn the_only_value_is_the_object_and_255_beside_others_is_not_judged() {
        let one = Objects::of(&mask(&[0, 255, 255]));
        assert_eq!(one.count(), 1);
        assert_eq!(one.classes(&mask(&[255, 0, 7])), [1, 0, 0]);
        let two = Objects::of(&mask(&[0, 9, 255, 4]));
        assert_eq!(two.count(), 2);
        assert_eq!(two.classes(&mask(&[4, 9, 255])), [1, 2, 0]);
        // The last pixel is not judged, so object 4 is found exactly.
        let scores = two.judge(&mask(&[4, 0, 255]), &[1, 0, 1]);
        assert_eq!(scores[0], [1.0, 1.0]);
        assert_eq!(Objects::of(&mask(&[0, 0])).count(), 0);
    }

    #[test]
    fn every_object_has_the_same_weight_whatever_its_video() {
        let video = |found: Vec<Vec<[f64; 2]>>| VideoScores {
            still: found.clone(),
            found,
            name: String::new(),
        };
        let videos = [
            video(vec![vec![[1.0, 0.5]], vec![[0.5, 0.5]]]),
            video(vec![vec![[0.0, 0.1], [0.6, 0.9]]]),
        ];
        let figures = figures(&videos);
        let value = |name: &str| {
            let found = figures.iter().find(|figure| figure.name == name);
            found.expect("a figure").value
        };
        // J of the three objects: 0.75, 0, 0.6; F: 0.5, 0.1, 0.9.
        assert!((value("J") - 0.45).abs() < 1e-12 && (value("F") - 0.5).abs() < 1e-12);
        assert!((value("J&F") - 0.475).abs() < 1e-12);
        // Shares of frames above 0.5: 1/2, 0, 1.
        assert!((value("J recall") - 0.5).abs() < 1e-12);
        assert_eq!([value("objects"), value("judged frames")], [3.0, 3.0]);
    }
}
