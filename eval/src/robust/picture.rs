//! The picture of the evaluation: some pictures as they are and after each attack, the difference magnified, and what
//! the classifier says of each.

use densecl::config::{Attack, Fraction};
use densecl::visualize::{side_by_side, stack_vertical};
use image::{Rgb, RgbImage, imageops};

use super::judge::{Attacked, Judged};
use super::{Kind, Pictures};
use crate::classify::labelled::Labelled;
use crate::spread;
use densecl_train::report::caption;

/// Pictures shown of each classifier.
const ROWS: usize = 4;
/// Side of a small picture in pixels.
const TILE: u32 = 128;
const GAP: u32 = 6;
const WHITE: Rgb<u8> = Rgb([255; 3]);

/// Some pictures that are classified rightly as they are, for each classifier; the first ones if there are none.
///
/// # Errors
/// When the font cannot be used.
pub(super) fn picture(
    set: &Labelled,
    pictures: &Pictures,
    attacks: &[Attack],
    judged: &[(Kind, Judged)],
) -> anyhow::Result<RgbImage> {
    let mut parts = Vec::new();
    for (kind, judged) in judged {
        let hit: Vec<usize> = (0..judged.right.len())
            .filter(|&i| judged.right[i])
            .collect();
        let shown = if hit.is_empty() {
            (0..judged.right.len().min(ROWS)).collect()
        } else {
            spread(hit, Some(ROWS))
        };
        let mut rows = Vec::new();
        for i in shown {
            rows.push(row(set, pictures, attacks, judged, i)?);
        }
        let width = rows.first().map_or(TILE, RgbImage::width);
        let text = format!(
            "{}: as it is · after each attack, beside δ from -ε (black) to ε (white)",
            kind.name()
        );
        parts.push(caption(&text, width)?);
        parts.extend(rows);
    }
    let parts: Vec<&RgbImage> = parts.iter().collect();
    Ok(stack_vertical(&parts, GAP, WHITE))
}

/// A picture as it is, and for each attack the perturbed picture and the perturbation.
fn row(
    set: &Labelled,
    pictures: &Pictures,
    attacks: &[Attack],
    judged: &Judged,
    i: usize,
) -> anyhow::Result<RgbImage> {
    let image = &pictures.images[i];
    let name = |class: usize| set.classes[class].as_str();
    let mut row = tile(image, name(judged.predicted[i]))?;
    for (attack, attacked) in attacks.iter().zip(&judged.attacked) {
        let epsilon = attack.epsilon as f32;
        let text = format!(
            "{}: {}",
            Fraction(attack.epsilon),
            name(attacked.predicted[i])
        );
        let delta = delta_of(attacked, i, image);
        let perturbed = recoloured(image, &delta, |value, delta| {
            f32::from(value) + 255.0 * delta
        });
        row = side_by_side(&row, &tile(&perturbed, &text)?, GAP).0;
        let difference = recoloured(image, &delta, |_, delta| 127.5 + 127.5 * delta / epsilon);
        row = side_by_side(&row, &tile(&difference, "δ")?, GAP).0;
    }
    Ok(row)
}

/// δ [3, H, W] of a picture; 0 where it was not attacked.
fn delta_of(attacked: &Attacked, i: usize, image: &RgbImage) -> Vec<f32> {
    let zeros = || vec![0.0; image.as_raw().len()];
    attacked.deltas[i].clone().unwrap_or_else(zeros)
}

/// A picture of `value` of each value of `image` and its δ.
fn recoloured(image: &RgbImage, delta: &[f32], value: impl Fn(u8, f32) -> f32) -> RgbImage {
    let (width, height) = image.dimensions();
    let plane = (width * height) as usize;
    RgbImage::from_fn(width, height, |x, y| {
        let at = (y * width + x) as usize;
        let pixel = image.get_pixel(x, y);
        Rgb([0, 1, 2].map(|channel| {
            let value = value(pixel[channel], delta[channel * plane + at]);
            value.round().clamp(0.0, 255.0) as u8
        }))
    })
}

/// A picture enlarged without smoothing, above a text.
fn tile(image: &RgbImage, text: &str) -> anyhow::Result<RgbImage> {
    let enlarged = imageops::resize(image, TILE, TILE, imageops::FilterType::Nearest);
    Ok(stack_vertical(
        &[&enlarged, &caption(text, TILE)?],
        0,
        WHITE,
    ))
}
