//! Draws detections and true boxes on some validation pictures.

use densecl::boxes::Rect;
use densecl::metrics::Scene;
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

/// Draws some pictures that contain objects, with the true boxes and the best detections.
///
/// # Errors
/// When one cannot be decoded.
pub(super) fn picture(objects: &Objects, scenes: &[Scene]) -> anyhow::Result<RgbImage> {
    let pairs: Vec<(&Picture, &Scene)> = objects.val.iter().zip(scenes).collect();
    let with_objects = pairs
        .into_iter()
        .filter(|(_, scene)| !scene.truths.is_empty());
    let tiles: Vec<RgbImage> = spread(with_objects.collect(), Some(SHOWN))
        .into_iter()
        .map(|(picture, scene)| tile(objects, picture, scene))
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

fn tile(objects: &Objects, picture: &Picture, scene: &Scene) -> anyhow::Result<RgbImage> {
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
    for truth in &scene.truths {
        outline(&mut image, &place(&truth.rect), TRUTH, 3);
    }
    for found in best.iter().rev() {
        outline(&mut image, &place(&found.rect), FOUND, 2);
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
