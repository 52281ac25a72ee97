//! Pictures with boxes, from the three layouts that people have: YOLO text, VOC XML, COCO JSON.
//!
//! Every box is checked against its picture, whose size is read from its header. An object whose box lies
//! outside, has no area or is no number, or whose class is unknown, is left out and told; too many are an
//! error (`account.rs`). One pixel beyond an edge is rounding and is cut off.

mod account;
mod coco;
mod json;
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
use densecl::metrics::Truth;

use super::split::{Roles, say_split, split};
use super::spread;
use account::Account;
use densecl_train::files::read_text;

/// How far beyond the edges of its picture a box may reach, in pixels.
const ROUNDING: f64 = 1.0;

/// A picture and what is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its file.
    pub path: PathBuf,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// Boxes in pixels, inside the picture.
    pub truths: Vec<Truth>,
}

/// A data set for detection.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Pictures to train on.
    pub train: Vec<Picture>,
    /// Pictures to judge by.
    pub val: Vec<Picture>,
    /// Which layout it has, for the record.
    pub layout: &'static str,
    /// Objects left out because they are wrong.
    pub left_out: usize,
}

/// What a reader found.
struct Found {
    classes: Vec<String>,
    train: Vec<Picture>,
    val: Vec<Picture>,
    /// Pictures of which the data does not say what they are for.
    open: Vec<Picture>,
    /// What the parts are called, and which of them is judged.
    roles: Roles,
}

impl Objects {
    /// Reads the data set in `folder`; its layout is recognised by what is there.
    ///
    /// # Errors
    /// Naming the first file that is missing or wrong; also when more than a tenth of the objects are
    /// wrong, and when there is nothing to train on or nothing to find.
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
            ("COCO JSON", coco::read(&annotations, &mut account)?)
        };
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

/// A box as a file gives it, checked against its picture of `size`; `what` is the object in words,
/// such as `line 3`.
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

/// Width and height from a picture's header.
fn picture_size(path: &Path) -> anyhow::Result<[u32; 2]> {
    let (width, height) = densecl_train::data::decode::dimensions(path)
        .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
    Ok([width, height])
}

/// The files in `folder` whose names end in `extension`, sorted; hidden ones left out.
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

/// `classes.txt`, a name per line, in `folder` or in its `labels`; `None` where there is none.
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
