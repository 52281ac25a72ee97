//! Colour operations on RGB bytes, equal to PIL's to the last bit.
//!
//! PIL works on bytes: every operation rounds or truncates its result, and hue makes a round trip
//! through an HSV of bytes that loses colours. Float arithmetic on [0, 1], as in torchvision's
//! tensor path, gives different pictures. Each step here therefore keeps the types of PIL's C code
//! (`Blend.c`, `Convert.c`), where some intermediate values are `float` and others `double`.
//!
//! No loop branches on a pixel's value or reads a table, so that the compiler can vectorise all of them.

use multiversion::multiversion;

use super::planes::Planes;

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
    pub fn apply(self, planes: &mut Planes) {
        match self {
            Self::Brightness(factor) => brightness(planes, factor),
            Self::Contrast(factor) => contrast(planes, factor),
            Self::Saturation(factor) => saturation(planes, factor),
            Self::Hue(turn) => hue(planes, turn),
        }
    }
}

/// Blends with black: factor 0 gives black, 1 the image itself, more than 1 a brighter image.
pub fn brightness(planes: &mut Planes, factor: f64) {
    blend_with_gray(planes.bytes_mut(), 0, factor as f32);
}

/// Blends with a flat grey of the image's mean luma: factor 0 gives that grey, 1 the image itself, more
/// than 1 more contrast.
pub fn contrast(planes: &mut Planes, factor: f64) {
    let channels = planes.channels();
    let pixels = channels[0].len();
    if pixels == 0 {
        return;
    }
    let mean = (luma_sum(channels) as f64 / pixels as f64 + 0.5) as u8;
    blend_with_gray(planes.bytes_mut(), mean, factor as f32);
}

/// Blends with the grayscale image: factor 0 gives the grayscale image, 1 the image itself, more than 1
/// stronger colours.
pub fn saturation(planes: &mut Planes, factor: f64) {
    blend_with_luma(planes.channels_mut(), factor as f32);
}

/// Replaces every colour by its luma.
pub fn grayscale(planes: &mut Planes) {
    replace_by_luma(planes.channels_mut());
}

/// Turns the hue by `turn`, a fraction of the colour circle in [−0.5, 0.5], by way of PIL's HSV in bytes.
/// `turn` 0 is not the identity, because both conversions round to bytes.
pub fn hue(planes: &mut Planes, turn: f64) {
    // PIL's C code truncates towards zero and wraps to a byte.
    let shift = (turn * 255.0) as i32 as u8;
    shift_hue(planes.channels_mut(), shift);
}

/// Inverts every value of at least 128, as torchvision does on a PIL image with the threshold 128 (BYOL's).
pub fn solarize(planes: &mut Planes) {
    invert_bright(planes.bytes_mut());
}

/// Mirrors left to right.
pub fn flip(planes: &mut Planes) {
    let width = planes.width() as usize;
    if width > 0 {
        let rows = planes.bytes_mut().chunks_exact_mut(width);
        rows.for_each(<[_]>::reverse);
    }
}

/// PIL's luma: ITU-R 601-2 weights in 16-bit fixed point, rounded.
#[inline(always)]
fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// PIL's blend of two bytes: single precision, truncated and clipped to a byte.
#[inline(always)]
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    byte(from + factor * (to - from))
}

/// Truncates towards zero and clips to a byte. `value as u8` gives the same result, but the compiler does not
/// vectorise it.
#[inline(always)]
fn byte(value: f32) -> u8 {
    // The last bit of an `f32` between 2²³ and 2²⁴ stands for 1: after the addition the lowest byte of the
    // bit pattern is the integer.
    const UNITS: f32 = (1 << 23) as f32;
    (value.clamp(0.0, 255.0).floor() + UNITS).to_bits() as u8
}

/// Truncates a value in [0, 256) to a byte, in the way of [`byte`].
#[inline(always)]
fn byte_of_double(value: f64) -> u8 {
    const UNITS: f64 = (1u64 << 52) as f64;
    (value.floor() + UNITS).to_bits() as u8
}

#[multiversion(targets = "simd")]
fn blend_with_gray(values: &mut [u8], gray: u8, factor: f32) {
    for value in values {
        *value = blend(gray, *value, factor);
    }
}

#[multiversion(targets = "simd")]
fn blend_with_luma([red, green, blue]: [&mut [u8]; 3], factor: f32) {
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let gray = luma(*r, *g, *b);
        (*r, *g, *b) = (
            blend(gray, *r, factor),
            blend(gray, *g, factor),
            blend(gray, *b, factor),
        );
    }
}

#[multiversion(targets = "simd")]
fn replace_by_luma([red, green, blue]: [&mut [u8]; 3]) {
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let gray = luma(*r, *g, *b);
        (*r, *g, *b) = (gray, gray, gray);
    }
}

#[multiversion(targets = "simd")]
fn invert_bright(values: &mut [u8]) {
    for value in values {
        // 255 − v where v ≥ 128.
        *value = (*value).min(255 - *value);
    }
}

#[multiversion(targets = "simd")]
fn luma_sum([red, green, blue]: [&[u8]; 3]) -> u64 {
    // The sum of this many bytes fits into 32 bits.
    const RUN: usize = 1 << 16;
    let mut sum = 0;
    let runs = red.chunks(RUN).zip(green.chunks(RUN)).zip(blue.chunks(RUN));
    for ((red, green), blue) in runs {
        let pixels = red.iter().zip(green).zip(blue);
        let run: u32 = pixels.map(|((&r, &g), &b)| u32::from(luma(r, g, b))).sum();
        sum += u64::from(run);
    }
    sum
}

#[multiversion(targets = "simd")]
fn shift_hue([red, green, blue]: [&mut [u8]; 3], shift: u8) {
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        [*r, *g, *b] = with_hue_shifted(*r, *g, *b, shift);
    }
}

/// Converts a colour to PIL's HSV in bytes, adds `shift` to the hue modulo 256 and converts it back.
#[inline(always)]
fn with_hue_shifted(r: u8, g: u8, b: u8, shift: u8) -> [u8; 3] {
    let max = r.max(g).max(b);
    let min = r.min(g).min(b);
    let value = f32::from(max);
    let range = f32::from(max - min);
    // A grey has neither hue nor saturation; what is computed for it is not used.
    let divisor = if max == min { 1.0 } else { range };
    let below_max = |channel: u8| f32::from(max - channel) / divisor;
    let (r_below, g_below, b_below) = (below_max(r), below_max(g), below_max(b));
    let (start, plus, minus) = if r == max {
        (0.0, b_below, g_below)
    } else if g == max {
        (2.0, r_below, b_below)
    } else {
        (4.0, g_below, r_below)
    };
    let sixths = (start + f64::from(plus) - f64::from(minus)) as f32;
    // Hues before red (negative) wrap to the end of the circle.
    let turns = f64::from(sixths) / 6.0 + 1.0;
    let turns = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
    let hue = byte_of_double(f64::from(turns) * 255.0);
    let saturation = byte_of_double(f64::from(range / value.max(1.0)) * 255.0);

    // Back to RGB: which sixth of the colour circle the hue lies in, and where inside it, in [0, 1).
    let turned = 6 * u32::from(hue.wrapping_add(shift));
    let sector = turned / 255;
    let place = (turned - 255 * sector) as f32 / 255.0;
    let share = f32::from(saturation) / 255.0;
    let scaled = |loss: f64| byte_of_double(f64::from(value) * (1.0 - loss) + 0.5);
    let low = scaled(f64::from(share));
    // PIL multiplies in double precision in even sectors, in single in odd ones.
    let middle = scaled(if sector % 2 == 0 {
        f64::from(share) * (1.0 - f64::from(place))
    } else {
        f64::from(share * place)
    });
    // Sectors are numbered from 0. A hue of 255 gives sector 6 and place 0, which is the start of sector 0.
    let pick = |channels: [u8; 6]| {
        let [first, others @ ..] = channels;
        let numbered = (1u32..).zip(others);
        numbered.fold(
            first,
            |picked, (number, channel)| {
                if sector == number { channel } else { picked }
            },
        )
    };
    if max == min || saturation == 0 {
        [max; 3]
    } else {
        [
            pick([max, middle, low, low, middle, max]),
            pick([middle, max, max, middle, low, low]),
            pick([low, low, middle, max, max, middle]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PIL's conversion to an HSV of bytes, branch by branch as in `Convert.c`.
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

    /// PIL's conversion back to RGB, also branch by branch.
    fn rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
        if saturation == 0 {
            return [value; 3];
        }
        let sixths = f64::from(hue) * 6.0 / 255.0;
        let place = (sixths - sixths.floor()) as f32;
        let share = (f64::from(saturation) / 255.0) as f32;
        let scaled = |loss: f64| (f64::from(value) * (1.0 - loss) + 0.5) as u8;
        let low = scaled(f64::from(share));
        let falling = scaled(f64::from(share * place));
        let rising = scaled(f64::from(share) * (1.0 - f64::from(place)));
        match sixths as u8 % 6 {
            0 => [value, rising, low],
            1 => [falling, value, low],
            2 => [low, value, rising],
            3 => [low, falling, value],
            4 => [rising, low, value],
            _ => [value, low, falling],
        }
    }

    /// For all 2²⁴ colours the loop without branches gives the same bytes as PIL's code, which has branches.
    #[test]
    fn every_color_is_turned_as_pil_turns_it() {
        let colors = |red: u8| {
            image::RgbImage::from_fn(256, 256, |x, y| image::Rgb([red, x as u8, y as u8]))
        };
        for (turn, shift) in [(0.0, 0u8), (0.1, 25), (-0.07, 239), (0.5, 127)] {
            for red in 0..=255 {
                let source = colors(red);
                let mut planes = Planes::from_rgb(&source);
                hue(&mut planes, turn);
                let turned = planes.to_rgb();
                for (before, after) in source.pixels().zip(turned.pixels()) {
                    let [hue, saturation, value] = hsv(before.0);
                    let expected = rgb([hue.wrapping_add(shift), saturation, value]);
                    assert_eq!(after.0, expected, "{before:?} by {turn}");
                }
            }
        }
    }

    #[test]
    fn bright_values_are_inverted() {
        let mut values: Vec<u8> = (0..=255).collect();
        invert_bright(&mut values);
        for (value, found) in (0..=255u8).zip(values) {
            assert_eq!(found, if value < 128 { value } else { 255 - value });
        }
    }

    /// For all pairs of bytes a blend is truncated and clipped as Rust's conversion `as u8` does it.
    #[test]
    fn blends_are_truncated_and_clipped() {
        for factor in [0.0, 0.3, 0.6, 1.0, 1.37, 11.0] {
            for gray in 0..=255u8 {
                let mut values: [u8; 256] = std::array::from_fn(|value| value as u8);
                blend_with_gray(&mut values, gray, factor);
                for (value, found) in (0..=255u8).zip(values) {
                    let (from, to) = (f32::from(gray), f32::from(value));
                    assert_eq!(found, (from + factor * (to - from)) as u8);
                }
            }
        }
    }
}
