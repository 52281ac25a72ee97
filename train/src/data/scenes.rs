//! Writes scenes of the embedded generator as files.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use densecl::synthetic::{CLASS_NAMES, Correspondence, Frame, SceneConfig, scene_pair};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use rayon::prelude::*;

use crate::files::write_atomically;
use crate::npy;
use crate::watch::Watch;

/// Visible pixels from which on an object gets a box.
const LEAST_PIXELS: u32 = 16;

/// Writes `count` scene pairs under `out`:
///
/// - `images/00000_a.png`, `_b.png`: the two views;
/// - `labels/00000_a.png`, `_b.png`: class index per pixel, names in `classes.txt`;
/// - `labels/00000_a.txt`, `_b.txt`: a box per object as YOLO text, `class cx cy width height` relative
///   to the picture; objects of which less than 16 pixels are seen have none;
/// - `instances/…`: object number per pixel, 0 = background;
/// - `correspondence/00000_ab.npy`, `_ba.npy`: float32 [height, width, 2], the (x, y) in the other
///   view of each pixel's point, pixel centres at +0.5; NaN where it is not visible there.
///
/// # Errors
/// When `out` cannot be written to or holds other files, or a setting is out of range.
pub fn write_scenes(
    out: &Path,
    count: usize,
    seed: u64,
    config: &SceneConfig,
    watch: &dyn Watch,
) -> anyhow::Result<()> {
    config.validate().map_err(|e| anyhow::anyhow!("--{e}"))?;
    if count == 0 {
        bail!("--count 0: must be at least 1");
    }
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} is not empty: give a new folder with --out",
            out.display()
        );
    }
    for folder in ["images", "labels", "instances", "correspondence"] {
        let path = out.join(folder);
        fs::create_dir_all(&path)
            .with_context(|| format!("{} cannot be made, choose another --out", path.display()))?;
    }
    write_atomically(
        &out.join("classes.txt"),
        (CLASS_NAMES.join("\n") + "\n").as_bytes(),
    )?;

    let gauge = watch.begin("scenes", count as u64);
    (0..count).into_par_iter().try_for_each(|i| {
        let pair = scene_pair(seed, i as u64, config);
        for (name, frame) in [("a", &pair.a), ("b", &pair.b)] {
            write_frame(out, &format!("{i:05}_{name}.png"), frame)?;
            let path = out.join("labels").join(format!("{i:05}_{name}.txt"));
            write_atomically(&path, yolo(frame).as_bytes())?;
        }
        for (name, map) in [("ab", &pair.a_to_b), ("ba", &pair.b_to_a)] {
            let path = out
                .join("correspondence")
                .join(format!("{i:05}_{name}.npy"));
            write_atomically(&path, &npy(map))?;
        }
        gauge.advance(1);
        anyhow::Ok(())
    })
}

fn write_frame(out: &Path, name: &str, frame: &Frame) -> anyhow::Result<()> {
    let (width, height) = frame.image.dimensions();
    let pictures = [
        ("images", frame.image.as_raw(), ExtendedColorType::Rgb8),
        ("labels", frame.labels.as_raw(), ExtendedColorType::L8),
        ("instances", frame.instances.as_raw(), ExtendedColorType::L8),
    ];
    for (folder, pixels, color) in pictures {
        let path = out.join(folder).join(name);
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(pixels, width, height, color)
            .with_context(|| format!("encoding {}", path.display()))?;
        write_atomically(&path, &bytes)?;
    }
    Ok(())
}

/// The boxes as YOLO text: a line per object.
fn yolo(frame: &Frame) -> String {
    let (width, height) = frame.image.dimensions();
    let lines = frame
        .objects(LEAST_PIXELS)
        .into_iter()
        .map(|(rect, class)| {
            let relative = rect.scaled(1.0 / f64::from(width), 1.0 / f64::from(height));
            let [x, y] = relative.center();
            let (w, h) = (relative.x1 - relative.x0, relative.y1 - relative.y0);
            format!("{class} {x:.6} {y:.6} {w:.6} {h:.6}\n")
        });
    lines.collect()
}

/// The position of each pixel's point in the other view; NaN where it is not visible.
fn npy(map: &Correspondence) -> Vec<u8> {
    let mut bytes = npy::header(&[map.height as usize, map.width as usize, 2]);
    for (target, visible) in map.target.iter().zip(&map.visible) {
        let [x, y] = if *visible { *target } else { [f32::NAN; 2] };
        bytes.extend(x.to_le_bytes());
        bytes.extend(y.to_le_bytes());
    }
    bytes
}
