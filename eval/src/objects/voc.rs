//! VOC XML: `Annotations/*.xml` beside `JPEGImages/`, with the parts in `ImageSets/Main/*.txt`.
//!
//! Coordinates are whole pixels counted from 1 and both ends belong to the box: xmin = 1 is the left
//! edge, x = 0. Without `classes.txt` the classes are the names that occur, sorted.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use densecl::boxes::Rect;
use densecl::metrics::Truth;
use roxmltree::{Document, Node, ParsingOptions};

use super::account::Account;
use super::{Found, Picture, checked, classes_file, files_in, picture_size};
use crate::split::{Part, Roles};
use densecl_train::data::scan::{Pictures, without_extension};
use densecl_train::files::read_text;

/// Limit of XML nodes: more than any real annotation has, and small in memory.
const MAX_NODES: u32 = 1 << 20;

/// The list of all pictures but those of a test.
const TRAINVAL: &str = "trainval";

/// A picture whose objects have class names instead of class indices.
struct Named {
    file: PathBuf,
    stem: OsString,
    path: PathBuf,
    size: [u32; 2],
    objects: Vec<anyhow::Result<(String, Truth)>>,
}

/// The folder of annotations, if the data set has this layout.
pub(super) fn recognise(folder: &Path) -> Option<PathBuf> {
    let places = ["Annotations", "annotations"].map(|name| folder.join(name));
    let has_xml = |place: &PathBuf| files_in(place, "xml").is_ok_and(|files| !files.is_empty());
    places.into_iter().find(has_xml)
}

pub(super) fn read(
    folder: &Path,
    annotations: &Path,
    account: &mut Account,
) -> anyhow::Result<Found> {
    let images = ["JPEGImages", "images"].map(|name| folder.join(name));
    let images = images
        .iter()
        .find(|path| path.is_dir())
        .with_context(|| format!("{} is missing: the folder of pictures", images[0].display()))?;
    let images = Pictures::below(images)?;
    images.left_out().say(images.folder());
    let mut named = Vec::new();
    for path in files_in(annotations, "xml")? {
        named.push(annotation(&path, &images).with_context(|| path.display().to_string())?);
    }
    let (source, classes) = match classes_file(folder)? {
        Some((path, classes)) => (Some(path), classes),
        None => {
            let names = named
                .iter()
                .flat_map(|p| p.objects.iter().flatten().map(|(name, _)| name));
            let names: BTreeSet<&String> = names.collect();
            (None, names.into_iter().cloned().collect())
        }
    };
    let index: HashMap<&String, usize> = classes.iter().zip(0..).collect();
    let mut pictures = Vec::new();
    for picture in named {
        let mut truths = Vec::new();
        for object in picture.objects {
            let object = object.and_then(|(name, truth)| {
                let class = index.get(&name).copied().with_context(|| {
                    let source = source.as_deref().unwrap_or(Path::new("classes.txt"));
                    format!(
                        "class {name} is unknown, {} does not name it",
                        source.display()
                    )
                })?;
                Ok(Truth { class, ..truth })
            });
            truths.extend(account.note(&picture.file, object));
        }
        pictures.push((
            picture.stem,
            Picture {
                path: picture.path,
                size: picture.size,
                truths,
                masks: Vec::new(),
            },
        ));
    }
    parts(folder, pictures, classes)
}

/// Splits the pictures by the lists in `ImageSets/Main`.
fn parts(
    folder: &Path,
    pictures: Vec<(OsString, Picture)>,
    classes: Vec<String>,
) -> anyhow::Result<Found> {
    let lists = folder.join("ImageSets/Main");
    let mut names: Vec<String> = Vec::new();
    if lists.is_dir() {
        for list in files_in(&lists, "txt")? {
            let stem = list.file_stem().and_then(OsStr::to_str);
            names.extend(stem.map(str::to_string));
        }
    }
    let mut roles = Roles::of(&names);
    if roles.train.is_none() && names.iter().any(|name| name == TRAINVAL) {
        // It is training and validation together, so only a test remains to judge by.
        names.retain(|name| Part::of(name) == Some(Part::Test));
        roles = Roles {
            train: Some(TRAINVAL.to_string()),
            ..Roles::of(&names)
        };
    }
    let mut found = Found {
        classes,
        train: Vec::new(),
        val: Vec::new(),
        open: Vec::new(),
        roles,
    };
    let Some((train, judged)) = found.roles.both() else {
        found.open = pictures.into_iter().map(|(_, picture)| picture).collect();
        return Ok(found);
    };
    let mut by_stem: HashMap<OsString, Picture> = pictures.into_iter().collect();
    for (name, part) in [(train, &mut found.train), (judged, &mut found.val)] {
        let path = lists.join(format!("{name}.txt"));
        let text = read_text(&path)?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            // Removed from the map, so that a picture in both lists is an error.
            let mut stems = stems_of(line).into_iter();
            let picture = stems.find_map(|stem| by_stem.remove(&stem));
            part.push(picture.with_context(|| {
                format!(
                    "{}: {line} has no annotation, or is listed twice",
                    path.display()
                )
            })?);
        }
    }
    Ok(found)
}

/// What a line of a list may mean: a name, which may have spaces and perhaps an ending; in lists of a class followed by
/// 1, 0 or -1.
fn stems_of(line: &str) -> Vec<OsString> {
    let marked = line.rsplit_once(char::is_whitespace);
    let marked = marked.filter(|(_, mark)| ["1", "0", "-1"].contains(mark));
    let names = [Some(line), marked.map(|(name, _)| name.trim_end())];
    let stems = names.into_iter().flatten().flat_map(|name| {
        let stem = without_extension(Path::new(name));
        [OsString::from(name), stem.into_os_string()]
    });
    stems.collect()
}

fn annotation(path: &Path, images: &Pictures) -> anyhow::Result<Named> {
    let text = read_text(path)?;
    let options = ParsingOptions {
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(&text, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => {
            anyhow!("it has a DTD, which is not read: remove what begins with <!DOCTYPE")
        }
        roxmltree::Error::NodesLimitReached => {
            anyhow!("it has more than {MAX_NODES} elements: divide it")
        }
        error => anyhow!(
            "not a whole XML file, at line {}, column {}: repair it there, or remove it and its picture",
            error.pos().row,
            error.pos().col
        ),
    })?;
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        bail!(
            "its root is <{}>, not VOC's <annotation>",
            root.tag_name().name()
        );
    }
    let stem = path.file_stem().unwrap_or_default().to_os_string();
    let given = child(root, "filename").and_then(text_of);
    // Only the file name, so that the path cannot lead out of the folder.
    let given = given.map(|name| name.rsplit(['/', '\\']).next().unwrap_or_default());
    let picture = given.and_then(|name| images.find(name));
    let picture = picture.or_else(|| images.find_path(Path::new(&stem)));
    let picture = picture.with_context(|| {
        format!(
            "its picture is not in {}: add it, or remove this file",
            images.folder().display()
        )
    })?;
    let picture = picture.to_path_buf();
    let size = picture_size(&picture)?;
    let objects = root.children().filter(|node| node.has_tag_name("object"));
    let objects = objects
        .enumerate()
        .map(|(number, node)| object(node, size, &format!("object {}", number + 1)));
    Ok(Named {
        file: path.to_path_buf(),
        stem,
        path: picture,
        size,
        objects: objects.collect(),
    })
}

fn object(node: Node, size: [u32; 2], what: &str) -> anyhow::Result<(String, Truth)> {
    let name = child(node, "name").and_then(text_of);
    let name = name.with_context(|| format!("{what} has no <name>"))?;
    let bounds = child(node, "bndbox").with_context(|| format!("{what} has no <bndbox>"))?;
    let value = |tag: &str| -> anyhow::Result<f64> {
        let text = child(bounds, tag).and_then(text_of);
        let text = text.with_context(|| format!("{what} has no <{tag}>"))?;
        let value = text.parse().ok();
        value.with_context(|| format!("{what}: <{tag}> is `{text}`, not a number"))
    };
    let rect = Rect::new(
        value("xmin")? - 1.0,
        value("ymin")? - 1.0,
        value("xmax")?,
        value("ymax")?,
    );
    let difficult = child(node, "difficult").and_then(text_of);
    let difficult = difficult.is_some_and(|text| text == "1" || text.eq_ignore_ascii_case("true"));
    let truth = Truth {
        difficult,
        ..Truth::new(checked(rect, size, what)?, 0)
    };
    Ok((name.to_string(), truth))
}

fn child<'a, 'input>(node: Node<'a, 'input>, tag: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(tag))
}

fn text_of<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.text().map(str::trim).filter(|text| !text.is_empty())
}
