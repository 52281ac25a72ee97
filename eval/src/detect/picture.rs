//! Draws what was found and what is there on some validation pictures, as boxes or as masks.

use densecl::boxes::Rect;
use densecl::mask::Mask;
use densecl::metrics::{Scene, SceneMasks};
use densecl::visualize::{outline, side_by_side, stack_vertical};
use image::{Rgb, RgbImage, imageops};

use crate::objects::{Objects, Picture};
use crate::spread;
use densecl_train::data::decode::{DecodeLimits, decode};
use densecl_train::report::{caption, legend};

/// Number of pictures shown, and of columns.
const SHOWN: usize = 6;
const COLUMNS: usize = 3;
/// Width and height in pixels of the area of one picture.
const TILE: [u32; 2] = [320, 240];
const GAP: u32 = 8;
/// Number of drawn detections minus the number of true objects; the best detections are drawn.
const EXTRA: usize = 1;

/// Okabe and Ito's bluish green and vermilion, distinguishable with every kind of colour-blindness.
const TRUTH: Rgb<u8> = Rgb([0, 158, 115]);
const FOUND: Rgb<u8> = Rgb([213, 94, 0]);

/// Draws some pictures that contain objects, with the true objects and the best detections: their boxes, or their masks
/// where there are any.
///
/// # Errors
/// When one cannot be decoded.
pub(super) fn picture(
    objects: &Objects,
    scenes: &[Scene],
    masks: Option<&[SceneMasks]>,
) -> anyhow::Result<RgbImage> {
    let pairs: Vec<(&Picture, (usize, &Scene))> =
        objects.val.iter().zip(scenes.iter().enumerate()).collect();
    let with_objects = pairs
        .into_iter()
        .filter(|(_, (_, scene))| !scene.truths.is_empty());
    let tiles: Vec<RgbImage> = spread(with_objects.collect(), Some(SHOWN))
        .into_iter()
        .map(|(picture, (at, scene))| tile(objects, picture, scene, masks.map(|masks| &masks[at])))
        .collect::<anyhow::Result<_>>()?;
    let rows = tiles.chunks(COLUMNS).filter_map(|row| {
        let joined = row.iter().cloned();
        joined.reduce(|left, right| side_by_side(&left, &right, GAP).0)
    });
    let rows: Vec<RgbImage> = rows.collect();
    let width = rows.iter().map(|row| row.width()).max().unwrap_or(TILE[0]);
    let head = legend(&[(TRUTH, "there"), (FOUND, "found")], width)?;
    let parts: Vec<&RgbImage> = std::iter::once(&head).chain(&rows).collect();
    Ok(stack_vertical(&parts, GAP, Rgb([255; 3])))
}

fn tile(
    objects: &Objects,
    picture: &Picture,
    scene: &Scene,
    masks: Option<&SceneMasks>,
) -> anyhow::Result<RgbImage> {
    let image = decode(&picture.path, &DecodeLimits::default())
        .map_err(|reason| anyhow::anyhow!("{}: {reason}", picture.path.display()))?;
    let (width, height) = image.dimensions();
    let factor = [0, 1].map(|i| f64::from(TILE[i]) / f64::from([width, height][i]));
    let factor = factor[0].min(factor[1]);
    let fit = |side: u32| ((f64::from(side) * factor) as u32).max(1);
    let (w, h) = (fit(width), fit(height));
    let mut image = imageops::resize(&image, w, h, imageops::FilterType::Triangle);
    let place = |rect: &Rect| {
        rect.scaled(
            f64::from(w) / f64::from(width),
            f64::from(h) / f64::from(height),
        )
    };
    let best = &scene.found[..scene.found.len().min(scene.truths.len() + EXTRA)];
    if let Some(masks) = masks {
        for mask in &masks.truths {
            paint(&mut image, mask, TRUTH);
        }
        for mask in masks.found.iter().take(best.len()).rev() {
            paint(&mut image, mask, FOUND);
        }
    } else {
        for truth in &scene.truths {
            outline(&mut image, &place(&truth.rect), TRUTH, 3);
        }
        for found in best.iter().rev() {
            outline(&mut image, &place(&found.rect), FOUND, 2);
        }
    }
    let named = best.iter().map(|found| {
        let name = &objects.classes[found.class];
        format!("{name} {:.2}", found.score)
    });
    let named: Vec<String> = named.collect();
    let mut tile = RgbImage::from_pixel(TILE[0], TILE[1], Rgb([255; 3]));
    imageops::replace(&mut tile, &image, 0, 0);
    let text = caption(&named.join(" · "), TILE[0])?;
    Ok(stack_vertical(&[&tile, &text], 0, Rgb([255; 3])))
}

/// Tints the pixels of a mask in a picture that may be smaller than the mask's.
fn paint(image: &mut RgbImage, mask: &Mask, color: Rgb<u8>) {
    let pixels = mask.pixels();
    let [width, height] = mask.size();
    let (w, h) = image.dimensions();
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        let (column, row) = (x * width / w, y * height / h);
        if pixels[(row * width + column) as usize] {
            *pixel = Rgb([0, 1, 2].map(|i| pixel.0[i] / 2 + color.0[i] / 2));
        }
    }
}
