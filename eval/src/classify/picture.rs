//! Pictures of the classification: nearest neighbours of some pictures, and the confusion matrix.

use densecl::boxes::Rect;
use densecl::metrics::in_top_k;
use densecl::visualize::{cells_to_image, outline, side_by_side, stack_vertical, viridis};
use image::{Rgb, RgbImage, imageops};

use super::labelled::{Labelled, Sample};
use crate::spread;
use densecl_train::report::caption;

/// Number of validation pictures shown, and of neighbours beside each.
const ROWS: usize = 6;
const NEIGHBOURS: usize = 5;
/// Side of a small picture in pixels.
const TILE: u32 = 128;
const GAP: u32 = 6;
/// Width and height in pixels of a row's label; rows of smaller height get no label.
const LABEL: [u32; 2] = [180, 22];
/// Okabe and Ito's bluish green and vermilion.
const RIGHT: Rgb<u8> = Rgb([0, 158, 115]);
const WRONG: Rgb<u8> = Rgb([213, 94, 0]);
const WHITE: Rgb<u8> = Rgb([255; 3]);

/// Indices of the most similar pictures, best first.
pub(super) fn best(similarity: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..similarity.len()).collect();
    order.sort_by(|a, b| similarity[*b].total_cmp(&similarity[*a]));
    order.truncate(NEIGHBOURS);
    order
}

/// Some validation pictures, each beside its nearest training pictures; the colour of a frame shows whether the
/// neighbour has the same class.
///
/// # Errors
/// When one cannot be decoded.
pub(super) fn neighbours(set: &Labelled, nearest: &[Vec<usize>]) -> anyhow::Result<RgbImage> {
    let all: Vec<(&Sample, &Vec<usize>)> = set.val.iter().zip(nearest).collect();
    let mut rows = Vec::new();
    for (sample, found) in spread(all, Some(ROWS)) {
        let mut row = tile(set, sample, None)?;
        for &other in found {
            let other = &set.train[other];
            let color = if other.class == sample.class {
                RIGHT
            } else {
                WRONG
            };
            row = side_by_side(&row, &tile(set, other, Some(color))?, GAP).0;
        }
        rows.push(row);
    }
    let rows: Vec<&RgbImage> = rows.iter().collect();
    Ok(stack_vertical(&rows, GAP, WHITE))
}

/// A square from the centre of the picture, framed, above the name of its class.
fn tile(set: &Labelled, sample: &Sample, frame: Option<Rgb<u8>>) -> anyhow::Result<RgbImage> {
    let image = sample.picture.open()?;
    let (width, height) = image.dimensions();
    let side = width.min(height);
    let (x, y) = ((width - side) / 2, (height - side) / 2);
    let square = imageops::crop_imm(&*image, x, y, side, side).to_image();
    let mut square = imageops::resize(&square, TILE, TILE, imageops::FilterType::Triangle);
    if let Some(color) = frame {
        let whole = Rect::new(0.0, 0.0, f64::from(TILE), f64::from(TILE));
        outline(&mut square, &whole, color, 4);
    }
    let name = caption(&set.classes[sample.class], TILE)?;
    Ok(stack_vertical(&[&square, &name], 0, WHITE))
}

/// The confusion matrix: a row for each true class, a column for each predicted one, coloured from
/// dark (never) to light (always).
///
/// # Errors
/// When the font cannot be used.
pub(super) fn confusion(set: &Labelled, scores: &[f64]) -> anyhow::Result<RgbImage> {
    let count = set.classes.len();
    let mut table = vec![0u32; count * count];
    for (row, sample) in scores.chunks_exact(count).zip(&set.val) {
        let predicted = (0..count)
            .find(|&class| in_top_k(row, class, 1))
            .unwrap_or(0);
        table[sample.class * count + predicted] += 1;
    }
    let colors: Vec<[u8; 3]> = table
        .chunks_exact(count)
        .flat_map(|row| {
            let sum = row.iter().sum::<u32>().max(1);
            row.iter().map(move |&n| viridis(n as f32 / sum as f32))
        })
        .collect();
    let cell = (480 / count as u32).max(1);
    let side = cell * count as u32;
    let mut matrix = cells_to_image(&colors, [count; 2], side, side, false);
    if cell >= LABEL[1] {
        let mut names = RgbImage::from_pixel(LABEL[0], side, WHITE);
        for (row, name) in (0..).zip(&set.classes) {
            let top = row * cell + (cell - LABEL[1]) / 2;
            let name = caption(name, LABEL[0])?;
            imageops::replace(&mut names, &name, 0, i64::from(top));
        }
        matrix = side_by_side(&matrix, &names, GAP).0;
    }
    let text = "rows: the true class · columns: the predicted one";
    let head = caption(text, matrix.width().max(360))?;
    Ok(stack_vertical(&[&head, &matrix], 0, WHITE))
}
