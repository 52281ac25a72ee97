//! Instances as pictures whose pixels are numbers of objects: VOC's `SegmentationObject`, PennFudan's `PedMasks`, and the
//! `instances` of `densecl synth`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl::mask::Mask;
use densecl::metrics::Truth;
use image::GrayImage;

use super::{Found, Picture, classes_file, picture_size};
use crate::segmentation::VOC;
use crate::split::Roles;
use densecl_train::data::index_png::read_index_png;
use densecl_train::data::scan::Pictures;
use densecl_train::files::read_text;

/// In VOC the border between objects, which belongs to none.
const BORDER: u8 = 255;
/// In scenes, objects of which fewer pixels are seen are left out, as `densecl synth` does for boxes.
const LEAST_SEEN: u64 = 16;

/// A layout of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LabelMaps {
    Voc,
    PennFudan,
    Scenes,
}

impl LabelMaps {
    /// The layout of a folder; `None` where it is another one.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let has = |name: &str| folder.join(name).is_dir();
        if has("SegmentationObject") {
            Some(Self::Voc)
        } else if has("PedMasks") {
            Some(Self::PennFudan)
        } else if has("instances") && has("images") && has("labels") {
            Some(Self::Scenes)
        } else {
            None
        }
    }

    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Voc => "VOC SegmentationObject",
            Self::PennFudan => "PennFudan",
            Self::Scenes => "scenes of densecl synth",
        }
    }

    /// Reads the pictures and their objects.
    ///
    /// # Errors
    /// One line with the file and the first thing that is wrong with it.
    pub(super) fn read(self, folder: &Path) -> anyhow::Result<Found> {
        match self {
            Self::Voc => voc(folder),
            Self::PennFudan => penn_fudan(folder),
            Self::Scenes => scenes(folder),
        }
    }
}

/// The objects of a map, in the order of their numbers; 0 is background. `class_of` gives the class of a number, or
/// `None` for an object to leave out.
fn objects(
    path: PathBuf,
    map: &GrayImage,
    mut class_of: impl FnMut(u8, &Mask) -> anyhow::Result<Option<usize>>,
) -> anyhow::Result<Picture> {
    let size = [map.width(), map.height()];
    let mut seen = [false; 256];
    map.as_raw()
        .iter()
        .for_each(|&number| seen[usize::from(number)] = true);
    let (mut truths, mut masks) = (Vec::new(), Vec::new());
    for number in (1..=u8::MAX).filter(|&number| seen[usize::from(number)]) {
        let inside: Vec<bool> = map.as_raw().iter().map(|&own| own == number).collect();
        let mask = Mask::from_pixels(&inside, size);
        if let Some(class) = class_of(number, &mask)?
            && let Some(rect) = mask.bounds()
        {
            truths.push(Truth {
                area: mask.area() as f64,
                ..Truth::new(rect, class)
            });
            masks.push(mask);
        }
    }
    Ok(Picture {
        path,
        size,
        truths,
        masks,
    })
}

/// A map of numbers that has the size of its picture.
fn map_for(picture: &Path, map: &Path) -> anyhow::Result<GrayImage> {
    let labels = read_index_png(map)?;
    let [width, height] = picture_size(picture)?;
    if labels.dimensions() != (width, height) {
        bail!(
            "{}: {} x {} pixels, but {} has {width} x {height}",
            map.display(),
            labels.width(),
            labels.height(),
            picture.display()
        );
    }
    Ok(labels)
}

/// The class of most pixels of a mask among those with a class.
fn commonest(labels: &GrayImage, mask: &Mask, has_class: impl Fn(u8) -> bool) -> Option<u8> {
    let mut counts = [0u32; 256];
    for (&label, inside) in labels.as_raw().iter().zip(mask.pixels()) {
        if inside && has_class(label) {
            counts[usize::from(label)] += 1;
        }
    }
    let most = counts.iter().max().copied().filter(|&most| most > 0)?;
    (0..=u8::MAX).find(|&label| counts[usize::from(label)] == most)
}

fn found(classes: Vec<String>, roles: Roles) -> Found {
    Found {
        classes,
        train: Vec::new(),
        val: Vec::new(),
        open: Vec::new(),
        roles,
    }
}

/// `JPEGImages/`, `SegmentationObject/`, `SegmentationClass/` and the lists `ImageSets/Segmentation/*.txt`.
fn voc(folder: &Path) -> anyhow::Result<Found> {
    let classes = match classes_file(folder)? {
        Some((_, classes)) => classes,
        // Class 0 is background.
        None => VOC[1..].iter().map(ToString::to_string).collect(),
    };
    let pictures = Pictures::below(&folder.join("JPEGImages"))?;
    let lists = folder.join("ImageSets").join("Segmentation");
    let names: Vec<String> = super::files_in(&lists, "txt")?
        .iter()
        .filter_map(|list| Some(list.file_stem()?.to_str()?.to_string()))
        .collect();
    let mut found = found(classes, Roles::of(&names));
    let Some((train, judged)) = found.roles.both() else {
        bail!(
            "{}: no lists train.txt and val.txt (or test.txt) of pictures",
            lists.display()
        );
    };
    let classes = found.classes.len();
    let read = |part: &str| -> anyhow::Result<Vec<Picture>> {
        let list = lists.join(format!("{part}.txt"));
        let text = read_text(&list)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let one = |name: &str| {
            let picture = pictures
                .find(name)
                .with_context(|| format!("{}: {name} is not in JPEGImages/", list.display()))?;
            let stem = picture.file_stem().unwrap_or_default();
            let png = Path::new(stem).with_extension("png");
            let numbers = folder.join("SegmentationObject").join(&png);
            let labels_path = folder.join("SegmentationClass").join(&png);
            let (map, labels) = (map_for(picture, &numbers)?, map_for(picture, &labels_path)?);
            objects(picture.to_path_buf(), &map, |number, mask| {
                if number == BORDER {
                    return Ok(None);
                }
                let label = commonest(&labels, mask, |label| label != 0 && label != BORDER);
                match label.map(|label| usize::from(label) - 1) {
                    Some(class) if class < classes => Ok(Some(class)),
                    Some(class) => bail!(
                        "{}: class {}, but there are {classes} classes",
                        labels_path.display(),
                        class + 1
                    ),
                    None => bail!(
                        "{}: object {number} has no class in {}",
                        numbers.display(),
                        labels_path.display()
                    ),
                }
            })
        };
        lines.map(one).collect()
    };
    (found.train, found.val) = (read(train)?, read(judged)?);
    Ok(found)
}

/// `PNGImages/X.png` and `PedMasks/X_mask.png`, one class, no parts.
fn penn_fudan(folder: &Path) -> anyhow::Result<Found> {
    let pictures = Pictures::below(&folder.join("PNGImages"))?;
    let mut found = found(vec!["pedestrian".to_string()], Roles::default());
    for picture in pictures.paths() {
        let stem = picture.file_stem().unwrap_or_default().to_string_lossy();
        let map = folder.join("PedMasks").join(format!("{stem}_mask.png"));
        let map = map_for(picture, &map)?;
        let one = objects(picture.clone(), &map, |_, _| Ok(Some(0)))?;
        found.open.push(one);
    }
    Ok(found)
}

/// The output of `densecl synth`. Both pictures of a pair are in the same part: the last quarter is judged.
fn scenes(folder: &Path) -> anyhow::Result<Found> {
    let classes = classes_file(folder)?;
    let (classes_path, classes) =
        classes.with_context(|| format!("{} has no classes.txt", folder.display()))?;
    let pictures = Pictures::below(&folder.join("images"))?;
    let mut found = found(classes, Roles::default());
    for picture in pictures.paths() {
        let name = Path::new(picture.file_name().unwrap_or_default()).with_extension("png");
        let map = map_for(picture, &folder.join("instances").join(&name))?;
        let labels = map_for(picture, &folder.join("labels").join(&name))?;
        let classes = found.classes.len();
        let one = objects(picture.clone(), &map, |_, mask| {
            if mask.area() < LEAST_SEEN {
                return Ok(None);
            }
            let class = commonest(&labels, mask, |_| true).map(usize::from);
            match class.filter(|&class| class < classes) {
                Some(class) => Ok(Some(class)),
                None => bail!(
                    "{} has a class that {} does not name",
                    folder.join("labels").join(&name).display(),
                    classes_path.display()
                ),
            }
        })?;
        found.train.push(one);
    }
    found.val = found.train.split_off(found.train.len() * 3 / 8 * 2);
    Ok(found)
}
