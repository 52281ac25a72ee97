//! Lists: of pictures to train on, of the parts of a labelled data set and of a data set of boxes, and of key points.
//! The first byte chooses the reader.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use densecl_eval::Look;
use densecl_eval::correspondence::Correspondence;
use densecl_eval::objects::Objects;
use densecl_eval::segmentation::{LinearSeg, LinearSettings, Splits};
use densecl_train::data::scan::paths_in;

use super::scratch;

/// A labelled data set, a data set of boxes, and the place of a list of key points.
static SETS: LazyLock<[PathBuf; 3]> = LazyLock::new(|| {
    let root = scratch("lists");
    let [labelled, boxes] = ["labelled", "boxes"].map(|name| root.join(name));
    let write = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
    };
    let draw = |path: &Path| {
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        ::image::GrayImage::new(8, 8).save(path).expect("a picture");
    };
    write(&labelled.join("classes.txt"), "a\nb\n");
    write(&labelled.join("train.txt"), "a\n");
    for name in ["a", "b (1)", "sub/c"] {
        draw(&labelled.join(format!("images/{name}.png")));
        draw(&labelled.join(format!("labels/{name}.png")));
        draw(&boxes.join(format!("JPEGImages/{name}.png")));
        let text = "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>7</xmax>\
                    <ymax>7</ymax></bndbox></object></annotation>";
        write(&boxes.join(format!("Annotations/{name}.xml")), text);
    }
    write(&boxes.join("ImageSets/Main/train.txt"), "a\n");
    [labelled, boxes, root.join("points.csv")]
});

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Some((&reader, bytes)) = bytes.split_first() else {
        return false;
    };
    let [labelled, boxes, points] = &*SETS;
    let write = |path: &Path| fs::write(path, bytes).expect("a temporary file");
    match reader % 4 {
        0 => {
            if let Some(paths) = paths_in(bytes.to_vec(), Path::new("folder")) {
                // UTF-16 may need a byte more for each two.
                assert!(paths.len() <= bytes.len() + 1, "more paths than bytes");
                true
            } else {
                false
            }
        }
        1 => {
            write(&labelled.join("val.txt"));
            let settings = LinearSettings::default();
            LinearSeg::new(labelled, &Splits::default(), Look::AT_CELLS, settings).is_ok()
        }
        2 => {
            write(&boxes.join("ImageSets/Main/val.txt"));
            let Ok(found) = Objects::read(boxes) else {
                return false;
            };
            assert_eq!(found.train.len(), 1);
            true
        }
        _ => {
            write(points);
            Correspondence::new(&points.to_string_lossy(), Look::FOR_MATCHES, None).is_ok()
        }
    }
}
