//! Draws label maps in colours.

use image::{Rgb, RgbImage};

/// The colour of a class in Pascal VOC's colour map, in which neighbouring indices have distinct colours.
///
/// Bits 0, 3 and 6 of the index become the highest bits of red, bits 1, 4 and 7 those of green, bits 2
/// and 5 those of blue. Class 0 is black, 255 (no class) a pale grey.
pub fn class_color(class: u8) -> Rgb<u8> {
    let mut color = [0u8; 3];
    for bit in 0..8 {
        let (channel, level) = (bit % 3, bit / 3);
        color[channel] |= (class >> bit & 1) << (7 - level);
    }
    Rgb(color)
}

/// One colour per pixel of a row-major label map.
///
/// # Panics
/// When there are not exactly `width` · `height` labels.
pub fn paint_labels(labels: &[u8], width: u32, height: u32) -> RgbImage {
    assert_eq!(labels.len(), (width * height) as usize, "a label per pixel");
    RgbImage::from_fn(width, height, |x, y| {
        class_color(labels[(y * width + x) as usize])
    })
}
