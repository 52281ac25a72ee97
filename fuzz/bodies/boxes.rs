//! Fuzzes the readers of bounding boxes: VOC XML, YOLO text, COCO JSON, and YOLO's data.yaml, each in a data set
//! whose other files are whole. The first byte chooses the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use densecl_eval::objects::Objects;

use super::scratch;

/// For each layout the folder of a data set, and the file in it that is fuzzed.
static SETS: LazyLock<[(PathBuf, &str); 4]> = LazyLock::new(|| {
    let root = scratch("boxes");
    let picture = image::RgbImage::new(64, 48);
    let write = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
    };
    let draw = |path: &Path| {
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        picture.save(path).expect("a picture");
    };
    let [voc, yolo, coco, named] = ["voc", "yolo", "coco", "named"].map(|name| root.join(name));
    for name in ["a", "b", "c", "d"] {
        draw(&voc.join(format!("JPEGImages/{name}.png")));
        let text = "<annotation><filename>NAME.png</filename><object><name>cat</name><bndbox>\
            <xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>";
        let text = text.replace("NAME", name);
        write(&voc.join(format!("Annotations/{name}.xml")), &text);
        for part in ["train", "val"] {
            for set in [&yolo, &named] {
                draw(&set.join(format!("images/{part}/{name}.png")));
                write(
                    &set.join(format!("labels/{part}/{name}.txt")),
                    "0 0.5 0.5 0.5 0.5\n",
                );
            }
        }
        draw(&coco.join(format!("images/{name}.png")));
    }
    write(&yolo.join("classes.txt"), "cat\ndog\n");
    let instances = r#"{"images": [{"id": 1, "file_name": "b.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 3, "name": "cat"}]}"#;
    write(&coco.join("annotations/instances_val.json"), instances);
    [
        (voc, "Annotations/a.xml"),
        (yolo, "labels/train/a.txt"),
        (coco, "annotations/instances_train.json"),
        (named, "data.yaml"),
    ]
});

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Some((&layout, bytes)) = bytes.split_first() else {
        return false;
    };
    let (folder, file) = &SETS[usize::from(layout % 4)];
    fs::write(folder.join(file), bytes).expect("a temporary file");
    let Ok(found) = Objects::read(folder) else {
        return false;
    };
    for picture in found.train.iter().chain(&found.val) {
        let [width, height] = picture.size.map(f64::from);
        for truth in &picture.truths {
            let rect = truth.rect;
            assert!(0.0 <= rect.x0 && rect.x0 < rect.x1 && rect.x1 <= width);
            assert!(0.0 <= rect.y0 && rect.y0 < rect.y1 && rect.y1 <= height);
            assert!(truth.class < found.classes.len());
        }
    }
    true
}
