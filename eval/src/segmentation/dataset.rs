//! Data sets with a class per pixel: lists the pictures of several layouts, and opens them.

mod classes;
mod lists;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl::metrics::IGNORE;
use image::{GrayImage, RgbImage};

use crate::split::Roles;
use crate::spread;
use classes::CITYSCAPES;
pub(crate) use classes::VOC;
use densecl_train::data::decode::{DecodeLimits, decode};
use densecl_train::data::index_png::read_index_png;
use densecl_train::data::scan::{Pictures, pictures_below, with_extension_in_any_case};
use densecl_train::files::read_text;
use lists::{all, list_names, read_split};

/// A labelled picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) image: PathBuf,
    pub(crate) label: PathBuf,
}

/// A data set and its two splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dataset {
    /// Names of the classes; a label is an index into them, or 255.
    pub classes: Vec<String>,
    pub train: Vec<Sample>,
    pub test: Vec<Sample>,
    /// Names of the splits, for reports.
    pub splits: [String; 2],
}

/// The splits for training and testing.
#[derive(Debug, Clone, Default)]
pub struct Splits {
    /// Training split; `None`: `train`.
    pub train: Option<String>,
    /// Test split; `None`: `val`, or `test` if there is no `val`, by the rule of all readers.
    pub test: Option<String>,
    /// Largest number of pictures of each split.
    pub limit: Option<usize>,
}

/// The folders of a layout.
struct Layout {
    root: PathBuf,
    images: PathBuf,
    labels: PathBuf,
    splits: PathBuf,
    /// Class names where there is no `classes.txt`.
    classes: &'static [&'static str],
}

impl Dataset {
    /// Finds the data set in `root`, in one of the layouts of docs/evaluation.md.
    ///
    /// # Errors
    /// One line with the file and the first thing that is wrong with it.
    pub(crate) fn open(root: &Path, splits: &Splits) -> anyhow::Result<Self> {
        if root.join("leftImg8bit").is_dir() {
            return cityscapes(root, splits);
        }
        let layout = layout(root)?;
        let classes = class_names(root, layout.classes)?;
        let pictures = Pictures::below(&layout.images)?;
        pictures.left_out().say(&layout.images);
        let roles = Roles::of(&list_names(&layout.splits));
        let has_lists = roles.train.is_some() || roles.judged.is_some();
        let (train, test, names) = if has_lists || splits.test.is_some() {
            let chosen = roles.with(splits.train.as_deref(), splits.test.as_deref());
            let train = chosen.train.clone().unwrap_or_else(|| "train".to_string());
            let test = chosen.judged.clone().unwrap_or_else(|| "test".to_string());
            let lists = (
                read_split(&layout, &pictures, &train)?,
                read_split(&layout, &pictures, &test)?,
            );
            chosen.say(root);
            (lists.0, lists.1, [train, test])
        } else {
            let mut train = all(&layout, &pictures)?;
            // An even number, because `densecl synth` writes two views of each scene, which must be in the same
            // split.
            let test = train.split_off(train.len() * 3 / 8 * 2);
            let names = ["the first 3/4", "the last 1/4"].map(str::to_string);
            (train, test, names)
        };
        Self {
            classes,
            train,
            test,
            splits: names,
        }
        .checked(root, splits.limit)
    }

    fn checked(self, root: &Path, limit: Option<usize>) -> anyhow::Result<Self> {
        for (samples, name) in [&self.train, &self.test].into_iter().zip(&self.splits) {
            if samples.is_empty() {
                bail!("{}: no pictures in the split {name}", root.display());
            }
        }
        Ok(Self {
            train: spread(self.train, limit),
            test: spread(self.test, limit),
            ..self
        })
    }
}

impl Sample {
    /// Opens the picture and its label map, of the same size, every label a class index or 255.
    ///
    /// # Errors
    /// One line with the file and the first thing that is wrong with it.
    pub(crate) fn open(&self, classes: usize) -> anyhow::Result<(RgbImage, GrayImage)> {
        let image = decode(&self.image, &DecodeLimits::default())
            .map_err(|reason| anyhow::anyhow!("{}: {reason}", self.image.display()))?;
        let labels = read_index_png(&self.label)?;
        let shown = self.label.display();
        if labels.dimensions() != image.dimensions() {
            bail!(
                "{shown}: {} x {} pixels, but {} has {} x {}",
                labels.width(),
                labels.height(),
                self.image.display(),
                image.width(),
                image.height()
            );
        }
        let beyond = |label: &u8| *label != IGNORE && usize::from(*label) >= classes;
        if let Some(at) = labels.as_raw().iter().position(beyond) {
            let width = labels.width() as usize;
            bail!(
                "{shown}: class {} at pixel ({}, {}), but there are {classes} classes: labels are \
                 0 to {} or 255 for none",
                labels.as_raw()[at],
                at % width,
                at / width,
                classes - 1
            );
        }
        Ok((image, labels))
    }
}

fn layout(root: &Path) -> anyhow::Result<Layout> {
    let voc = Layout {
        root: root.to_path_buf(),
        images: root.join("JPEGImages"),
        labels: root.join("SegmentationClass"),
        splits: root.join("ImageSets").join("Segmentation"),
        classes: &VOC,
    };
    let plain = Layout {
        root: root.to_path_buf(),
        images: root.join("images"),
        labels: root.join("labels"),
        splits: root.to_path_buf(),
        classes: &[],
    };
    for layout in [voc, plain] {
        if layout.images.is_dir() {
            if !layout.labels.is_dir() {
                bail!(
                    "{} has pictures, but there is no folder of labels {}",
                    layout.images.display(),
                    layout.labels.display()
                );
            }
            return Ok(layout);
        }
    }
    bail!(
        "{} is no labelled data set: expected images/ and labels/, or Pascal VOC's JPEGImages/ and \
         SegmentationClass/, or Cityscapes' leftImg8bit/ and gtFine/",
        root.display()
    )
}

fn class_names(root: &Path, usual: &[&str]) -> anyhow::Result<Vec<String>> {
    let path = root.join("classes.txt");
    if !path.is_file() && !usual.is_empty() {
        return Ok(usual.iter().map(ToString::to_string).collect());
    }
    let shown = path.display();
    let text = read_text(&path).context("the names of the classes, one a line, are needed")?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    if names.is_empty() || names.len() > usize::from(IGNORE) {
        bail!(
            "{shown}: {} lines; expected 1 to 255 class names",
            names.len()
        );
    }
    if let Some(empty) = names.iter().position(String::is_empty) {
        bail!("{shown}: line {} is empty: line i names class i", empty + 1);
    }
    Ok(names)
}

/// The picture with its label map, which has to be there.
fn labelled(image: PathBuf, label: &Path) -> anyhow::Result<Sample> {
    let Some(label) = with_extension_in_any_case(label) else {
        bail!(
            "{} has no label: there is no {}",
            image.display(),
            label.display()
        );
    };
    Ok(Sample { image, label })
}

fn cityscapes(root: &Path, splits: &Splits) -> anyhow::Result<Dataset> {
    const PICTURE: &str = "_leftImg8bit.png";
    const LABEL: &str = "_gtFine_labelTrainIds.png";
    let below = root.join("leftImg8bit");
    let context = || format!("{} cannot be read", below.display());
    let mut folders = Vec::new();
    for entry in fs::read_dir(&below).with_context(context)? {
        let name = entry.with_context(context)?.file_name();
        folders.push(name.to_string_lossy().into_owned());
    }
    let roles = Roles::of(&folders).with(splits.train.as_deref(), splits.test.as_deref());
    let names = [
        roles.train.clone().unwrap_or_else(|| "train".to_string()),
        roles.judged.clone().unwrap_or_else(|| "val".to_string()),
    ];
    let read = |name: &String| -> anyhow::Result<Vec<Sample>> {
        let (mut found, _) =
            pictures_below(&below.join(name)).with_context(|| format!("the split {name}"))?;
        found.sort_unstable();
        let mut samples = Vec::new();
        for path in found {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(stem) = file.strip_suffix(PICTURE) {
                let city = path.parent().and_then(Path::file_name);
                let label = root
                    .join("gtFine")
                    .join(name)
                    .join(city.unwrap_or_default())
                    .join(format!("{stem}{LABEL}"));
                samples.push(
                    labelled(path.clone(), &label)
                        .context("createTrainIdLabelImgs.py of cityscapesScripts makes them")?,
                );
            }
        }
        Ok(samples)
    };
    roles.say(root);
    Dataset {
        classes: class_names(root, &CITYSCAPES)?,
        train: read(&names[0])?,
        test: read(&names[1])?,
        splits: names,
    }
    .checked(root, splits.limit)
}
