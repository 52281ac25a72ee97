//! Colour operations on RGB bytes, equal to PIL's to the last bit.
//!
//! PIL works on bytes: every operation rounds or truncates its result, and hue makes a round trip
//! through an HSV of bytes that loses colours. Float arithmetic on [0, 1], as in torchvision's
//! tensor path, gives other pictures. So each step here keeps the types of PIL's C code
//! (`Blend.c`, `Convert.c`), where some intermediate values are `float` and others `double`.

use image::RgbImage;

/// One operation of the colour jitter with its factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColorOp {
    /// See [`brightness`].
    Brightness(f64),
    /// See [`contrast`].
    Contrast(f64),
    /// See [`saturation`].
    Saturation(f64),
    /// See [`hue`].
    Hue(f64),
}

impl ColorOp {
    /// Applies the operation in place.
    pub fn apply(self, image: &mut RgbImage) {
        match self {
            Self::Brightness(factor) => brightness(image, factor),
            Self::Contrast(factor) => contrast(image, factor),
            Self::Saturation(factor) => saturation(image, factor),
            Self::Hue(turn) => hue(image, turn),
        }
    }
}

/// Blends with black: factor 0 is black, 1 the image itself, more is brighter.
pub fn brightness(image: &mut RgbImage, factor: f64) {
    blend_with_gray(image, 0, factor as f32);
}

/// Blends with a flat picture of the mean luma: factor 0 is that grey, 1 the image itself, more
/// has more contrast.
pub fn contrast(image: &mut RgbImage, factor: f64) {
    let pixels = rgb(image);
    if pixels.is_empty() {
        return;
    }
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(luma(pixel))).sum();
    let mean = (sum as f64 / pixels.len() as f64 + 0.5) as u8;
    blend_with_gray(image, mean, factor as f32);
}

/// Blends with the grayscale image: factor 0 is grayscale, 1 the image itself, more is more
/// colourful.
pub fn saturation(image: &mut RgbImage, factor: f64) {
    let factor = factor as f32;
    for pixel in rgb(image) {
        let gray = luma(*pixel);
        *pixel = pixel.map(|value| blend(gray, value, factor));
    }
}

/// Replaces every colour by its luma.
pub fn grayscale(image: &mut RgbImage) {
    for pixel in rgb(image) {
        *pixel = [luma(*pixel); 3];
    }
}

/// Turns the hue by `turn` of the colour circle (in [−0.5, 0.5]), with PIL's HSV of bytes between.
/// `turn` 0 is not the identity: the conversions to HSV and back round.
pub fn hue(image: &mut RgbImage, turn: f64) {
    // Truncated towards zero and wrapped to a byte, as C does.
    let shift = (turn * 255.0) as i32 as u8;
    // Sector of the colour circle and place inside it, for every hue after the shift.
    let circle: [(u8, f32); 256] = std::array::from_fn(|hue| {
        let sixths = f64::from((hue as u8).wrapping_add(shift)) * 6.0 / 255.0;
        (sixths as u8 % 6, (sixths - sixths.floor()) as f32)
    });
    let shares: [f32; 256] = std::array::from_fn(|byte| (byte as f64 / 255.0) as f32);
    for pixel in rgb(image) {
        let [hue, saturation, value] = hsv(*pixel);
        if saturation == 0 {
            *pixel = [value; 3];
            continue;
        }
        let (sector, place) = circle[usize::from(hue)];
        let share = shares[usize::from(saturation)];
        let scaled = |loss: f64| (f64::from(value) * (1.0 - loss) + 0.5) as u8;
        let low = scaled(f64::from(share));
        // PIL multiplies in double precision in even sectors, in single in odd ones.
        let middle = if sector % 2 == 0 {
            scaled(f64::from(share) * (1.0 - f64::from(place)))
        } else {
            scaled(f64::from(share * place))
        };
        *pixel = match sector {
            0 => [value, middle, low],
            1 => [middle, value, low],
            2 => [low, value, middle],
            3 => [low, middle, value],
            4 => [middle, low, value],
            _ => [value, low, middle],
        };
    }
}

/// Mirrors left to right.
pub fn flip(image: &mut RgbImage) {
    let width = image.width() as usize;
    if width > 0 {
        rgb(image).chunks_exact_mut(width).for_each(<[_]>::reverse);
    }
}

fn rgb(image: &mut RgbImage) -> &mut [[u8; 3]] {
    image.as_chunks_mut().0
}

/// PIL's luma: ITU-R 601-2 weights in 16-bit fixed point, rounded.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// PIL's blend of two bytes: single precision, truncated and clipped to a byte (`as` does both).
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    (from + factor * (to - from)) as u8
}

/// Blends every byte with the same grey: a table of the 256 results.
fn blend_with_gray(image: &mut RgbImage, gray: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| blend(gray, value as u8, factor));
    for value in image.iter_mut() {
        *value = table[usize::from(*value)];
    }
}

/// PIL's conversion to an HSV of bytes.
fn hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let max = r.max(g).max(b);
    let min = r.min(g).min(b);
    if max == min {
        return [0, 0, max];
    }
    let range = f32::from(max - min);
    let below_max = |value: u8| f32::from(max - value) / range;
    let sixths = if r == max {
        below_max(b) - below_max(g)
    } else if g == max {
        (2.0 + f64::from(below_max(r)) - f64::from(below_max(b))) as f32
    } else {
        (4.0 + f64::from(below_max(g)) - f64::from(below_max(r))) as f32
    };
    // Hues before red (negative) wrap to the end of the circle.
    let turns = f64::from(sixths) / 6.0 + 1.0;
    let hue = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
    let saturation = range / f32::from(max);
    [
        (f64::from(hue) * 255.0) as u8,
        (f64::from(saturation) * 255.0) as u8,
        max,
    ]
}
