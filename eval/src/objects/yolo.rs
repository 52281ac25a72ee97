//! YOLO text: `images/**.jpg`, `labels/**.txt` with lines `class cx cy width height` relative to the picture size,
//! `classes.txt`. Folders below `images` whose names begin with train, val or test are the parts.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl::boxes::Rect;
use densecl::metrics::Truth;

use super::account::Account;
use super::{Found, Picture, checked, classes_file, picture_size};
use crate::split::Part;
use densecl_train::data::scan::Dataset;
use densecl_train::files::read_text;

pub(super) fn read(folder: &Path, account: &mut Account) -> anyhow::Result<Found> {
    let images = folder.join("images");
    let (_, classes) = classes_file(folder)?.with_context(|| {
        format!(
            "{} is missing: it names the classes of the labels, one per line",
            folder.join("classes.txt").display()
        )
    })?;
    let mut found = Found {
        classes,
        train: Vec::new(),
        val: Vec::new(),
        open: Vec::new(),
    };
    for path in Dataset::scan(&images)?.paths() {
        let below = path.strip_prefix(&images).unwrap_or(path);
        let picture = picture(
            path,
            &folder.join("labels").join(below),
            found.classes.len(),
            account,
        )?;
        let top = below
            .components()
            .next()
            .filter(|_| below.components().count() > 1);
        let part = top.and_then(|top| Part::of(&top.as_os_str().to_string_lossy()));
        let list = match part {
            Some(Part::Train) => &mut found.train,
            Some(Part::Val) => &mut found.val,
            None => &mut found.open,
        };
        list.push(picture);
    }
    Ok(found)
}

fn picture(
    path: &Path,
    label: &Path,
    classes: usize,
    account: &mut Account,
) -> anyhow::Result<Picture> {
    let label: PathBuf = label.with_extension("txt");
    if !label.exists() {
        bail!(
            "{} has no labels: {} is missing (a picture without objects has an empty file)",
            path.display(),
            label.display()
        );
    }
    let size = picture_size(path)?;
    let text = read_text(&label)?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let truths = lines.filter_map(|(number, line)| {
        let object = object(line, size, classes, &format!("line {}", number + 1));
        account.note(&label, object)
    });
    Ok(Picture {
        path: path.to_path_buf(),
        size,
        truths: truths.collect(),
    })
}

fn object(line: &str, size: [u32; 2], classes: usize, what: &str) -> anyhow::Result<Truth> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [class, rest @ ..] = fields.as_slice() else {
        bail!("{what} is empty")
    };
    let values: Option<Vec<f64>> = rest.iter().map(|field| field.parse().ok()).collect();
    let Some([cx, cy, w, h]) = values.as_deref() else {
        bail!("{what}: `{line}` is not `class cx cy width height`")
    };
    // Some programs write `3.0`.
    let number = class
        .parse()
        .ok()
        .filter(|n: &f64| n.fract() == 0.0 && (0.0..classes as f64).contains(n));
    let Some(class) = number.map(|n| n as usize) else {
        bail!(
            "{what}: class {class} is unknown, classes.txt names {classes} (0 to {})",
            classes - 1
        )
    };
    let [width, height] = size.map(f64::from);
    let (cx, cy, w, h) = (cx * width, cy * height, w * width, h * height);
    let rect = Rect::new(cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h);
    Ok(Truth::new(checked(rect, size, what)?, class))
}
