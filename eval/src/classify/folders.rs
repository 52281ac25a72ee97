//! Image classification data sets with a folder per class, such as ImageNet.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use super::labelled::{Labelled, Picture, Sample};
use crate::split::{Part, Roles, say_split, split};
use crate::spread;
use densecl_train::data::scan::{Dataset, LeftOut, is_clutter};
use densecl_train::paths;

/// Reads `folder`: `train/CLASS/**.jpg` and `val/CLASS/**.jpg` (or else `test`). From plain `CLASS/**.jpg` a
/// fixed quarter of each class is taken for validation. At most `limit` pictures of each part, spread evenly over
/// the classes.
///
/// # Errors
/// When there are fewer than two classes, a class has no picture, or validation has a class that training lacks.
pub(super) fn read(folder: &Path, limit: Option<usize>) -> anyhow::Result<Labelled> {
    let shown = folder.display();
    let below = folders_in(folder)?;
    let mut left_out = LeftOut::default();
    let roles = parts_among(folder, &below)?;
    let (classes, train, val) = if let Some((train, val)) = roles.both() {
        let classes = folders_in(&folder.join(train))?;
        let of_val = folders_in(&folder.join(val))?;
        if let Some(unknown) = of_val.iter().find(|name| !classes.contains(name)) {
            bail!(
                "{}: no such class in {}",
                folder.join(val).join(unknown).display(),
                folder.join(train).display()
            );
        }
        let mut samples = |part: &str, names: &[String]| -> anyhow::Result<Vec<Sample>> {
            let mut all = Vec::new();
            for name in names {
                let class = classes.iter().position(|class| class == name);
                let place = folder.join(part).join(name);
                all.extend(pictures(&place, class.unwrap_or_default(), &mut left_out)?);
            }
            Ok(all)
        };
        let (train, val) = (samples(train, &classes)?, samples(val, &of_val)?);
        roles.say(folder);
        (classes, train, val)
    } else {
        let (mut train, mut val) = (Vec::new(), Vec::new());
        for (class, name) in below.iter().enumerate() {
            let all = pictures(&folder.join(name), class, &mut left_out)?;
            if all.len() < 2 {
                bail!(
                    "{}: a single picture, which cannot be both for training and for validation",
                    all[0].picture
                );
            }
            let (for_train, for_val) = split(all, class as u64);
            train.extend(for_train);
            val.extend(for_val);
        }
        say_split(folder);
        (below, train, val)
    };
    if classes.len() < 2 {
        bail!(
            "{shown}: found {} classes, at least 2 are needed; expected a folder per class, or \
             train/ and val/ with a folder per class each",
            classes.len()
        );
    }
    if val.is_empty() {
        bail!("{shown}: no pictures for validation");
    }
    left_out.say(folder);
    Ok(Labelled {
        classes,
        train: spread(train, limit),
        val: spread(val, limit),
    })
}

/// The parts among the folders `below`. A folder of pictures is a class, whatever it is called: there are parts only
/// where that for training holds the folders of its classes.
///
/// # Errors
/// When a folder cannot be listed, and when there are parts, and nothing but parts, and one is missing.
fn parts_among(folder: &Path, below: &[String]) -> anyhow::Result<Roles> {
    let roles = Roles::of(below);
    let holds_classes = |part: &Option<String>| -> anyhow::Result<bool> {
        match part {
            Some(part) => Ok(!folders_in(&folder.join(part))?.is_empty()),
            None => Ok(false),
        }
    };
    if roles.both().is_some() && holds_classes(&roles.train)? {
        return Ok(roles);
    }
    let only_parts = below.iter().all(|name| Part::of(name).is_some());
    if roles.both().is_none()
        && only_parts
        && (holds_classes(&roles.train)? || holds_classes(&roles.judged)?)
    {
        bail!(
            "{}: train and val (or test) belong together, one is missing",
            folder.display()
        );
    }
    Ok(Roles::default())
}

/// Names of the folders in `folder`, sorted, without hidden ones and those of other programs.
fn folders_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let context = || format!("{} cannot be read", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().unwrap_or_default();
        if !path.is_dir() || is_clutter(name) {
            continue;
        }
        let name = name.to_str().with_context(|| {
            let path = paths::line(&path);
            format!("{path}: the name of a class has to be UTF-8: rename the folder")
        })?;
        names.push(name.to_string());
    }
    names.sort_unstable();
    Ok(names)
}

fn pictures(folder: &Path, class: usize, left_out: &mut LeftOut) -> anyhow::Result<Vec<Sample>> {
    let found = Dataset::scan(folder)?;
    left_out.extend(found.left_out());
    let samples = found.paths().iter().map(|path| Sample {
        picture: Picture::File(path.clone()),
        class,
    });
    Ok(samples.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, b"never decoded here").expect("written");
        }
        folder
    }

    #[test]
    fn parts_are_read_or_made_and_every_class_is_in_both() {
        let given = folder(&["train/a/1.jpg", "train/b/x/2.jpg", "val/b/3.png", ".git/x"]);
        let found = read(given.path(), None).expect("read");
        assert_eq!(found.classes, ["a", "b"]);
        let classes = |samples: &[Sample]| samples.iter().map(|s| s.class).collect::<Vec<_>>();
        assert_eq!(
            (classes(&found.train), classes(&found.val)),
            (vec![0, 1], vec![1])
        );

        // `val` is judged although there is `test`.
        let given = folder(&[
            "train/a/1.jpg",
            "train/b/1.jpg",
            "test/a/2.jpg",
            "val/b/3.png",
            "val/b/3.heic",
            "__MACOSX/val/._3.png",
        ]);
        let found = read(given.path(), None).expect("read");
        assert_eq!(classes(&found.val), [1]);

        let given = folder(&[
            "a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg", "b/1.jpg", "b/2.jpg",
        ]);
        let found = read(given.path(), None).expect("read");
        assert_eq!(classes(&found.train), [0, 0, 0, 1]);
        assert_eq!(classes(&found.val), [0, 1]);
        let limited = read(given.path(), Some(2)).expect("read");
        assert_eq!(classes(&limited.train), [0, 1]);
    }

    #[test]
    fn classes_may_be_called_like_parts() {
        let given = folder(&[
            "train/1.jpg",
            "train/2.jpg",
            "test_tube/1.jpg",
            "test_tube/2.jpg",
            "val/1.jpg",
            "val/2.jpg",
        ]);
        let found = read(given.path(), None).expect("three classes");
        assert_eq!(found.classes, ["test_tube", "train", "val"]);
        let given = folder(&[
            "train_interior/1.jpg",
            "train_interior/2.jpg",
            "valley/1.jpg",
            "valley/2.jpg",
        ]);
        let found = read(given.path(), None).expect("two classes");
        assert_eq!(found.classes, ["train_interior", "valley"]);
        // Classes called so inside of parts.
        let given = folder(&["train/train/1.jpg", "train/test/1.jpg", "val/train/2.jpg"]);
        let found = read(given.path(), None).expect("two classes");
        assert_eq!(found.classes, ["test", "train"]);
        assert_eq!(found.val.len(), 1);
    }

    #[test]
    fn what_cannot_be_judged_is_refused_with_its_name() {
        for (files, parts) in [
            (
                &["a/1.jpg", "a/2.jpg"][..],
                &["1 classes", "at least 2"][..],
            ),
            (
                &["a/1.jpg", "a/2.jpg", "b/1.jpg"],
                &["b/1.jpg", "single picture"],
            ),
            (&["a/1.jpg", "a/2.jpg", "b/x.txt"], &["/b"]),
            (&["train/a/1.jpg", "train/b/1.jpg"], &["one is missing"]),
            (
                &["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg"],
                &["val/c", "no such class"],
            ),
            (
                &["train/a/1.jpg", "train/b/1.jpg", "val/x.jpg"],
                &["no pictures for validation"],
            ),
        ] {
            let error = read(folder(files).path(), None).expect_err("refused");
            let message = format!("{error:#}");
            for part in parts {
                assert!(message.contains(part), "`{part}` is not in: {message}");
            }
        }
    }
}
