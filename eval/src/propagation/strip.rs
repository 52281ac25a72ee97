//! Draws a video as a strip of frames with the masks over them.

use densecl::visualize::{class_color, side_by_side, stack_vertical};
use image::{Rgb, RgbImage, imageops};

use densecl_train::report::caption;

/// Frames of a strip, and the longer side in pixels of each.
const FRAMES: usize = 5;
const SIDE: u32 = 200;
const GAP: u32 = 4;

/// Some frames of a video, evenly spread, the first and the last among them.
#[derive(Debug, Clone)]
pub(super) struct Strip {
    /// The frames to draw.
    shown: Vec<usize>,
    next: usize,
    drawn: Option<RgbImage>,
}

impl Strip {
    /// An empty strip for a video of this many frames, at least two.
    pub(super) fn new(frames: usize) -> Self {
        let count = FRAMES.min(frames);
        let mut shown: Vec<usize> = (0..count)
            .map(|i| i * (frames - 1) / (count - 1).max(1))
            .collect();
        shown.dedup();
        Self {
            shown,
            next: 0,
            drawn: None,
        }
    }

    /// Adds the next frame, with a class for each of its pixels; 0 is background.
    pub(super) fn add(&mut self, picture: &RgbImage, classes: &[u8]) {
        let frame = self.next;
        self.next += 1;
        if !self.shown.contains(&frame) {
            return;
        }
        let mut painted = picture.clone();
        for (pixel, &class) in painted.pixels_mut().zip(classes) {
            if class > 0 {
                let color = class_color(class);
                *pixel = Rgb([0, 1, 2].map(|i| pixel.0[i] / 2 + color.0[i] / 2));
            }
        }
        let (width, height) = painted.dimensions();
        let scale = f64::from(SIDE) / f64::from(width.max(height));
        let side = |pixels: u32| ((f64::from(pixels) * scale).round() as u32).max(1);
        let filter = imageops::FilterType::Triangle;
        let small = imageops::resize(&painted, side(width), side(height), filter);
        self.drawn = Some(match self.drawn.take() {
            Some(before) => side_by_side(&before, &small, GAP).0,
            None => small,
        });
    }
}

/// The strips of the videos with the best and the worst figure.
#[derive(Debug, Clone, Default)]
pub(super) struct Extremes {
    best: Option<(f64, String, Strip)>,
    worst: Option<(f64, String, Strip)>,
}

impl Extremes {
    /// Adds a video with its J&F; without one it is not judged, and not drawn.
    pub(super) fn add(&mut self, name: &str, figure: Option<f64>, strip: Strip) {
        let Some(figure) = figure else {
            return;
        };
        let one = (figure, name.to_string(), strip);
        match &self.best {
            None => self.best = Some(one),
            Some((best, ..)) if figure > *best => {
                let before = self.best.replace(one);
                if self.worst.is_none() {
                    self.worst = before;
                }
            }
            Some(_)
                if self
                    .worst
                    .as_ref()
                    .is_none_or(|(worst, ..)| figure < *worst) =>
            {
                self.worst = Some(one);
            }
            Some(_) => {}
        }
    }

    /// Both strips, each under its name and figure.
    ///
    /// # Errors
    /// When the names cannot be drawn.
    pub(super) fn picture(&self) -> anyhow::Result<RgbImage> {
        let mut parts = Vec::new();
        for (title, one) in [("best", &self.best), ("worst", &self.worst)] {
            if let Some((figure, name, strip)) = one
                && let Some(drawn) = &strip.drawn
            {
                let text = format!("{title}: {name} · J&F {:.1} %", 100.0 * figure);
                parts.push(caption(&text, drawn.width())?);
                parts.push(drawn.clone());
            }
        }
        let parts: Vec<&RgbImage> = parts.iter().collect();
        Ok(stack_vertical(&parts, GAP, Rgb([255; 3])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_shows_both_ends_and_the_masks() {
        let mut strip = Strip::new(9);
        assert_eq!(strip.shown, [0, 2, 4, 6, 8]);
        let picture = RgbImage::from_pixel(40, 20, Rgb([200; 3]));
        for _ in 0..9 {
            strip.add(&picture, &[1; 800]);
        }
        let drawn = strip.drawn.expect("drawn");
        assert_eq!(drawn.dimensions(), (5 * SIDE + 4 * GAP, SIDE / 2));
        // Class 1 is dark red.
        assert_eq!(drawn.get_pixel(20, 20), &Rgb([164, 100, 100]));
        assert_eq!(Strip::new(3).shown, [0, 1, 2]);
    }

    #[test]
    fn the_best_and_the_worst_are_kept_in_any_order() {
        for order in [[0.2, 0.5, 0.9], [0.9, 0.5, 0.2], [0.5, 0.9, 0.2]] {
            let mut shown = Extremes::default();
            for figure in order {
                shown.add("v", Some(figure), Strip::new(3));
            }
            shown.add("not judged", None, Strip::new(3));
            let figure = |one: &Option<(f64, String, Strip)>| one.as_ref().map(|(f, ..)| *f);
            assert_eq!(
                (figure(&shown.best), figure(&shown.worst)),
                (Some(0.9), Some(0.2))
            );
        }
    }
}
