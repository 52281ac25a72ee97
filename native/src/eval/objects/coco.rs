//! COCO JSON: `annotations/*train*.json` and `*val*.json` (or `annotations.json`, `train.json`,
//! `val.json`), pictures by their `file_name` in the folder, in `images/`, or in the folder that the
//! name of the JSON ends with (`instances_train2017.json`: `train2017/`).

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use densecl::boxes::Rect;
use densecl::metrics::Truth;
use serde::Deserialize;

use super::{Found, Picture, checked, files_in, picture_size};
use crate::eval::split::Part;
use crate::files::read_at_most;

/// Longest file; COCO's train2017 takes 448 MB.
const MAX_BYTES: u64 = 2 << 30;

#[derive(Deserialize)]
struct Dataset {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<u64>,
    image_id: u64,
    category_id: u64,
    /// x, y, width, height.
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default)]
    iscrowd: u8,
}

/// An annotation file and what its pictures are for.
pub(super) struct Annotations {
    path: PathBuf,
    part: Option<Part>,
}

/// The annotation files; none if this is another layout.
///
/// # Errors
/// When the folder cannot be listed, or several files are there for one part.
pub(super) fn recognise(folder: &Path) -> anyhow::Result<Vec<Annotations>> {
    let mut files = files_in(folder, "json")?;
    let below = folder.join("annotations");
    if below.is_dir() {
        // Beside the instances COCO ships captions and key points.
        let all = files_in(&below, "json")?;
        let named = |name: &str| {
            let has = |path: &&PathBuf| stem(path).starts_with(name);
            all.iter().filter(has).cloned().collect::<Vec<_>>()
        };
        let instances = named("instances");
        files.extend(if instances.is_empty() { all } else { instances });
    }
    let part = |path: &Path| stem(path).split(['_', '-']).find_map(Part::of);
    let files = files.into_iter().map(|path| Annotations {
        part: part(&path),
        path,
    });
    let files: Vec<Annotations> = files.collect();
    for (i, file) in files.iter().enumerate() {
        if let Some(other) = files[..i].iter().find(|other| other.part == file.part) {
            bail!(
                "{} and {}: which of them? Leave one file for training and one for validation",
                other.path.display(),
                file.path.display()
            );
        }
    }
    Ok(files)
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

pub(super) fn read(folder: &Path, files: &[Annotations]) -> anyhow::Result<Found> {
    let mut found = Found {
        classes: Vec::new(),
        train: Vec::new(),
        val: Vec::new(),
        open: Vec::new(),
    };
    for Annotations { path, part } in files {
        let (classes, pictures) =
            read_file(folder, path).with_context(|| path.display().to_string())?;
        if found.classes.is_empty() {
            found.classes = classes;
        } else if found.classes != classes {
            bail!(
                "{}: its categories are not those of {}",
                path.display(),
                files[0].path.display()
            );
        }
        match part {
            Some(Part::Train) => found.train = pictures,
            Some(Part::Val) => found.val = pictures,
            None => found.open = pictures,
        }
    }
    Ok(found)
}

fn read_file(folder: &Path, path: &Path) -> anyhow::Result<(Vec<String>, Vec<Picture>)> {
    let bytes = read_at_most(path, MAX_BYTES)?;
    let mut data: Dataset = serde_json::from_slice(&bytes).context("not COCO's JSON")?;
    drop(bytes);
    data.categories.sort_by_key(|category| category.id);
    let class_of: HashMap<u64, usize> = data.categories.iter().map(|c| c.id).zip(0..).collect();
    if class_of.len() < data.categories.len() {
        bail!("two categories have the same id");
    }
    let mut pictures = Vec::with_capacity(data.images.len());
    let mut index = HashMap::new();
    for image in &data.images {
        let path = locate(folder, path, &image.file_name)?;
        if index.insert(image.id, pictures.len()).is_some() {
            bail!("two images have the id {}", image.id);
        }
        pictures.push(Picture {
            size: picture_size(&path)?,
            path,
            truths: Vec::new(),
        });
    }
    for (number, annotation) in data.annotations.iter().enumerate() {
        let what = match annotation.id {
            Some(id) => format!("annotation {id}"),
            None => format!("annotation number {}", number + 1),
        };
        let Some(&picture) = index.get(&annotation.image_id) else {
            bail!(
                "{what}: there is no image with the id {}",
                annotation.image_id
            )
        };
        let Some(&class) = class_of.get(&annotation.category_id) else {
            bail!(
                "{what}: there is no category with the id {}",
                annotation.category_id
            )
        };
        let picture: &mut Picture = &mut pictures[picture];
        let [x, y, w, h] = annotation.bbox;
        let rect = checked(Rect::new(x, y, x + w, y + h), picture.size, &what)?;
        let area = annotation
            .area
            .filter(|area| area.is_finite() && *area > 0.0);
        picture.truths.push(Truth {
            rect,
            class,
            area: area.unwrap_or(rect.area()),
            crowd: annotation.iscrowd == 1,
            difficult: false,
        });
    }
    let classes = data.categories.into_iter().map(|category| category.name);
    Ok((classes.collect(), pictures))
}

/// Where an image of the file `json` lies.
fn locate(folder: &Path, json: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if name.is_empty() || !Path::new(name).components().all(inside) {
        bail!("file_name `{name}` leads out of the folder");
    }
    let stem = stem(json);
    let last = stem.rsplit('_').next().unwrap_or_default();
    let places = [
        folder.join(name),
        folder.join("images").join(name),
        folder.join(last).join(name),
        folder.join("images").join(last).join(name),
    ];
    let found = places.iter().find(|path| path.is_file()).cloned();
    found.with_context(|| format!("{} is missing", places[0].display()))
}
