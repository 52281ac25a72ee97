//! A contact sheet: pictures in rows, each with a line of text below it.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use densecl_train::report::caption;

/// Side in pixels of a tile's square picture.
const SIDE: u32 = 192;
/// Pixels between tiles and around them.
const GAP: u32 = 12;
/// Height in pixels of the text below a picture.
const CAPTION: u32 = 22;
/// Tiles per row.
const COLUMNS: usize = 5;

const BACKGROUND: Rgb<u8> = Rgb([255; 3]);
/// Colour of a missing picture.
const MISSING: Rgb<u8> = Rgb([232; 3]);

/// A picture on the sheet, with its text.
pub(super) struct Tile {
    /// A square picture; `None` if its file is missing.
    pub(super) picture: Option<RgbImage>,
    /// Cut off where it is wider than the picture.
    pub(super) caption: String,
}

/// Draws all `tiles` in their order.
///
/// # Errors
/// When the text cannot be drawn.
pub(super) fn contact_sheet(tiles: &[Tile]) -> anyhow::Result<RgbImage> {
    let [tile_width, tile_height] = [SIDE + GAP, SIDE + CAPTION + GAP];
    let columns = tiles.len().clamp(1, COLUMNS) as u32;
    let rows = tiles.len().div_ceil(COLUMNS) as u32;
    let (width, height) = (GAP + columns * tile_width, GAP + rows * tile_height);
    let mut sheet = RgbImage::from_pixel(width, height, BACKGROUND);
    for (i, tile) in tiles.iter().enumerate() {
        let (row, column) = ((i / COLUMNS) as u32, (i % COLUMNS) as u32);
        let (x, y) = (GAP + column * tile_width, GAP + row * tile_height);
        let picture = match &tile.picture {
            Some(picture) => imageops::resize(picture, SIDE, SIDE, FilterType::Triangle),
            None => RgbImage::from_pixel(SIDE, SIDE, MISSING),
        };
        imageops::replace(&mut sheet, &picture, i64::from(x), i64::from(y));
        let text = caption(&tile.caption, SIDE)?;
        imageops::replace(&mut sheet, &text, i64::from(x), i64::from(y + SIDE));
    }
    Ok(sheet)
}
