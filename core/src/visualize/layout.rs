//! Layout of pictures: enlarging, placing side by side, stacking, painting grids.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::interpolate::taps;

/// The colour of the gaps in [`side_by_side`].
const BACKGROUND: Rgb<u8> = Rgb([255, 255, 255]);

/// `image` enlarged by a whole factor with smooth interpolation; 1 and 0 give a copy.
pub fn enlarge(image: &RgbImage, scale: u32) -> RgbImage {
    if scale <= 1 {
        return image.clone();
    }
    resize(image, image.width() * scale, image.height() * scale)
}

/// Resizes with Catmull–Rom interpolation; an empty picture stays empty.
fn resize(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    if image.width() == 0 || image.height() == 0 {
        return RgbImage::new(width, height);
    }
    imageops::resize(image, width, height, FilterType::CatmullRom)
}

/// `a` and `b` next to each other with `gap` white pixels between, tops aligned.
///
/// Returns the picture and the offset `[x, y]` in pixels at which `b` begins.
pub fn side_by_side(a: &RgbImage, b: &RgbImage, gap: u32) -> (RgbImage, [u32; 2]) {
    let offset = [a.width() + gap, 0];
    let height = a.height().max(b.height());
    let mut canvas = RgbImage::from_pixel(offset[0] + b.width(), height, BACKGROUND);
    imageops::replace(&mut canvas, a, 0, 0);
    imageops::replace(&mut canvas, b, i64::from(offset[0]), 0);
    (canvas, offset)
}

/// The pictures one below the other with `gap` pixels of `background` between, left edges aligned.
pub fn stack_vertical(images: &[&RgbImage], gap: u32, background: Rgb<u8>) -> RgbImage {
    let width = images.iter().map(|image| image.width()).max().unwrap_or(0);
    let gaps = gap * (images.len() as u32).saturating_sub(1);
    let height = images.iter().map(|image| image.height()).sum::<u32>() + gaps;
    let mut canvas = RgbImage::from_pixel(width, height, background);
    let mut top = 0;
    for image in images {
        imageops::replace(&mut canvas, *image, 0, i64::from(top));
        top += image.height() + gap;
    }
    canvas
}

/// Paints one colour per cell of a row-major grid `[rows, cols]` over `width × height` pixels:
/// as flat cells, or bilinearly between cell centres when `smooth`.
///
/// # Panics
/// If the number of colours is not rows · cols, or the grid is empty.
pub fn cells_to_image(
    colors: &[[u8; 3]],
    grid: [usize; 2],
    width: u32,
    height: u32,
    smooth: bool,
) -> RgbImage {
    let [rows, cols] = grid;
    assert_eq!(
        colors.len(),
        rows * cols,
        "one colour per cell of a {rows} × {cols} grid"
    );
    assert!(!colors.is_empty(), "a grid needs at least one cell");
    RgbImage::from_fn(width, height, |x, y| {
        if smooth {
            let channel = |k: usize| {
                let value = |cell: usize| f32::from(colors[cell][k]);
                bilinear(value, grid, [width, height], [x, y]).round() as u8
            };
            Rgb([channel(0), channel(1), channel(2)])
        } else {
            let row = (y as usize * rows) / height as usize;
            let col = (x as usize * cols) / width as usize;
            Rgb(colors[row * cols + col])
        }
    })
}

/// The value of a grid at the centre of pixel `[x, y]` of a picture of `size` [width, height] pixels
/// that the grid covers; between cell centres bilinear, beyond the outermost ones constant.
pub(super) fn bilinear(
    value: impl Fn(usize) -> f32,
    grid: [usize; 2],
    size: [u32; 2],
    pixel: [u32; 2],
) -> f32 {
    let [rows, cols] = grid;
    let position =
        |axis: usize, cells: usize| (pixel[axis] as f32 + 0.5) * cells as f32 / size[axis] as f32;
    let (top, bottom, v) = taps(position(1, rows), rows);
    let (left, right, u) = taps(position(0, cols), cols);
    let lerp = |from: f32, to: f32, t: f32| from + (to - from) * t;
    lerp(
        lerp(value(top * cols + left), value(top * cols + right), u),
        lerp(value(bottom * cols + left), value(bottom * cols + right), u),
        v,
    )
}
