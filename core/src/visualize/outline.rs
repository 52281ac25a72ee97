//! Draws outlines of boxes.

use image::{Rgb, RgbImage};

use crate::boxes::Rect;

/// Draws the outline of `rect`, `thickness` pixels wide, along the inside of its edges. A box that reaches
/// beyond `image` is clipped first.
pub fn outline(image: &mut RgbImage, rect: &Rect, color: Rgb<u8>, thickness: u32) {
    let (width, height) = image.dimensions();
    let inside = rect.clipped(f64::from(width), f64::from(height));
    // A pixel belongs to the box when its centre does.
    let first = |edge: f64| (edge - 0.5).ceil().max(0.0) as u32;
    let (left, right) = (first(inside.x0), first(inside.x1).min(width));
    let (top, bottom) = (first(inside.y0), first(inside.y1).min(height));
    for y in top..bottom {
        for x in left..right {
            let edge = (x - left)
                .min(right - 1 - x)
                .min(y - top)
                .min(bottom - 1 - y);
            if edge < thickness {
                image.put_pixel(x, y, color);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_lies_on_the_edge_and_within_the_picture() {
        let mut image = RgbImage::new(10, 8);
        let ink = Rgb([255, 0, 0]);
        outline(&mut image, &Rect::new(1.0, 2.0, 5.0, 6.0), ink, 1);
        let drawn = image.pixels().filter(|p| **p == ink).count();
        assert_eq!(drawn, 12);
        assert_eq!(image.get_pixel(1, 2), &ink);
        assert_eq!(image.get_pixel(4, 5), &ink);
        assert_eq!(image.get_pixel(2, 3), &Rgb([0; 3]));
        // A box larger than the picture and an empty box do not panic.
        outline(&mut image, &Rect::new(-5.0, -5.0, 50.0, 50.0), ink, 2);
        outline(&mut image, &Rect::new(3.0, 3.0, 3.0, 3.0), ink, 2);
    }
}
