//! Text in pictures. The font is embedded, so that it looks the same on every machine.

use anyhow::{Context, Result, anyhow};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use plotters::prelude::*;
use plotters::style::register_font;

/// The name under which the embedded font is registered with plotters.
pub(super) const FONT: &str = "densecl";

/// Rendered pixels per pixel of the result along each axis: anti-aliases the letters.
const OVERSAMPLING: u32 = 2;
/// Height in pixels of letters and of a line.
const LETTERS: u32 = 15;
const LINE: u32 = 22;

/// Registers the embedded font as [`FONT`].
pub(super) fn register() -> Result<()> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| anyhow!("the embedded font cannot be used"))
}

/// A line of dark text on white, `width` pixels wide; text that does not fit is cut off.
///
/// # Errors
/// When the embedded font cannot be used.
pub fn caption(text: &str, width: u32) -> Result<RgbImage> {
    draw(width, LINE, &[(text, [2, 3])])
}

/// Coloured squares with their names, on as many lines as needed for `width` pixels.
///
/// # Errors
/// When the embedded font cannot be used.
pub fn legend(entries: &[(Rgb<u8>, &str)], width: u32) -> Result<RgbImage> {
    /// Side of a square, and an upper limit of the average width of a letter.
    const SQUARE: u32 = 14;
    const LETTER: u32 = 8;
    let mut places = Vec::new();
    let (mut x, mut y) = (2, 0);
    for (_, name) in entries {
        let wide = SQUARE + 4 + name.chars().count() as u32 * LETTER + 12;
        if x + wide > width && x > 2 {
            (x, y) = (2, y + LINE);
        }
        places.push([x, y]);
        x += wide;
    }
    let texts: Vec<(&str, [u32; 2])> = entries
        .iter()
        .zip(&places)
        .map(|((_, name), [x, y])| (*name, [x + SQUARE + 4, y + 3]))
        .collect();
    let mut picture = draw(width, y + LINE, &texts)?;
    for ((color, _), [x, y]) in entries.iter().zip(&places) {
        let square = RgbImage::from_pixel(SQUARE, SQUARE, *color);
        imageops::replace(&mut picture, &square, i64::from(*x), i64::from(y + 4));
    }
    Ok(picture)
}

/// Draws texts; positions are (x, y) of the upper left corner.
fn draw(width: u32, height: u32, texts: &[(&str, [u32; 2])]) -> Result<RgbImage> {
    register()?;
    let large = [width, height].map(|side| side.max(1) * OVERSAMPLING);
    let mut buffer = vec![0u8; (large[0] * large[1] * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut buffer, large.into()).into_drawing_area();
        area.fill(&WHITE)?;
        let style = (FONT, (LETTERS * OVERSAMPLING) as i32)
            .into_text_style(&(0, 0))
            .color(&RGBColor(40, 40, 40));
        for (text, place) in texts {
            let [x, y] = place.map(|at| (at * OVERSAMPLING) as i32);
            area.draw_text(text, &style, (x, y))?;
        }
        area.present()?;
    }
    let image = RgbImage::from_raw(large[0], large[1], buffer).context("a buffer of this size")?;
    Ok(imageops::resize(
        &image,
        width.max(1),
        height,
        FilterType::Triangle,
    ))
}
