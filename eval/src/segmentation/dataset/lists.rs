//! Lists of the pictures of a part: a line for each, with the name of the picture, or its path and that of its labels.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{Layout, Sample, labelled};
use densecl_train::data::scan::{
    Pictures, below, is_clutter, two_paths, with_ending, with_extension_in_any_case,
    without_extension,
};
use densecl_train::files::read_text;

/// Names of the lists in a folder, without their ending; none where the folder cannot be listed.
pub(super) fn list_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".txt").map(str::to_string)
        })
        .collect();
    names.sort_unstable();
    names
}

/// All pictures of a data set without lists, sorted.
pub(super) fn all(layout: &Layout, pictures: &Pictures) -> anyhow::Result<Vec<Sample>> {
    let paths = pictures.paths().iter();
    let samples = paths.map(|path| labelled(path.clone(), &label_of(layout, path)));
    samples.collect()
}

/// Where the labels of a picture of the layout's folder are.
fn label_of(layout: &Layout, picture: &Path) -> PathBuf {
    let below = picture.strip_prefix(&layout.images).unwrap_or(picture);
    with_ending(&layout.labels, &without_extension(below), "png")
}

/// The pictures that the list `name` names.
///
/// # Errors
/// Naming the list and the first line that names no labelled picture.
pub(super) fn read_split(
    layout: &Layout,
    pictures: &Pictures,
    name: &str,
) -> anyhow::Result<Vec<Sample>> {
    let path = layout.splits.join(format!("{name}.txt"));
    let text = read_text(&path).with_context(|| format!("the split {name}"))?;
    let mut samples = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        let is_shadow = Path::new(line).file_name().is_some_and(is_clutter);
        if line.is_empty() || line.starts_with('#') || is_shadow {
            continue;
        }
        let sample = sample_of(layout, pictures, line);
        samples.push(sample.with_context(|| format!("{}, line {number}", path.display()))?);
    }
    if samples.is_empty() {
        bail!("{} names no pictures", path.display());
    }
    Ok(samples)
}

/// What a line means: the name of a picture, which may have spaces; or paths from the root of the data set, which in
/// DeepLab's lists begin with `/`.
fn sample_of(layout: &Layout, pictures: &Pictures, line: &str) -> anyhow::Result<Sample> {
    if let Some(picture) = pictures.find(line) {
        return labelled(picture.to_path_buf(), &label_of(layout, picture));
    }
    let in_root = |path: &str| {
        let below = below(path.trim_start_matches(['/', '\\']))?;
        with_extension_in_any_case(&layout.root.join(below))
    };
    if let Some((picture, label)) = two_paths(line) {
        if let (Some(image), Some(label)) = (in_root(picture), in_root(label)) {
            return labelled(image, &label);
        }
    } else if let Some(image) = in_root(line) {
        let label = label_of(layout, &image);
        return labelled(image, &label);
    }
    let paths = two_paths(line).map_or(vec![line], |(a, b)| vec![a, b]);
    if paths
        .iter()
        .any(|path| path.split(['/', '\\']).any(|part| part == ".."))
    {
        bail!("{line} leads elsewhere");
    }
    bail!("there is no picture {line} in {}", layout.images.display())
}
