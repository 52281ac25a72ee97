use std::fs;
use std::path::Path;

use image::RgbImage;
use tempfile::TempDir;

use super::*;

/// A folder with these text files and pictures of 40 × 20 pixels.
fn folder(files: &[(&str, &str)], pictures: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        path
    };
    for (name, text) in files {
        fs::write(place(name), text).expect("written");
    }
    for name in pictures {
        RgbImage::new(40, 20).save(place(name)).expect("written");
    }
    folder
}

fn refused(files: &[(&str, &str)], pictures: &[&str], parts: &[&str]) {
    let folder = folder(files, pictures);
    let error = Objects::read(folder.path()).expect_err("refused");
    let message = format!("{error:#}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

fn rects(pictures: &[Picture]) -> Vec<Rect> {
    let truths = pictures.iter().flat_map(|p| &p.truths);
    truths.map(|t| t.rect).collect()
}

const YOLO: [(&str, &str); 3] = [
    ("classes.txt", "cat\ndog\n"),
    (
        "labels/train/a.txt",
        "1 0.5 0.5 0.5 1\n\n0 0.25 0.5 0.5 0.5\n",
    ),
    ("labels/val/b.txt", "0 0.5 0.5 1 1\n"),
];
const YOLO_PICTURES: [&str; 2] = ["images/train/a.png", "images/val/b.png"];

#[test]
fn yolo_text_is_relative_to_the_picture() {
    let folder = folder(&YOLO, &YOLO_PICTURES);
    let objects = Objects::read(folder.path()).expect("read");
    assert_eq!(objects.classes, ["cat", "dog"]);
    let expected = [
        Rect::new(10.0, 0.0, 30.0, 20.0),
        Rect::new(0.0, 5.0, 20.0, 15.0),
    ];
    assert_eq!(rects(&objects.train), expected);
    assert_eq!(objects.train[0].truths[0].class, 1);
    assert_eq!(rects(&objects.val), [Rect::new(0.0, 0.0, 40.0, 20.0)]);
}

#[test]
fn wrong_yolo_labels_are_refused_with_file_and_line() {
    for (line, parts) in [
        ("2 0.5 0.5 0.5 0.5", &["class 2 is unknown", "0 to 1"][..]),
        ("-1 0.5 0.5 0.5 0.5", &["class -1 is unknown"]),
        ("0 0.5 0.5 0.5", &["class cx cy width height"]),
        ("0 0.5 0.5 0.5 x", &["class cx cy width height"]),
        ("0 nan 0.5 0.5 0.5", &["not a number"]),
        ("0 0.5 0.5 inf 0.5", &["not a number"]),
        ("0 0.9 0.5 0.5 0.5", &["outside its picture of 40 x 20"]),
        ("0 0.5 0.5 0 0.5", &["no area"]),
        ("0 0.5 0.5 0.5 -0.5", &["no area"]),
    ] {
        let text = format!("0 0.5 0.5 0.5 0.5\n{line}\n");
        let files = [YOLO[0], YOLO[1], ("labels/val/b.txt", text.as_str())];
        refused(
            &files,
            &YOLO_PICTURES,
            &[&["labels/val/b.txt", "line 2"], parts].concat(),
        );
    }
    refused(
        &YOLO[..2],
        &YOLO_PICTURES,
        &["val/b.png", "val/b.txt is missing"],
    );
    refused(&YOLO[1..], &YOLO_PICTURES, &["classes.txt is missing"]);
    let empty = [YOLO[0], YOLO[1], ("labels/val/b.txt", "")];
    refused(&empty, &YOLO_PICTURES, &["validation", "no object"]);
    let twice = [("classes.txt", "cat\ncat\n"), YOLO[1], YOLO[2]];
    refused(
        &twice,
        &YOLO_PICTURES,
        &["classes.txt", "cat is there twice"],
    );
    refused(&[], &["images/a.png"], &["no boxes found", "VOC", "COCO"]);
    let no_picture = [YOLO[0], ("labels/a.txt", ""), ("images/a.png", "text")];
    refused(
        &no_picture,
        &[],
        &["images/a.png", "not a JPEG, PNG or WebP"],
    );
}

fn xml(objects: &str) -> String {
    format!("<annotation><filename>a.png</filename>{objects}</annotation>")
}

fn object(name: &str, bounds: [&str; 4], more: &str) -> String {
    let [xmin, ymin, xmax, ymax] = bounds;
    format!(
        "<object><name>{name}</name>{more}<bndbox><xmax>{xmax}</xmax><xmin>{xmin}</xmin>\
         <ymin>{ymin}</ymin><ymax>{ymax}</ymax></bndbox></object>"
    )
}

#[test]
fn voc_counts_pixels_from_1_and_knows_difficult_objects() {
    let a = xml(&(object("dog", ["1", "1", "40", "20"], "")
        + &object("cat", ["11", "6", "20", "10"], "<difficult>1</difficult>")));
    let b = object("cat", ["2", "2", "3", "3"], "");
    let b = xml(&b).replace("a.png", "elsewhere/b.png");
    let files = [
        ("Annotations/a.xml", a.as_str()),
        ("Annotations/b.xml", &b),
        ("ImageSets/Main/train.txt", "b\n"),
        ("ImageSets/Main/val.txt", "a 1\n"),
    ];
    let folder = folder(&files, &["JPEGImages/a.png", "JPEGImages/b.png"]);
    let objects = Objects::read(folder.path()).expect("read");
    assert_eq!(objects.classes, ["cat", "dog"]);
    assert_eq!(rects(&objects.train), [Rect::new(1.0, 1.0, 3.0, 3.0)]);
    let expected = [
        Rect::new(0.0, 0.0, 40.0, 20.0),
        Rect::new(10.0, 5.0, 20.0, 10.0),
    ];
    assert_eq!(rects(&objects.val), expected);
    let [dog, cat] = &objects.val[0].truths[..] else {
        panic!("two objects")
    };
    assert_eq!((dog.class, dog.difficult), (1, false));
    assert_eq!((cat.class, cat.difficult), (0, true));
}

#[test]
fn wrong_voc_files_are_refused_with_file_and_object() {
    let one = |text: &str, parts: &[&str]| {
        let files = [("Annotations/a.xml", text), ("classes.txt", "cat")];
        refused(&files, &["JPEGImages/a.png"], &[&["a.xml"], parts].concat());
    };
    one("<annotation><object>", &["not a whole XML file"]);
    one("<html/>", &["<html>", "<annotation>"]);
    let bomb = "<!DOCTYPE a [<!ENTITY b \"b\">]><annotation>&b;</annotation>";
    one(bomb, &["DTD"]);
    one(&xml("<object/>"), &["object 1 has no <name>"]);
    let good = ["1", "1", "9", "9"];
    one(
        &xml(&object("dog", good, "")),
        &["class dog is unknown", "classes.txt"],
    );
    let bad = |bounds| xml(&(object("cat", good, "") + &object("cat", bounds, "")));
    one(&bad(["1", "1", "NaN", "9"]), &["object 2", "not a number"]);
    one(&bad(["1", "1", "x", "9"]), &["object 2", "<xmax> is `x`"]);
    one(&bad(["1", "1", "44", "9"]), &["object 2", "outside"]);
    one(&bad(["10", "1", "9", "9"]), &["object 2", "no area"]);
    let lost = xml("").replace("a.png", "lost.png");
    let files = [("Annotations/c.xml", lost.as_str())];
    refused(
        &files,
        &["JPEGImages/a.png"],
        &["c.xml", "picture is not in"],
    );
}

const COCO: &str = r#"{"info": {}, "images": [{"id": 7, "file_name": "a.png", "width": 1}],
    "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 9, "bbox": [10, 5, 20, 10], "area": 50,
        "segmentation": [[1, 2, 3]]},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 40.4, 20], "iscrowd": 1}]}"#;

#[test]
fn coco_json_has_areas_and_crowds() {
    let files = [
        ("annotations/instances_train2017.json", COCO),
        ("annotations/instances_val2017.json", COCO),
        ("annotations/captions_val2017.json", "{}"),
    ];
    let folder = folder(&files, &["train2017/a.png", "val2017/a.png"]);
    let objects = Objects::read(folder.path()).expect("read");
    assert_eq!(objects.classes, ["cat", "dog"]);
    assert!(objects.val[0].path.ends_with("val2017/a.png"));
    let [dog, crowd] = &objects.train[0].truths[..] else {
        panic!("two objects")
    };
    assert_eq!((dog.rect, dog.class), (Rect::new(10.0, 5.0, 30.0, 15.0), 1));
    assert_eq!((dog.area, dog.crowd), (50.0, false));
    assert_eq!((crowd.rect.x1, crowd.crowd), (40.0, true));
}

#[test]
fn wrong_coco_files_are_refused_with_file_and_annotation() {
    let one = |from: &str, to: &str, parts: &[&str]| {
        assert!(COCO.contains(from), "{from}");
        let text = COCO.replace(from, to);
        let files = [("train.json", text.as_str())];
        refused(
            &files,
            &["images/a.png"],
            &[&["train.json"], parts].concat(),
        );
    };
    one(
        "[10, 5, 20, 10]",
        "[10, 5, 0, 10]",
        &["annotation 1", "no area"],
    );
    one(
        "[10, 5, 20, 10]",
        "[10, 5, 99, 10]",
        &["annotation 1", "outside"],
    );
    one(
        "[10, 5, 20, 10]",
        "[10, 5, 1e999, 10]",
        &["not COCO's JSON"],
    );
    one(
        "[10, 5, 20, 10]",
        "[10, 5, 20]",
        &["not COCO's JSON", "line"],
    );
    one(
        "\"category_id\": 9",
        "\"category_id\": 4",
        &["no category with the id 4"],
    );
    one(
        "\"image_id\": 7, \"category_id\": 3",
        "\"image_id\": 8, \"category_id\": 3",
        &["annotation 2", "no image with the id 8"],
    );
    one("a.png", "../a.png", &["leads out"]);
    one("a.png", "b.png", &["b.png is missing"]);
    one("\"id\": 3", "\"id\": 9", &["same id"]);
    let empty = r#"{"images": [], "categories": []}"#;
    refused(&[("train.json", empty)], &[], &["no pictures for training"]);
    refused(
        &[("a_train.json", COCO), ("b_train.json", COCO)],
        &[],
        &["which of them"],
    );
}

#[test]
fn a_limit_takes_pictures_evenly() {
    let picture = |i: usize| Picture {
        path: Path::new(&i.to_string()).to_path_buf(),
        size: [1, 1],
        truths: vec![],
    };
    let objects = Objects {
        classes: vec![],
        train: (0..10).map(picture).collect(),
        val: (0..3).map(picture).collect(),
        layout: "",
    };
    let limited = objects.limited(Some(4));
    let names: Vec<_> = limited
        .train
        .iter()
        .map(|p| p.path.display().to_string())
        .collect();
    assert_eq!(
        (names.join(" "), limited.val.len()),
        ("2 4 7 9".to_string(), 3)
    );
}
