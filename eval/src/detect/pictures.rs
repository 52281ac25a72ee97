//! The detector's inputs: pictures padded to squares of one size, so that any fit into a batch, and their features,
//! computed once where the backbone is frozen.

use burn::tensor::Tensor;
use densecl::boxes::{Detection, Rect};
use densecl::interpolate::taps;
use densecl::mask::Mask;
use image::{RgbImage, imageops};

use super::Settings;
use crate::PADDING;
use crate::backbone::Backbone;
use crate::objects::Picture;
use crate::stream::stream;
use densecl_train::data::decode::{DecodeLimits, decode};

/// Upper limit of the memory for features; if they need more, they are computed again for each use.
const CACHE_BYTES: usize = 2 << 30;

/// The placement of a picture on its square.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placement {
    /// Width and height of the picture on the square, at its upper left corner.
    pub(super) content: [f64; 2],
    /// Pixels on the square per pixel on disk, along x and y.
    scale: [f64; 2],
    /// Whether the picture is mirrored left to right.
    mirrored: bool,
    /// Side of the square in pixels.
    side: f64,
}

impl Placement {
    /// The objects used as training targets, in pixels of the square: all except crowds.
    pub(super) fn objects(&self, picture: &Picture) -> Vec<(Rect, usize)> {
        let single = picture.truths.iter().filter(|truth| !truth.crowd);
        let placed = single.map(|truth| {
            let rect = truth.rect.scaled(self.scale[0], self.scale[1]);
            let mirrored = rect.mirrored(self.content[0]);
            (if self.mirrored { mirrored } else { rect }, truth.class)
        });
        placed.collect()
    }

    /// The mask of the `object`-th of [`Self::objects`] on the square, 1 inside and 0 outside, in [rows, columns] cells
    /// over the square: the pixel at each cell's centre.
    ///
    /// # Panics
    /// When the picture has no masks.
    pub(super) fn mask(
        &self,
        picture: &Picture,
        object: usize,
        [rows, columns]: [usize; 2],
    ) -> Vec<f32> {
        let single = picture.truths.iter().zip(&picture.masks);
        let mut single = single.filter(|(truth, _)| !truth.crowd);
        let (_, mask) = single.nth(object).expect("a mask for each object");
        let pixels = mask.pixels();
        let [width, height] = picture.size.map(|side| side as usize);
        let at = |i: usize| {
            let x = ((i % columns) as f64 + 0.5) * self.side / columns as f64;
            let y = ((i / columns) as f64 + 0.5) * self.side / rows as f64;
            let x = if self.mirrored {
                self.content[0] - x
            } else {
                x
            };
            if x < 0.0 || x >= self.content[0] || y >= self.content[1] {
                return 0.0;
            }
            let column = ((x / self.scale[0]) as usize).min(width - 1);
            let row = ((y / self.scale[1]) as usize).min(height - 1);
            f32::from(u8::from(pixels[row * width + column]))
        };
        (0..rows * columns).map(at).collect()
    }

    /// The mask on disk, of a picture that is not mirrored, from logits in [rows, columns] cells over the square: the
    /// pixels at which their bilinear interpolation is above 0.
    pub(super) fn mask_on_disk(
        &self,
        logits: &[f32],
        [rows, columns]: [usize; 2],
        size: [u32; 2],
    ) -> Mask {
        let axis = |pixels: u32, scale: f64, cells: usize| -> Vec<(usize, usize, f32)> {
            let at = |pixel: u32| (f64::from(pixel) + 0.5) * scale * cells as f64 / self.side;
            (0..pixels)
                .map(|pixel| taps(at(pixel) as f32, cells))
                .collect()
        };
        let across = axis(size[0], self.scale[0], columns);
        let down = axis(size[1], self.scale[1], rows);
        let mut inside = Vec::with_capacity(across.len() * down.len());
        for &(top, bottom, v) in &down {
            let [top, bottom] = [top, bottom].map(|row| &logits[row * columns..][..columns]);
            inside.extend(across.iter().map(|&(left, right, u)| {
                let along = |row: &[f32]| row[left] + (row[right] - row[left]) * u;
                let upper = along(top);
                upper + (along(bottom) - upper) * v > 0.0
            }));
        }
        Mask::from_pixels(&inside, size)
    }

    /// Converts a detection on the square of a picture that is not mirrored to pixels on disk.
    pub(super) fn on_disk(&self, found: Detection) -> Detection {
        let rect = found.rect.scaled(1.0 / self.scale[0], 1.0 / self.scale[1]);
        Detection { rect, ..found }
    }
}

/// Decodes a picture and scales it so that its longer side fills a square of `size` pixels.
///
/// # Errors
/// When it cannot be decoded.
pub(super) fn open(
    picture: &Picture,
    size: u32,
    mirrored: bool,
) -> anyhow::Result<(RgbImage, Placement)> {
    let mut image = decode(&picture.path, &DecodeLimits::default())
        .map_err(|reason| anyhow::anyhow!("{}: {reason}", picture.path.display()))?;
    if mirrored {
        imageops::flip_horizontal_in_place(&mut image);
    }
    let (width, height) = image.dimensions();
    let factor = f64::from(size) / f64::from(width.max(height));
    let fit = |side: u32| ((f64::from(side) * factor).round() as u32).clamp(1, size);
    let (w, h) = (fit(width), fit(height));
    let resized = imageops::resize(&image, w, h, imageops::FilterType::Triangle);
    let mut square = RgbImage::from_pixel(size, size, PADDING);
    imageops::replace(&mut square, &resized, 0, 0);
    let placement = Placement {
        content: [f64::from(w), f64::from(h)],
        scale: [
            f64::from(w) / f64::from(width),
            f64::from(h) / f64::from(height),
        ],
        mirrored,
        side: f64::from(size),
    };
    Ok((square, placement))
}

/// Frozen features of pictures [1, C, h, w], each with its placement.
pub(super) struct Features {
    kept: Vec<(Tensor<4>, Placement)>,
    /// 2 when each picture is followed by its mirrored version, else 1.
    each: usize,
}

impl Features {
    /// Computes and stores the features; `None` if they do not fit into memory.
    ///
    /// # Errors
    /// When a picture cannot be decoded.
    pub(super) fn keep(
        backbone: &Backbone,
        pictures: &[Picture],
        settings: &Settings,
        with_mirrored: bool,
    ) -> anyhow::Result<Option<Self>> {
        let look = settings.look;
        let each = if with_mirrored { 2 } else { 1 };
        let one = backbone.features(&[RgbImage::new(look.size, look.size)], look.feature);
        let bytes = one.shape().num_elements() * size_of::<f32>() * each * pictures.len();
        if bytes > CACHE_BYTES {
            return Ok(None);
        }
        let mut kept = Vec::with_capacity(each * pictures.len());
        stream(
            backbone,
            look.feature,
            each * pictures.len(),
            "features",
            |i| open(&pictures[i / each], look.size, i % each == 1),
            |_, placement, map| {
                kept.push((map, placement));
                Ok(())
            },
        )?;
        Ok(Some(Self { kept, each }))
    }

    /// The features of one picture.
    pub(super) fn of(&self, picture: usize, mirrored: bool) -> &(Tensor<4>, Placement) {
        &self.kept[picture * self.each + usize::from(mirrored)]
    }
}

#[cfg(test)]
mod tests {
    use densecl::metrics::Truth;
    use image::Rgb;

    use super::*;

    #[test]
    fn boxes_follow_their_picture_to_the_square_and_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.png");
        // A white picture with a black box.
        let inside = |x: u32, y: u32| (10..30).contains(&x) && (20..40).contains(&y);
        let picture =
            RgbImage::from_fn(100, 50, |x, y| Rgb([if inside(x, y) { 0 } else { 255 }; 3]));
        picture.save(&path).expect("written");
        let rect = Rect::new(10.0, 20.0, 30.0, 40.0);
        let picture = Picture {
            path,
            size: [100, 50],
            truths: vec![Truth::new(rect, 3)],
            masks: vec![Mask::from_pixels(
                &(0..5000)
                    .map(|i| inside(i % 100, i / 100))
                    .collect::<Vec<_>>(),
                [100, 50],
            )],
        };
        for mirrored in [false, true] {
            let (square, placement) = open(&picture, 64, mirrored).expect("decoded");
            assert_eq!(square.dimensions(), (64, 64));
            assert_eq!(placement.content, [64.0, 32.0]);
            assert_eq!(square.get_pixel(5, 60), &PADDING);
            let [(placed, class)] = placement.objects(&picture)[..] else {
                panic!("one object")
            };
            assert_eq!(class, 3);
            let [x, y] = placed.center();
            assert_eq!(
                square.get_pixel(x as u32, y as u32),
                &Rgb([0; 3]),
                "{placed:?}"
            );
            assert_eq!(
                square.get_pixel(placed.x1 as u32 + 2, y as u32),
                &Rgb([255; 3])
            );
            let found = Detection {
                rect: placed,
                class,
                score: 1.0,
            };
            // The mask is where the box is, and as logits it comes back but for half a cell at its edges.
            let cells = placement.mask(&picture, 0, [32, 32]);
            let covered = (0..1024).filter(|&i| cells[i] > 0.0).all(|i| {
                let [x, y] = [i % 32, i / 32].map(|at| 2.0 * at as f64 + 1.0);
                placed.x0 < x && x < placed.x1 && placed.y0 < y && y < placed.y1
            });
            assert!(covered && cells.iter().sum::<f32>() >= 36.0);
            if !mirrored {
                let logits: Vec<f32> = cells.iter().map(|inside| inside - 0.5).collect();
                let back = placement.mask_on_disk(&logits, [32, 32], [100, 50]);
                assert!(back.iou(&picture.masks[0]) > 0.75);
                assert!(placement.on_disk(found).rect.iou(&rect) > 1.0 - 1e-9);
            }
        }
    }
}
