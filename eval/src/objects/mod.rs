//! Data sets with boxes in three common layouts (YOLO text, VOC XML, COCO JSON), and with masks in four (COCO JSON, VOC,
//! PennFudan, the scenes of `densecl synth`).
//!
//! Every box is checked against the size of its picture, which is read from the header. An object is left out with a
//! warning if its box is outside, has no area or is no number, or if its class is unknown; too many of these are an
//! error (`account.rs`). A box may exceed an edge by one pixel of rounding, and is clipped.

mod account;
mod coco;
mod json;
mod label_maps;
mod shapes;
#[cfg(test)]
mod tests;
mod voc;
mod yaml;
mod yolo;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl::boxes::Rect;
use densecl::mask::Mask;
use densecl::metrics::Truth;

use super::split::{Roles, say_split, split};
use super::spread;
use account::Account;
use densecl_train::files::read_text;
use label_maps::LabelMaps;
use shapes::Shape;

/// How far in pixels a box may exceed the edges of its picture.
const ROUNDING: f64 = 1.0;

/// A picture and its objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Path of the picture.
    pub path: PathBuf,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// True boxes in pixels, inside the picture.
    pub truths: Vec<Truth>,
    /// The mask of each object, in their order; empty where only boxes were read.
    pub masks: Vec<Mask>,
}

/// A data set for detection.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Pictures to train on.
    pub train: Vec<Picture>,
    /// Validation pictures.
    pub val: Vec<Picture>,
    /// Name of the layout, for reports.
    pub layout: &'static str,
    /// Number of objects left out because they are invalid.
    pub left_out: usize,
}

/// The pictures found by the reader of a layout.
struct Found {
    classes: Vec<String>,
    train: Vec<Picture>,
    val: Vec<Picture>,
    /// Pictures that the data assigns neither to training nor to validation.
    open: Vec<Picture>,
    /// What the parts are called, and which of them is judged.
    roles: Roles,
}

impl Objects {
    /// Reads the data set in `folder`; the layout is recognised by its files and folders.
    ///
    /// # Errors
    /// For the first file that is missing or wrong; also when more than a tenth of the objects are invalid, and when
    /// there is nothing to train on or nothing to detect.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        if !folder.is_dir() {
            bail!("{shown} is not a folder: give one with images and boxes");
        }
        let mut account = Account::default();
        let (layout, found) = if let Some(annotations) = voc::recognise(folder) {
            ("VOC XML", voc::read(folder, &annotations, &mut account)?)
        } else if yolo::recognise(folder) {
            ("YOLO text", yolo::read(folder, &mut account)?)
        } else {
            let annotations = coco::recognise(folder)?;
            if annotations.is_empty() {
                bail!(
                    "{shown}: no boxes found; expected images/ beside labels/*.txt and classes.txt or data.yaml \
                     (YOLO), JPEGImages/ beside Annotations/*.xml (VOC), annotations/*.json (COCO), or \
                     train/_annotations.coco.json (Roboflow)"
                )
            }
            let found = coco::read::<serde::de::IgnoredAny>(&annotations, &mut account)?;
            ("COCO JSON", found)
        };
        Self::checked(folder, layout, found, account)
    }

    /// Reads the data set in `folder` with a mask for each object.
    ///
    /// # Errors
    /// As [`Self::read`]; also for a mask that does not have the size of its picture.
    pub fn read_with_masks(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        if !folder.is_dir() {
            bail!("{shown} is not a folder: give one with images and masks");
        }
        let mut account = Account::default();
        let (layout, found) = if let Some(maps) = LabelMaps::of(folder) {
            (maps.name(), maps.read(folder)?)
        } else {
            let annotations = coco::recognise(folder)?;
            if annotations.is_empty() {
                bail!(
                    "{shown}: no masks found; expected annotations/*.json (COCO), JPEGImages/ beside \
                     SegmentationObject/ and SegmentationClass/ (VOC), PNGImages/ beside PedMasks/ (PennFudan), or the \
                     output of `densecl synth`"
                )
            }
            let found = coco::read::<Shape>(&annotations, &mut account)?;
            ("COCO JSON", found)
        };
        Self::checked(folder, layout, found, account)
    }

    /// Divides the pictures that have no part, and checks that there is something to learn and to find.
    fn checked(
        folder: &Path,
        layout: &'static str,
        found: Found,
        account: Account,
    ) -> anyhow::Result<Self> {
        let shown = folder.display();
        let left_out = account.close(folder)?;
        let Found {
            classes,
            mut train,
            mut val,
            open,
            roles,
        } = found;
        if train.is_empty() && val.is_empty() {
            (train, val) = split(open, 0);
            say_split(folder);
        } else if !open.is_empty() {
            bail!(
                "{}: neither for training nor for validation, while others are; put every picture \
                 into a folder or list of one of them",
                open[0].path.display()
            );
        }
        roles.say(folder);
        for (part, pictures) in [("training", &train), ("validation", &val)] {
            if pictures.is_empty() {
                bail!(
                    "{shown}: no pictures for {part}: add some, or leave out the parts to have them split"
                );
            }
            let counts = |t: &Truth| !t.crowd && !t.difficult;
            if !pictures.iter().any(|p| p.truths.iter().any(counts)) {
                bail!(
                    "{shown}: the pictures for {part} have no object to find: add boxes, or other pictures"
                );
            }
        }
        Ok(Self {
            classes,
            train,
            val,
            layout,
            left_out,
        })
    }

    /// At most `limit` pictures of each part, spread evenly.
    pub fn limited(self, limit: Option<usize>) -> Self {
        Self {
            train: spread(self.train, limit),
            val: spread(self.val, limit),
            ..self
        }
    }
}

/// Checks and clips a box of a picture of `size`; `what` describes the object in messages, such as `line 3`.
fn checked(rect: Rect, size: [u32; 2], what: &str) -> anyhow::Result<Rect> {
    let [width, height] = size.map(f64::from);
    let Rect { x0, y0, x1, y1 } = rect;
    let shown = || format!("{what}: the box from ({x0:.1}, {y0:.1}) to ({x1:.1}, {y1:.1})");
    if ![x0, y0, x1, y1].iter().all(|v| v.is_finite()) {
        bail!("{what}: a coordinate is not a number");
    }
    let outside = |low: f64, high: f64, end: f64| low < -ROUNDING || high > end + ROUNDING;
    if outside(x0, x1, width) || outside(y0, y1, height) {
        bail!(
            "{} reaches outside its picture of {width} x {height}",
            shown()
        );
    }
    let inside = rect.clipped(width, height);
    if x1 <= x0 || y1 <= y0 || inside.area() <= 0.0 {
        bail!("{} has no area", shown());
    }
    Ok(inside)
}

/// Width and height, read from the picture's header.
fn picture_size(path: &Path) -> anyhow::Result<[u32; 2]> {
    let (width, height) = densecl_train::data::decode::dimensions(path)
        .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
    Ok([width, height])
}

/// The files in `folder` whose names end in `extension`, sorted, without hidden ones.
fn files_in(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("{} cannot be read", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let hidden = path.file_name().is_some_and(|name| {
            let name = name.as_encoded_bytes();
            name.starts_with(b".")
        });
        let fits = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case(extension));
        if fits && !hidden && path.is_file() {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads `classes.txt`, a name per line, in `folder` or its `labels`; `None` where there is none.
fn classes_file(folder: &Path) -> anyhow::Result<Option<(PathBuf, Vec<String>)>> {
    let places = [
        folder.join("classes.txt"),
        folder.join("labels/classes.txt"),
    ];
    let Some(path) = places.into_iter().find(|path| path.exists()) else {
        return Ok(None);
    };
    let text = read_text(&path)?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(ToString::to_string).collect();
    if names.is_empty() {
        bail!("{} names no class: write a name per line", path.display());
    }
    let mut seen = HashMap::new();
    for (line, name) in names.iter().enumerate() {
        if seen.insert(name, line).is_some() {
            bail!(
                "{}: the class {name} is there twice: remove one line",
                path.display()
            );
        }
    }
    Ok(Some((path, names)))
}
