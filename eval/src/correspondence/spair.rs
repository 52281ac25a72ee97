//! SPair-71k (Min et al., 2019) as it is published: `PairAnnotation/PART/*.json` and `JPEGImages/CATEGORY/*.jpg`.

use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::key_points::{KeyPoint, KeyPoints, picture_in};
use super::pairs::{Pair, entries};
use densecl_train::files::read_text;
use densecl_train::notes::note;

/// The folder by which the layout is recognised.
pub(super) const ANNOTATIONS: &str = "PairAnnotation";
/// The parts by precedence; the published figures are of the first.
const PARTS: [&str; 3] = ["test", "val", "trn"];

/// What is read of an annotation.
#[derive(Deserialize)]
struct Annotation {
    src_imname: String,
    trg_imname: String,
    category: String,
    src_kps: Vec<[f32; 2]>,
    trg_kps: Vec<[f32; 2]>,
    /// Left, upper, right and lower edge of the object in the second picture.
    trg_bndbox: [f32; 4],
}

/// The pairs of the first part that there is: `test`, or else `val` or `trn`.
///
/// # Errors
/// For the first annotation that is wrong; one line that names it.
pub(super) fn pairs(root: &Path) -> anyhow::Result<Vec<Pair>> {
    let below = root.join(ANNOTATIONS);
    let part = PARTS.into_iter().find(|part| below.join(part).is_dir());
    let part = part.with_context(|| {
        let parts = PARTS.join(", ");
        format!("{} holds none of the folders {parts}", below.display())
    })?;
    note(format_args!("{}: judged by {part}", root.display()));
    let mut pairs = Vec::new();
    for file in entries(&below.join(part))? {
        if file
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("json"))
        {
            let text = read_text(&file)?;
            pairs.push(pair(root, &text).with_context(|| file.display().to_string())?);
        }
    }
    if pairs.is_empty() {
        bail!(
            "{} holds no annotations (.json)",
            below.join(part).display()
        );
    }
    Ok(pairs)
}

fn pair(root: &Path, text: &str) -> anyhow::Result<Pair> {
    let annotation: Annotation = serde_json::from_str(text).map_err(|error| {
        anyhow::anyhow!(
            "not an annotation of SPair-71k: {}",
            error.to_string().replace('\n', " ")
        )
    })?;
    let Annotation {
        src_imname,
        trg_imname,
        category,
        src_kps,
        trg_kps,
        trg_bndbox: [left, upper, right, lower],
    } = annotation;
    if src_kps.len() != trg_kps.len() || src_kps.is_empty() {
        bail!(
            "{} key points in the first picture and {} in the second: as many are needed, and at least one",
            src_kps.len(),
            trg_kps.len()
        );
    }
    let larger = (right - left).max(lower - upper);
    if !(larger > 0.0 && larger.is_finite()) {
        bail!("trg_bndbox from {left} to {right} and from {upper} to {lower} is no box");
    }
    let points = src_kps.into_iter().zip(trg_kps);
    let points = KeyPoints {
        points: points.map(|(a, b)| KeyPoint { a, b }).collect(),
        object: Some(larger),
    };
    let folder = root.join("JPEGImages").join(&category);
    let pictures = [&src_imname, &trg_imname].map(|name| picture_in(&folder, name));
    let name = format!("{category} {src_imname} {trg_imname}");
    Ok(Pair::of_points(name, pictures, points))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::correspondence::pairs::Truth;

    fn annotation() -> Value {
        json!({
            "filename": "000001-2008_1-2008_2:cat",
            "src_imname": "2008_1.jpg", "trg_imname": "2008_2.jpg", "category": "cat",
            "src_kps": [[3, 4], [5, 6]], "trg_kps": [[7, 8], [9, 10.5]], "kps_ids": ["0", "3"],
            "src_bndbox": [1, 1, 30, 20], "trg_bndbox": [2, 3, 42, 23],
            "mirror": 0, "viewpoint_variation": 1,
        })
    }

    #[test]
    fn a_pair_has_its_points_and_the_larger_side_of_its_object() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path();
        for part in ["trn", "test"] {
            fs::create_dir_all(root.join(ANNOTATIONS).join(part)).expect("folders");
        }
        fs::create_dir_all(root.join("JPEGImages/cat")).expect("folders");
        for name in ["2008_1.jpg", "2008_2.JPG"] {
            let picture = image::RgbImage::new(50, 40);
            let path = root.join("JPEGImages/cat").join(name);
            picture
                .save_with_format(path, image::ImageFormat::Jpeg)
                .expect("a picture");
        }
        let file = root
            .join(ANNOTATIONS)
            .join("test/000001-2008_1-2008_2-cat.json");
        let write = |value: &Value| fs::write(&file, value.to_string()).expect("written");
        write(&annotation());
        let found = super::super::pairs::find(&root.to_string_lossy()).expect("SPair");
        assert_eq!(found.len(), 1);
        let Truth::Points(points) = found[0].open().expect("pictures").truth else {
            panic!("no key points");
        };
        assert_eq!(points.object, Some(40.0));
        assert_eq!(points.points[1].b, [9.0, 10.5]);

        let message = |field: &str, value: Value| {
            let mut wrong = annotation();
            wrong[field] = value;
            write(&wrong);
            let error = format!("{:#}", pairs(root).expect_err("refused"));
            assert!(
                error.contains("000001-2008_1-2008_2-cat.json") && !error.contains('\n'),
                "{error}"
            );
            error
        };
        assert!(message("trg_kps", json!([[1, 2]])).contains("2 key points in the first"));
        assert!(message("trg_bndbox", json!([5, 5, 5, 5])).contains("no box"));
        assert!(message("src_kps", json!("none")).contains("not an annotation"));
    }
}
