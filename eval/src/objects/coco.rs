//! COCO JSON: `annotations/*_train*.json` and `*_val*.json` (or `annotations.json`, `train.json`, `val.json`). A
//! picture's `file_name` is searched in the folder, in `images/`, and in the folder that the JSON's name ends with
//! (`train2017/` for `instances_train2017.json`). Roboflow's: a folder for each part, in which
//! `_annotations.coco.json` lies beside the pictures.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use densecl::boxes::Rect;
use densecl::mask::Mask;
use densecl::metrics::Truth;
use serde::Deserialize;

use super::account::Account;
use super::json::{self, Id, Loose, LooseList};
use super::shapes::Segmentation;
use super::{Found, Picture, checked, files_in, picture_size};
use crate::split::{Part, Roles, without_year};
use densecl_train::data::scan::with_extension_in_any_case;
use densecl_train::files::read_at_most;

/// What Roboflow calls the file of a part.
const ROBOFLOW: &str = "_annotations.coco.json";

/// Longest permitted file; COCO's train2017 has 448 MB.
const MAX_BYTES: u64 = 2 << 30;

/// The expected content, for the error about a file with another content.
const EXPECTED: &str = "an object with the lists `images`, `annotations` and `categories` is expected, as in \
                        instances_val2017.json";

/// All fields are optional here, so that the error about a missing one can give the number of its entry.
#[derive(Deserialize)]
#[serde(bound(deserialize = "S: Segmentation"))]
struct Dataset<S> {
    #[serde(default)]
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation<S>>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    id: Loose,
    #[serde(default)]
    file_name: Loose,
}

#[derive(Deserialize)]
struct Category {
    #[serde(default)]
    id: Loose,
    #[serde(default)]
    name: Loose,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "S: Segmentation"))]
struct Annotation<S> {
    #[serde(default)]
    id: Loose,
    #[serde(default)]
    image_id: Loose,
    #[serde(default)]
    category_id: Loose,
    /// x, y, width, height.
    #[serde(default)]
    bbox: LooseList,
    #[serde(default)]
    area: Loose,
    #[serde(default)]
    iscrowd: Loose,
    #[serde(default)]
    segmentation: S,
}

/// An annotation file and the part (training or validation) of its pictures.
pub(super) struct Annotations {
    path: PathBuf,
    /// What the part is called; none where the name tells none.
    part: Option<String>,
    /// The folder in which its pictures are looked for.
    folder: PathBuf,
}

/// The annotation files; empty if the folder has another layout.
///
/// # Errors
/// When the folder cannot be listed, or a part has several files.
pub(super) fn recognise(folder: &Path) -> anyhow::Result<Vec<Annotations>> {
    let mut files = files_in(folder, "json")?;
    let below = folder.join("annotations");
    if below.is_dir() {
        // COCO's folder also contains captions and key points.
        let all = files_in(&below, "json")?;
        let named = |name: &str| {
            let has = |path: &&PathBuf| stem(path).starts_with(name);
            all.iter().filter(has).cloned().collect::<Vec<_>>()
        };
        let instances = named("instances");
        files.extend(if instances.is_empty() { all } else { instances });
    }
    let files = files.into_iter().map(|path| Annotations {
        part: part_of(&path),
        path,
        folder: folder.to_path_buf(),
    });
    let mut files: Vec<Annotations> = files.collect();
    if files.is_empty() {
        files = roboflow(folder)?;
    }
    for (i, file) in files.iter().enumerate() {
        let part = |file: &Annotations| file.part.as_deref().and_then(Part::of);
        if let Some(other) = files[..i].iter().find(|other| part(other) == part(file)) {
            bail!(
                "{} and {}: which of them? Leave one file for training and one for validation",
                other.path.display(),
                file.path.display()
            );
        }
    }
    Ok(files)
}

/// A word of the file's name that is the name of a part: `instances_train2017.json` is of `train`.
fn part_of(path: &Path) -> Option<String> {
    let stem = stem(path);
    let mut words = stem.split(['_', '-', '.']).map(without_year);
    words
        .find(|word| Part::of(word).is_some())
        .map(str::to_string)
}

/// The files of Roboflow's layout, one in the folder of each part.
fn roboflow(folder: &Path) -> anyhow::Result<Vec<Annotations>> {
    let context = || format!("{} cannot be read", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let place = entry.with_context(context)?.path();
        let path = place.join(ROBOFLOW);
        let name = place.file_name().and_then(|name| name.to_str());
        let part = name.filter(|name| Part::of(name).is_some());
        if let (Some(part), true) = (part, path.is_file()) {
            files.push(Annotations {
                part: Some(part.to_string()),
                path,
                folder: place,
            });
        }
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Reads the files; the objects have masks where `S` reads them.
///
/// # Errors
/// For the first file that is missing or wrong; one line.
pub(super) fn read<S: Segmentation>(
    files: &[Annotations],
    account: &mut Account,
) -> anyhow::Result<Found> {
    let names: Vec<String> = files.iter().filter_map(|file| file.part.clone()).collect();
    let mut found = Found {
        classes: Vec::new(),
        train: Vec::new(),
        val: Vec::new(),
        open: Vec::new(),
        roles: Roles::of(&names),
    };
    let mut first: Option<&Path> = None;
    for file in files {
        let Annotations { path, part, folder } = file;
        let unused = |name: &String| found.roles.unused.contains(name);
        if part.as_ref().is_some_and(unused) {
            continue;
        }
        let (classes, pictures) =
            read_file::<S>(folder, path, account).with_context(|| path.display().to_string())?;
        match first {
            None => {
                found.classes = classes;
                first = Some(path);
            }
            Some(first) if found.classes != classes => bail!(
                "{}: its categories are not those of {}; make them the same",
                path.display(),
                first.display()
            ),
            Some(_) => {}
        }
        if part.is_none() {
            found.open = pictures;
        } else if *part == found.roles.train {
            found.train = pictures;
        } else {
            found.val = pictures;
        }
    }
    Ok(found)
}

fn read_file<S: Segmentation>(
    folder: &Path,
    path: &Path,
    account: &mut Account,
) -> anyhow::Result<(Vec<String>, Vec<Picture>)> {
    let data: Dataset<S> = json::read(read_at_most(path, MAX_BYTES)?, EXPECTED)?;
    let (classes, class_of) = categories(&data.categories)?;
    let mut pictures = Vec::with_capacity(data.images.len());
    let mut index = HashMap::new();
    for (number, image) in (1..).zip(&data.images) {
        let id = image.id.id();
        let id = id.with_context(|| format!("image number {number} has no `id`: give it one"))?;
        let Loose::Text(name) = &image.file_name else {
            bail!("the image {id} has no `file_name`: give it one, or remove the image");
        };
        let path = locate(folder, path, name)?;
        if index.insert(id.clone(), pictures.len()).is_some() {
            bail!("two images have the id {id}: remove one, or give it another id");
        }
        pictures.push(Picture {
            size: picture_size(&path)?,
            path,
            truths: Vec::new(),
            masks: Vec::new(),
        });
    }
    for (number, annotation) in (1..).zip(&data.annotations) {
        let truth = annotation.truth(number, &index, &class_of, &pictures);
        if let Some((picture, truth, mask)) = account.note(path, truth) {
            let picture: &mut Picture = &mut pictures[picture];
            picture.truths.push(truth);
            picture.masks.extend(mask);
        }
    }
    Ok((classes, pictures))
}

/// The names of the classes in the order of their ids, and the class index of each id.
fn categories(categories: &[Category]) -> anyhow::Result<(Vec<String>, HashMap<Id, usize>)> {
    if categories.is_empty() {
        bail!("it has no `categories`: {EXPECTED}");
    }
    let mut named = Vec::with_capacity(categories.len());
    for (number, category) in (1..).zip(categories) {
        let id = category.id.id();
        let id =
            id.with_context(|| format!("category number {number} has no `id`: give it one"))?;
        let name = match &category.name {
            Loose::Text(name) => name.clone(),
            _ => id.to_string(),
        };
        named.push((id, name));
    }
    named.sort_unstable();
    let class_of: HashMap<Id, usize> = named.iter().map(|(id, _)| id.clone()).zip(0..).collect();
    if class_of.len() < named.len() {
        bail!("two categories have the same id: give each its own");
    }
    Ok((named.into_iter().map(|(_, name)| name).collect(), class_of))
}

impl<S: Segmentation> Annotation<S> {
    /// The picture, the object and its mask of an annotation; `number` counts annotations from 1, for messages.
    fn truth(
        &self,
        number: usize,
        index: &HashMap<Id, usize>,
        class_of: &HashMap<Id, usize>,
        pictures: &[Picture],
    ) -> anyhow::Result<(usize, Truth, Option<Mask>)> {
        let what = match self.id.id() {
            Some(id) => format!("annotation {id}"),
            None => format!("annotation number {number}"),
        };
        let known = |name: &str, id: &Loose, ids: &HashMap<Id, usize>| {
            let Some(id) = id.id() else {
                bail!("{what} has no `{name}_id`");
            };
            let found = ids.get(&id).copied();
            found.with_context(|| format!("{what}: there is no {name} with the id {id}"))
        };
        let picture = known("image", &self.image_id, index)?;
        let class = known("category", &self.category_id, class_of)?;
        let numbers: Option<Vec<f64>> = self.bbox.0.iter().map(Loose::number).collect();
        let [x, y, w, h] = match numbers.as_deref() {
            Some(&[x, y, w, h]) => [x, y, w, h],
            Some([]) => bail!("{what} has no `bbox`"),
            _ => bail!("{what}: its `bbox` is not four numbers, x, y, width and height"),
        };
        let rect = checked(Rect::new(x, y, x + w, y + h), pictures[picture].size, &what)?;
        let area = self.area.number();
        let area = area.filter(|area| area.is_finite() && *area > 0.0);
        let truth = Truth {
            rect,
            class,
            area: area.unwrap_or(rect.area()),
            crowd: self.iscrowd.is_true(),
            difficult: false,
        };
        let mask = self.segmentation.mask(pictures[picture].size, &what)?;
        Ok((picture, truth, mask))
    }
}

/// Finds an image of the file `json`. Programs on Windows write `\` as separator.
fn locate(folder: &Path, json: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let slashes = name.replace('\\', "/");
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let names = [name, &slashes];
    if name.is_empty() || !names.iter().all(|n| Path::new(n).components().all(inside)) {
        bail!(
            "file_name `{name}` leads out of the folder: write it relative to {}",
            folder.display()
        );
    }
    let stem = stem(json);
    let last = stem.rsplit('_').next().unwrap_or_default();
    let places = |name: &str| {
        [
            folder.join(name),
            folder.join("images").join(name),
            folder.join(last).join(name),
            folder.join("images").join(last).join(name),
        ]
    };
    let found = names
        .iter()
        .flat_map(|name| places(name))
        .find_map(|path| with_extension_in_any_case(&path));
    found.with_context(|| {
        format!(
            "{} is missing, and not in images/ or {last}/ either: add it, or remove the image from the file",
            places(&slashes)[0].display()
        )
    })
}
