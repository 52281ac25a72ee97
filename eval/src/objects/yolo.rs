//! YOLO text: a picture's objects in a `.txt`, lines `class cx cy width height` relative to the picture size.
//!
//! Pictures lie in `images/` (possibly in folders named like the parts), or in `PART/images/`, as Roboflow has them, or
//! where `data.yaml` says; labels in `labels` instead of `images`, or beside the pictures. Names of classes are in
//! `classes.txt` or `data.yaml`. A picture without a `.txt` has no objects.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use densecl::boxes::Rect;
use densecl::metrics::Truth;
use densecl_train::notes::note;

use super::account::Account;
use super::yaml::{self, DataYaml};
use super::{Found, Picture, checked, classes_file, picture_size};
use crate::split::{Part, Roles};
use densecl_train::data::scan::{LeftOut, paths_in, pictures_below, with_extension_in_any_case};
use densecl_train::files::{read_at_most, read_text, to_utf8};

/// The file that says what is where.
const DATA: [&str; 2] = ["data.yaml", "data.yml"];

/// Whether this is the layout.
pub(super) fn recognise(folder: &Path) -> bool {
    let has_labels = |part: &String| {
        let part = folder.join(part);
        part.join("labels").is_dir() && part.join("images").is_dir()
    };
    folder.join("labels").is_dir()
        || data_file(folder).is_some()
        || part_folders(folder).iter().any(has_labels)
}

fn data_file(folder: &Path) -> Option<PathBuf> {
    let mut places = DATA.iter().map(|name| folder.join(name));
    places.find(|path| path.is_file())
}

/// Names of the folders in `folder` that are called as parts; none where it cannot be listed.
fn part_folders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| Part::of(name).is_some())
        .collect();
    names.sort_unstable();
    names
}

/// Pictures of a part, or of none.
type Group = (Option<String>, Vec<PathBuf>);

pub(super) fn read(folder: &Path, account: &mut Account) -> anyhow::Result<Found> {
    let yaml = match data_file(folder) {
        None => DataYaml::default(),
        Some(path) => {
            let shown = path.display();
            let text = to_utf8(read_at_most(&path, yaml::MAX_BYTES)?);
            let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.with_context(|| format!("{shown} is not a text file"))?;
            DataYaml::read(&text).with_context(|| shown.to_string())?
        }
    };
    let classes = match classes_file(folder)? {
        Some((_, classes)) => classes,
        None if !yaml.names.is_empty() => yaml.names.clone(),
        None => bail!(
            "{} is missing, and there is no data.yaml with `names` either: one of them names the classes \
             of the labels",
            folder.join("classes.txt").display()
        ),
    };
    let mut left_out = LeftOut::default();
    let groups = groups(folder, &yaml, &mut left_out)?;
    left_out.say(folder);
    let names: Vec<String> = groups.iter().filter_map(|(name, _)| name.clone()).collect();
    let roles = Roles::of(&names);
    let mut found = Found {
        classes,
        train: Vec::new(),
        val: Vec::new(),
        open: Vec::new(),
        roles,
    };
    let (mut pictures, mut without) = (0, 0);
    let mut first_label = None;
    for (name, paths) in groups {
        if name
            .as_ref()
            .is_some_and(|name| found.roles.unused.contains(name))
        {
            continue;
        }
        let mut group = Vec::with_capacity(paths.len());
        for path in paths {
            pictures += 1;
            let usual = label_of(folder, &path);
            let label = with_extension_in_any_case(&usual);
            without += usize::from(label.is_none());
            group.push(picture(
                &path,
                label.as_deref(),
                found.classes.len(),
                account,
            )?);
            first_label.get_or_insert(usual);
        }
        let list = if name.is_none() {
            &mut found.open
        } else if name == found.roles.train {
            &mut found.train
        } else {
            &mut found.val
        };
        list.extend(group);
    }
    if let Some(label) = first_label.filter(|_| without == pictures) {
        bail!(
            "{}: none of {pictures} pictures has labels, the first not in {}: a picture's objects are in a \
             .txt of its name",
            folder.display(),
            label.display()
        );
    }
    if without > 0 {
        note(format_args!(
            "{}: {without} of {pictures} pictures have no .txt, and so no objects",
            folder.display()
        ));
    }
    Ok(found)
}

/// The pictures by the parts that they are in.
fn groups(folder: &Path, yaml: &DataYaml, left_out: &mut LeftOut) -> anyhow::Result<Vec<Group>> {
    let mut scan = |place: &Path| -> anyhow::Result<Vec<PathBuf>> {
        let (mut paths, others) = pictures_below(place)?;
        paths.sort_unstable();
        left_out.extend(&others);
        Ok(paths)
    };
    if !yaml.parts.is_empty() {
        let mut groups: Vec<Group> = Vec::new();
        for (name, places) in &yaml.parts {
            let mut paths = Vec::new();
            for place in places {
                match inside(folder, place) {
                    Some(found) if found.is_dir() => paths.extend(scan(&found)?),
                    Some(found) => paths.extend(listed(folder, &found)?),
                    // Many files name a `test` that was not sent with them.
                    None if Part::of(name) == Some(Part::Test) => {}
                    None => bail!(
                        "{}: data.yaml says that `{name}` is in {place}, which is not there",
                        folder.display()
                    ),
                }
            }
            if !paths.is_empty() {
                groups.push((Some(name.clone()), paths));
            }
        }
        return Ok(groups);
    }
    let images = folder.join("images");
    if images.is_dir() {
        let mut groups: Vec<Group> = Vec::new();
        for path in scan(&images)? {
            let below = path.strip_prefix(&images).unwrap_or(&path);
            let mut parts = below.components();
            let top = parts.next().filter(|_| parts.next().is_some());
            let name = top.map(|top| top.as_os_str().to_string_lossy().into_owned());
            let name = name.filter(|name| part_of_folder(name).is_some());
            match groups.iter_mut().find(|(known, _)| *known == name) {
                Some((_, paths)) => paths.push(path),
                None => groups.push((name, vec![path])),
            }
        }
        return Ok(by_part(groups));
    }
    let names = part_folders(folder);
    let groups = names.into_iter().map(|name| {
        let paths = scan(&folder.join(&name).join("images"))?;
        Ok((Some(name), paths))
    });
    groups.collect()
}

/// `train2017` is `train`: data sets of COCO's pictures have the year in the names of their folders.
fn part_of_folder(name: &str) -> Option<Part> {
    Part::of(crate::split::without_year(name))
}

/// The same groups, called as the parts are without a year.
fn by_part(groups: Vec<Group>) -> Vec<Group> {
    let renamed = groups.into_iter().map(|(name, paths)| {
        let name = name.map(|name| crate::split::without_year(&name).to_string());
        (name, paths)
    });
    renamed.collect()
}

/// A place that a file names, if it is in `folder`. Such files come from other machines: of a path the end counts, and
/// it never leads out of the folder.
fn inside(folder: &Path, place: &str) -> Option<PathBuf> {
    let place = place.replace('\\', "/");
    let normal = |part| match part {
        Component::Normal(part) => Some(part),
        _ => None,
    };
    let parts: Vec<_> = Path::new(&place).components().filter_map(normal).collect();
    let mut places = (0..parts.len()).map(|from| {
        let below: PathBuf = parts[from..].iter().collect();
        folder.join(below)
    });
    places.find(|path| path.exists())
}

/// The pictures that a list names.
fn listed(folder: &Path, list: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let bytes = read_at_most(list, 64 << 20)?;
    let paths = paths_in(bytes, Path::new(""));
    let paths = paths.with_context(|| format!("{} is not a text file", list.display()))?;
    let found = paths.iter().map(|path| {
        let place = path.to_string_lossy();
        let found = inside(folder, &place).filter(|path| path.is_file());
        found.with_context(|| format!("{}: {place} is not there", list.display()))
    });
    found.collect()
}

/// Where the labels of a picture are: in `labels` where it is in `images`, else beside it.
fn label_of(folder: &Path, picture: &Path) -> PathBuf {
    let below = picture.strip_prefix(folder).unwrap_or(picture);
    let parts: Vec<_> = below.components().map(Component::as_os_str).collect();
    // The last part is the picture itself.
    let folders = parts.len().saturating_sub(1);
    let images = parts[..folders]
        .iter()
        .rposition(|part| part.eq_ignore_ascii_case("images"));
    let mut label = folder.to_path_buf();
    for (at, part) in parts.iter().enumerate() {
        if Some(at) == images {
            label.push("labels");
        } else {
            label.push(part);
        }
    }
    label.with_extension("txt")
}

fn picture(
    path: &Path,
    label: Option<&Path>,
    classes: usize,
    account: &mut Account,
) -> anyhow::Result<Picture> {
    let size = picture_size(path)?;
    let mut truths = Vec::new();
    if let Some(label) = label {
        let text = read_text(label)?;
        let lines = text.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let object = object(line, size, classes, &format!("line {}", number + 1));
            truths.extend(account.note(label, object));
        }
    }
    Ok(Picture {
        path: path.to_path_buf(),
        size,
        truths,
        masks: Vec::new(),
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
            "{what}: class {class} is unknown, {classes} are named (0 to {})",
            classes - 1
        )
    };
    let [width, height] = size.map(f64::from);
    let (cx, cy, w, h) = (cx * width, cy * height, w * width, h * height);
    let rect = Rect::new(cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h);
    Ok(Truth::new(checked(rect, size, what)?, class))
}
