//! Lists pairs of pictures with known correspondence in several layouts, and opens them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl::synthetic::{Correspondence, SceneConfig};
use image::RgbImage;

use super::fields::{read_disparity, read_flo, read_npy};
use super::key_points::{self, KeyPoints};
use super::spair;
use crate::scenes;
use densecl_train::data::decode::{DecodeLimits, decode};
use densecl_train::data::scan::{Pictures, is_clutter};
use densecl_train::files::read_text;
use densecl_train::held_out::held_out_scene;

/// Number of generated pairs where none is given.
const SCENES: usize = 64;

/// The files of a pair and of its truth. Only small tables are read into memory at this point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    /// Name in reports.
    pub(super) name: String,
    source: Source,
}

#[derive(Debug, Clone, PartialEq)]
enum Source {
    /// A generated pair, by its number.
    Scene(usize),
    Files {
        a: PathBuf,
        b: PathBuf,
        truth: TruthFile,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum TruthFile {
    Homography([f64; 9]),
    Points(KeyPoints),
    Flow(PathBuf),
    Npy(PathBuf),
    Disparity([PathBuf; 2]),
}

/// The decoded pictures, and the truth.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) a: RgbImage,
    pub(super) b: RgbImage,
    pub(super) truth: Truth,
}

/// The true positions in B of the points of A.
#[derive(Debug)]
pub(super) enum Truth {
    /// One per pixel.
    Field(Correspondence),
    /// A homography; pixel centres are at whole numbers, as in its file.
    Homography([f64; 9]),
    /// Only for some points.
    Points(KeyPoints),
}

impl Truth {
    /// The true position in B of the point (`x`, `y`) of A, both in continuous pixels; `None` where it is unknown,
    /// hidden or outside B, and for `Points`, which are read directly.
    pub(super) fn at(&self, [x, y]: [f32; 2], size_b: [u32; 2]) -> Option<[f32; 2]> {
        match self {
            Self::Field(field) => field.at(x, y),
            Self::Homography(h) => {
                let (x, y) = (f64::from(x) - 0.5, f64::from(y) - 0.5);
                let row = |i: usize| h[3 * i] * x + h[3 * i + 1] * y + h[3 * i + 2];
                let w = row(2);
                let point = [row(0) / w + 0.5, row(1) / w + 0.5];
                let inside = |axis: usize| (0.0..f64::from(size_b[axis])).contains(&point[axis]);
                (w > 0.0 && inside(0) && inside(1)).then(|| point.map(|v| v as f32))
            }
            Self::Points(_) => None,
        }
    }
}

/// Lists the pairs of `data`: `scenes` or `scenes:N`, a CSV file, a folder in one of the layouts of
/// docs/evaluation.md, or a folder of such folders.
///
/// # Errors
/// When there are none, or a file of truth cannot be used; one line that names it.
pub(super) fn find(data: &str) -> anyhow::Result<Vec<Pair>> {
    if let Some(count) = scenes::count(data, SCENES)? {
        let scene = |number| Pair {
            name: format!("scene {number}"),
            source: Source::Scene(number),
        };
        return Ok((0..count).map(scene).collect());
    }
    let path = Path::new(data);
    if path.is_file() {
        return key_points::csv(path);
    }
    if path.join(spair::ANNOTATIONS).is_dir() {
        return spair::pairs(path);
    }
    let mut pairs = in_folder(path)?;
    if pairs.is_empty() {
        for folder in entries(path)?.into_iter().filter(|entry| entry.is_dir()) {
            pairs.extend(in_folder(&folder)?);
        }
    }
    if pairs.is_empty() {
        bail!(
            "{data} holds no pairs with truth: expected 1.jpg … with H_1_2.txt …, im2.png with \
             disp2.png, images/ with flow/ or correspondence/, PairAnnotation/ (SPair-71k), or a CSV of key points"
        );
    }
    Ok(pairs)
}

impl Pair {
    /// Two pictures with key points.
    pub(super) fn of_points(name: String, [a, b]: [PathBuf; 2], points: KeyPoints) -> Self {
        let truth = TruthFile::Points(points);
        Self {
            name,
            source: Source::Files { a, b, truth },
        }
    }

    /// Decodes the pictures and reads the truth.
    ///
    /// # Errors
    /// When a file cannot be used or does not fit the others; one line that names it.
    pub(super) fn open(&self) -> anyhow::Result<Opened> {
        let (a, b, truth) = match &self.source {
            Source::Scene(number) => {
                let pair = held_out_scene(0, *number, &SceneConfig::default());
                return Ok(Opened {
                    a: pair.a.image,
                    b: pair.b.image,
                    truth: Truth::Field(pair.a_to_b),
                });
            }
            Source::Files { a, b, truth } => (a, b, truth),
        };
        let open = |path: &Path| {
            decode(path, &DecodeLimits::default())
                .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))
        };
        let (picture_a, picture_b) = (open(a)?, open(b)?);
        let size_b = picture_b.dimensions().into();
        let (truth, file) = match truth {
            TruthFile::Homography(h) => (Truth::Homography(*h), None),
            TruthFile::Points(points) => (Truth::Points(points.clone()), None),
            TruthFile::Flow(path) => (Truth::Field(read_flo(path, size_b)?), Some(path)),
            TruthFile::Npy(path) => (Truth::Field(read_npy(path, size_b)?), Some(path)),
            TruthFile::Disparity([left, right]) => {
                (Truth::Field(read_disparity(left, right)?), Some(left))
            }
        };
        if let (Truth::Field(field), Some(file)) = (&truth, file)
            && (field.width, field.height) != picture_a.dimensions()
        {
            bail!(
                "{} is for {} x {} pixels, but {} has {} x {}",
                file.display(),
                field.width,
                field.height,
                a.display(),
                picture_a.width(),
                picture_a.height()
            );
        }
        Ok(Opened {
            a: picture_a,
            b: picture_b,
            truth,
        })
    }
}

/// The entries of a folder, sorted.
pub(super) fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = || format!("{} cannot be listed as a folder of pairs", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if !path.file_name().is_some_and(is_clutter) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<Pair>> {
    let files = entries(folder)?;
    let beside = Pictures::in_folder(folder)?;
    let pair = |name: String, a: PathBuf, b: PathBuf, truth: TruthFile| Pair {
        name: format!("{} {name}", title(folder)),
        source: Source::Files { a, b, truth },
    };
    let mut pairs = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let number = name
            .strip_prefix("H_1_")
            .map(|rest| rest.strip_suffix(".txt").unwrap_or(rest));
        if let Some(number) = number {
            let (a, b) = (
                picture(&beside, "1", file)?,
                picture(&beside, number, file)?,
            );
            let h = TruthFile::Homography(homography(file)?);
            pairs.push(pair(format!("1-{number}"), a, b, h));
        }
    }
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    if let Some(left) = there("disp2.png") {
        let (a, b) = (
            picture(&beside, "im2", &left)?,
            picture(&beside, "im6", &left)?,
        );
        let truth = TruthFile::Disparity([left, folder.join("disp6.png")]);
        pairs.push(pair("2-6".to_string(), a, b, truth));
    }
    if let Some(flow) = there("flow10.flo") {
        let (a, b) = (
            picture(&beside, "frame10", &flow)?,
            picture(&beside, "frame11", &flow)?,
        );
        pairs.push(pair("10-11".to_string(), a, b, TruthFile::Flow(flow)));
    }
    let images = folder.join("images");
    for (below, ending) in [("flow", ".flo"), ("correspondence", "_ab.npy")] {
        let below = folder.join(below);
        if !below.is_dir() || !images.is_dir() {
            continue;
        }
        let pictures = Pictures::in_folder(&images)?;
        for file in entries(&below)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let Some(name) = name.strip_suffix(ending).map(str::to_string) else {
                continue;
            };
            let a = picture(&pictures, &format!("{name}_a"), &file)?;
            let b = picture(&pictures, &format!("{name}_b"), &file)?;
            let truth = match ending {
                ".flo" => TruthFile::Flow(file),
                _ => TruthFile::Npy(file),
            };
            pairs.push(pair(name, a, b, truth));
        }
    }
    Ok(pairs)
}

fn title(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The picture `stem` with one of the known extensions; `needed_by`, the file that refers to it, is named in the
/// error.
fn picture(pictures: &Pictures, stem: &str, needed_by: &Path) -> anyhow::Result<PathBuf> {
    let found = pictures.find(stem).map(Path::to_path_buf);
    found.with_context(|| {
        format!(
            "{} speaks of a picture that is not there: {} with .jpg, .png, .ppm or another known ending",
            needed_by.display(),
            pictures.folder().join(stem).display()
        )
    })
}

fn homography(path: &Path) -> anyhow::Result<[f64; 9]> {
    let text = read_text(path)?;
    let numbers: Option<Vec<f64>> = text
        .split_whitespace()
        .map(|word| word.parse().ok().filter(|v: &f64| v.is_finite()))
        .collect();
    let numbers: Option<[f64; 9]> = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.with_context(|| format!("{}: expected 3 x 3 numbers", path.display()))
}

#[cfg(test)]
mod tests;
