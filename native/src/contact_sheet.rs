//! Pictures in rows, each with a line of text below it.

use anyhow::Context;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use plotters::prelude::*;

use crate::font;

/// Pixels of a tile's picture, which is square.
const SIDE: u32 = 192;
/// Pixels between tiles and around them.
const GAP: u32 = 12;
/// Pixels below a picture for its text.
const CAPTION: u32 = 22;
/// Tiles in a row.
const COLUMNS: usize = 5;
/// Height of the text in pixels.
const TEXT: i32 = 15;

const INK: RGBColor = RGBColor(40, 40, 40);
/// What stands where there is no picture.
const MISSING: Rgb<u8> = Rgb([232, 232, 232]);

/// One place of the sheet.
pub(crate) struct Tile {
    /// A square; `None` for one that is gone.
    pub(crate) picture: Option<RgbImage>,
    /// Cut where it is wider than the picture.
    pub(crate) caption: String,
}

/// All of `tiles`, in their order.
///
/// # Errors
/// When the text cannot be drawn.
pub(crate) fn contact_sheet(tiles: &[Tile]) -> anyhow::Result<RgbImage> {
    font::register()?;
    let columns = tiles.len().clamp(1, COLUMNS) as u32;
    let rows = tiles.len().div_ceil(COLUMNS).max(1) as u32;
    let (width, height) = (
        GAP + columns * (SIDE + GAP),
        GAP + rows * (SIDE + CAPTION + GAP),
    );
    let place = |i: usize| {
        let (row, column) = ((i / COLUMNS) as u32, (i % COLUMNS) as u32);
        (
            GAP + column * (SIDE + GAP),
            GAP + row * (SIDE + CAPTION + GAP),
        )
    };
    let mut buffer = vec![0; (width * height * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut buffer, (width, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let style = (font::FONT, TEXT).into_text_style(&(0, 0)).color(&INK);
        for (i, tile) in tiles.iter().enumerate() {
            let (x, y) = place(i);
            let mut caption = tile.caption.clone();
            while area.estimate_text_size(&caption, &style)?.0 > SIDE && caption.pop().is_some() {}
            area.draw_text(&caption, &style, (x as i32, (y + SIDE + 4) as i32))?;
        }
        area.present()?;
    }
    let mut sheet =
        RgbImage::from_raw(width, height, buffer).context("a buffer of another size")?;
    for (i, tile) in tiles.iter().enumerate() {
        let picture = match &tile.picture {
            Some(picture) => imageops::resize(picture, SIDE, SIDE, FilterType::Triangle),
            None => RgbImage::from_pixel(SIDE, SIDE, MISSING),
        };
        let (x, y) = place(i);
        imageops::replace(&mut sheet, &picture, i64::from(x), i64::from(y));
    }
    Ok(sheet)
}
