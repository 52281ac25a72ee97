//! Data sets with a class per pixel: lists the pictures of several layouts, and opens them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl::metrics::IGNORE;
use image::{GrayImage, RgbImage};
use walkdir::WalkDir;

use crate::spread;
use densecl_train::data::decode::{DecodeLimits, decode};
use densecl_train::data::index_png::read_index_png;
use densecl_train::data::scan::EXTENSIONS;
use densecl_train::files::read_text;

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
    /// Test split; `None`: `val`, or `test` if there is no `val`.
    pub test: Option<String>,
    /// Largest number of pictures of each split.
    pub limit: Option<usize>,
}

/// Pascal VOC's classes by index.
const VOC: [&str; 21] = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

/// Cityscapes' classes by train id.
const CITYSCAPES: [&str; 19] = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
];

/// The folders of a layout.
struct Layout {
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
        let (train, test, names) = if has_splits(&layout.splits) || splits.test.is_some() {
            let train = splits.train.clone().unwrap_or_else(|| "train".to_string());
            let test = match &splits.test {
                Some(name) => name.clone(),
                None if layout.splits.join("val.txt").is_file() => "val".to_string(),
                None => "test".to_string(),
            };
            (
                read_split(&layout, &train)?,
                read_split(&layout, &test)?,
                [train, test],
            )
        } else {
            let mut train = all(&layout)?;
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
        images: root.join("JPEGImages"),
        labels: root.join("SegmentationClass"),
        splits: root.join("ImageSets").join("Segmentation"),
        classes: &VOC,
    };
    let plain = Layout {
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

fn has_splits(folder: &Path) -> bool {
    ["train.txt", "val.txt", "test.txt"]
        .iter()
        .any(|name| folder.join(name).is_file())
}

fn read_split(layout: &Layout, name: &str) -> anyhow::Result<Vec<Sample>> {
    let path = layout.splits.join(format!("{name}.txt"));
    let text = read_text(&path).with_context(|| format!("the split {name}"))?;
    let lines = text
        .lines()
        .map(str::trim)
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut samples = Vec::new();
    for (number, line) in lines {
        let stem = EXTENSIONS
            .iter()
            .find_map(|extension| line.strip_suffix(&format!(".{extension}")))
            .unwrap_or(line);
        // A name in a split file must not lead out of the folder.
        if stem.starts_with(['/', '\\']) || stem.split(['/', '\\']).any(|part| part == "..") {
            bail!(
                "{}, line {}: {line} leads elsewhere",
                path.display(),
                number + 1
            );
        }
        let image = EXTENSIONS
            .map(|extension| layout.images.join(format!("{stem}.{extension}")))
            .into_iter()
            .find(|path| path.is_file());
        let image = image.with_context(|| {
            format!(
                "{}, line {}: there is no picture {line} in {}",
                path.display(),
                number + 1,
                layout.images.display()
            )
        })?;
        samples.push(labelled(image, layout.labels.join(format!("{stem}.png")))?);
    }
    if samples.is_empty() {
        bail!("{} names no pictures", path.display());
    }
    Ok(samples)
}

fn labelled(image: PathBuf, label: PathBuf) -> anyhow::Result<Sample> {
    if !label.is_file() {
        bail!(
            "{} has no label: there is no {}",
            image.display(),
            label.display()
        );
    }
    Ok(Sample { image, label })
}

/// All pictures of a data set without split files, sorted.
fn all(layout: &Layout) -> anyhow::Result<Vec<Sample>> {
    let folder = &layout.images;
    let mut samples = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let extension = path.extension().and_then(|e| e.to_str());
        if let (Some(stem), Some(extension)) = (path.file_stem(), extension)
            && EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str())
        {
            let mut label = stem.to_os_string();
            label.push(".png");
            let label = layout.labels.join(label);
            samples.insert(path.clone(), labelled(path, label)?);
        }
    }
    Ok(samples.into_values().collect())
}

fn cityscapes(root: &Path, splits: &Splits) -> anyhow::Result<Dataset> {
    const PICTURE: &str = "_leftImg8bit.png";
    const LABEL: &str = "_gtFine_labelTrainIds.png";
    let names = [
        splits.train.clone().unwrap_or_else(|| "train".to_string()),
        splits.test.clone().unwrap_or_else(|| "val".to_string()),
    ];
    let read = |name: &String| -> anyhow::Result<Vec<Sample>> {
        let folder = root.join("leftImg8bit").join(name);
        let mut samples = Vec::new();
        for entry in WalkDir::new(&folder).sort_by_file_name() {
            let entry = entry.with_context(|| format!("the split {name}"))?;
            let file = entry.file_name().to_string_lossy();
            if let Some(stem) = file.strip_suffix(PICTURE) {
                let city = entry.path().parent().and_then(Path::file_name);
                let label = root
                    .join("gtFine")
                    .join(name)
                    .join(city.unwrap_or_default())
                    .join(format!("{stem}{LABEL}"));
                samples.push(
                    labelled(entry.path().to_path_buf(), label)
                        .context("createTrainIdLabelImgs.py of cityscapesScripts makes them")?,
                );
            }
        }
        Ok(samples)
    };
    Dataset {
        classes: class_names(root, &CITYSCAPES)?,
        train: read(&names[0])?,
        test: read(&names[1])?,
        splits: names,
    }
    .checked(root, splits.limit)
}

#[cfg(test)]
mod tests;
