use std::fs;
use std::path::Path;

use image::RgbImage;
use tempfile::TempDir;

use super::*;

mod coco;
mod layouts;

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
fn wrong_yolo_lines_are_left_out_and_many_are_refused_with_file_and_line() {
    for (line, parts) in [
        ("2 0.5 0.5 0.5 0.5", &["class 2 is unknown", "0 to 1"][..]),
        ("-1 0.5 0.5 0.5 0.5", &["class -1 is unknown"]),
        ("0.5 0.5 0.5 0.5 0.5", &["class 0.5 is unknown"]),
        ("0 0.5 0.5 0.5", &["class cx cy width height"]),
        ("0 0.5 0.5 0.5 x", &["class cx cy width height"]),
        ("0 nan 0.5 0.5 0.5", &["not a number"]),
        ("0 0.5 0.5 inf 0.5", &["not a number"]),
        ("0 0.9 0.5 0.5 0.5", &["outside its picture of 40 x 20"]),
        ("0 0.5 0.5 0 0.5", &["no area"]),
        ("0 0.5 0.5 0.5 -0.5", &["no area"]),
    ] {
        let text = |wrong: usize| {
            let wrong = format!("{line}\n").repeat(wrong);
            format!("0 0.5 0.5 0.5 0.5\n{wrong}1.0 0.5 0.5 0.5 0.5\n")
        };
        let few = text(3);
        let files = [YOLO[0], YOLO[1], ("labels/val/b.txt", few.as_str())];
        let folder = folder(&files, &YOLO_PICTURES);
        let objects = Objects::read(folder.path()).expect(line);
        assert_eq!(
            (objects.left_out, objects.val[0].truths.len()),
            (3, 2),
            "{line}"
        );
        assert_eq!(objects.val[0].truths[1].class, 1);

        let many = text(5);
        let files = [YOLO[0], YOLO[1], ("labels/val/b.txt", many.as_str())];
        let counts = [
            "5 of 9 objects are wrong",
            "a tenth",
            "and 2 more",
            "labels/val/b.txt: line 2",
        ];
        refused(&files, &YOLO_PICTURES, &[&counts, parts].concat());
    }
}

#[test]
fn a_tenth_of_the_objects_may_be_wrong() {
    for (wrong, accepted) in [(0, true), (3, true), (4, true), (5, false)] {
        let mut account = Account::default();
        for i in 0..40 {
            let object = if i < wrong {
                Err(anyhow::anyhow!("line {i}"))
            } else {
                Ok(())
            };
            assert_eq!(
                account.note(Path::new("a.txt"), object).is_some(),
                i >= wrong
            );
        }
        let left_out = account.close(Path::new("data")).ok();
        assert_eq!(left_out, accepted.then_some(wrong), "{wrong}");
    }
}

#[test]
fn missing_yolo_files_are_refused_by_name() {
    // A picture without a file has no objects, and nothing is left to find.
    refused(&YOLO[..2], &YOLO_PICTURES, &["validation", "no object"]);
    refused(
        &[YOLO[0], ("labels/other.txt", "")],
        &YOLO_PICTURES,
        &["none of 2 pictures has labels", "labels/train/a.txt"],
    );
    refused(
        &YOLO[1..],
        &YOLO_PICTURES,
        &["classes.txt is missing", "data.yaml"],
    );
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
        &["images/a.png", "not a JPEG, PNG, WebP or PNM"],
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
    let b = xml(&b).replace("a.png", "C:\\data\\elsewhere\\b.png");
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
fn wrong_voc_objects_are_left_out_and_many_are_refused_with_file_and_object() {
    let good = ["1", "1", "9", "9"];
    let bad = |bounds| object("cat", bounds, "");
    for (wrong, parts) in [
        ("<object/>".to_string(), &["object 2 has no <name>"][..]),
        (
            "<object><name>cat</name></object>".to_string(),
            &["object 2 has no <bndbox>"],
        ),
        (
            object("dog", good, ""),
            &["class dog is unknown", "classes.txt"],
        ),
        (bad(["1", "1", "NaN", "9"]), &["object 2", "not a number"]),
        (bad(["1", "1", "x", "9"]), &["object 2", "<xmax> is `x`"]),
        (bad(["1", "1", "", "9"]), &["object 2", "has no <xmax>"]),
        (bad(["1", "1", "44", "9"]), &["object 2", "outside"]),
        (bad(["10", "1", "9", "9"]), &["object 2", "no area"]),
    ] {
        let text = |count: usize| xml(&(object("cat", good, "") + &wrong.repeat(count)));
        let whole = text(0).replace("a.png", "b.png");
        let files = |a: &str| {
            let lists = [
                ("ImageSets/Main/train.txt", "a"),
                ("ImageSets/Main/val.txt", "b"),
            ];
            let files = [
                ("Annotations/a.xml", a),
                ("Annotations/b.xml", &whole),
                ("classes.txt", "cat"),
            ];
            folder(
                &[&files[..], &lists].concat(),
                &["JPEGImages/a.png", "JPEGImages/b.png"],
            )
        };
        let objects = Objects::read(files(&text(2)).path()).expect("read");
        assert_eq!(
            (objects.left_out, objects.train[0].truths.len()),
            (2, 1),
            "{wrong}"
        );
        let error = Objects::read(files(&text(4)).path()).expect_err("refused");
        let message = format!("{error:#}");
        for part in ["4 of 6 objects", "a.xml"].iter().chain(parts) {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

#[test]
fn voc_files_that_are_none_are_refused_by_name() {
    let one = |text: &str, parts: &[&str]| {
        let files = [("Annotations/a.xml", text), ("classes.txt", "cat")];
        refused(&files, &["JPEGImages/a.png"], &[&["a.xml"], parts].concat());
    };
    one(
        "<annotation><object>",
        &["not a whole XML file, at line 1", "repair"],
    );
    one("<html/>", &["<html>", "<annotation>"]);
    let bomb = "<!DOCTYPE a [<!ENTITY b \"b\">]><annotation>&b;</annotation>";
    one(bomb, &["DTD", "remove"]);
    let lost = xml("").replace("a.png", "lost.png");
    let files = [("Annotations/c.xml", lost.as_str())];
    refused(
        &files,
        &["JPEGImages/a.png"],
        &["c.xml", "picture is not in"],
    );
}

#[test]
fn a_limit_takes_pictures_evenly() {
    let picture = |i: usize| Picture {
        path: Path::new(&i.to_string()).to_path_buf(),
        size: [1, 1],
        truths: vec![],
        masks: Vec::new(),
    };
    let objects = Objects {
        classes: vec![],
        train: (0..10).map(picture).collect(),
        val: (0..3).map(picture).collect(),
        layout: "",
        left_out: 0,
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
