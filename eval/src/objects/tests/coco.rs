//! COCO JSON as written by COCO, as written by other programs, and invalid.

use super::*;

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

/// COCO's JSON of one picture with these annotations.
fn coco(annotations: &[String]) -> String {
    format!(
        r#"{{"images": [{{"id": 7, "file_name": "a.png"}}], "categories": [{{"id": 3, "name": "cat"}}],
        "annotations": [{}]}}"#,
        annotations.join(", ")
    )
}

const GOOD: &str = r#"{"image_id": 7, "category_id": 3, "bbox": [10, 5, 20, 10]}"#;

fn both_parts(train: &str) -> TempDir {
    let val = coco(&[GOOD.to_string()]);
    folder(
        &[("train.json", train), ("val.json", &val)],
        &["images/a.png"],
    )
}

#[test]
fn wrong_coco_annotations_are_left_out_and_many_are_refused_by_number() {
    for (wrong, parts) in [
        (
            "[10, 5, 20, 0]",
            &["the box from (10.0, 5.0)", "no area"][..],
        ),
        ("[10, 5, 99, 10]", &["outside"]),
        ("[10, 5, 20]", &["`bbox` is not four numbers"]),
        ("[10, 5, 20, 10, 1]", &["`bbox` is not four numbers"]),
        ("[10, 5, null, 10]", &["`bbox` is not four numbers"]),
        ("[10, 5, NaN, 10]", &["`bbox` is not four numbers"]),
        ("[10, 5, -Infinity, 10]", &["`bbox` is not four numbers"]),
        ("[[10, 5], [20, 10]]", &["`bbox` is not four numbers"]),
        ("[]", &["annotation number 2 has no `bbox`"]),
        ("null", &["has no `bbox`"]),
        ("{\"x\": 1}", &["has no `bbox`"]),
        (
            "[1, 1, 1, 1], \"id\": 5, \"category_id\": 4",
            &["annotation 5", "no category with the id 4"],
        ),
        (
            "[1, 1, 1, 1], \"category_id\": null",
            &["has no `category_id`"],
        ),
        (
            "[1, 1, 1, 1], \"image_id\": \"eight\"",
            &["no image with the id eight"],
        ),
    ] {
        let (image, category) = (r#""image_id": 7, "#, r#""category_id": 3, "#);
        let image = if wrong.contains("image_id") {
            ""
        } else {
            image
        };
        let category = if wrong.contains("category_id") {
            ""
        } else {
            category
        };
        let wrong = format!("{{{image}{category}\"bbox\": {wrong}}}");
        let text =
            |count: usize| coco(&[vec![GOOD.to_string()], vec![wrong.clone(); count]].concat());
        let objects = Objects::read(both_parts(&text(3)).path()).expect(&wrong);
        assert_eq!(
            (objects.left_out, objects.train[0].truths.len()),
            (3, 1),
            "{wrong}"
        );

        let error = Objects::read(both_parts(&text(4)).path()).expect_err(&wrong);
        let message = format!("{error:#}");
        for part in ["4 of 6 objects are wrong", "train.json: annotation"]
            .iter()
            .chain(parts)
        {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

#[test]
fn coco_json_is_read_as_programs_write_it() {
    let plain = coco(&[GOOD.to_string()]);
    let expected = Objects::read(both_parts(&plain).path()).expect("read");
    for (from, to) in [
        ("\"image_id\": 7", "\"image_id\": \"7\""),
        ("\"image_id\": 7", "\"image_id\": 7.0"),
        ("\"id\": 7", "\"id\": \"7\""),
        ("\"category_id\": 3", "\"category_id\": 3.0"),
        ("\"category_id\": 3", "\"category_id\": \"3\""),
        ("{\"id\": 3, ", "{\"id\": 3.0, "),
        ("[10, 5, 20, 10]", "[\"10\", 5.0, 20, \"1e1\"]"),
        ("\"bbox\"", "\"iscrowd\": false, \"bbox\""),
        (
            "\"bbox\"",
            "\"iscrowd\": \"0\", \"area\": null, \"id\": \"x\", \"bbox\"",
        ),
        (
            "\"bbox\"",
            "\"area\": NaN, \"note\": \"NaN \\\" NaN\", \"bbox\"",
        ),
        ("\"a.png\"", "\"./a.png\""),
        ("{\"images\"", "\u{feff}{\"images\""),
    ] {
        assert!(plain.contains(from), "{from}");
        let text = plain.replace(from, to);
        let objects = Objects::read(both_parts(&text).path()).expect(to);
        assert_eq!(objects.train[0].truths, expected.train[0].truths, "{to}");
        assert_eq!(
            (objects.classes, objects.left_out),
            (expected.classes.clone(), 0),
            "{to}"
        );
    }
    for crowd in ["true", "1", "1.0", "\"1\"", "\"true\""] {
        let text = plain.replace("\"bbox\"", &format!("\"iscrowd\": {crowd}, \"bbox\""));
        let text = text.replace("\"annotations\": [", &format!("\"annotations\": [{GOOD}, "));
        let objects = Objects::read(both_parts(&text).path()).expect(crowd);
        assert_eq!(
            objects.train[0].truths.iter().filter(|t| t.crowd).count(),
            1,
            "{crowd}"
        );
    }
    let text = plain.replace("\"a.png\"", "\"sub\\\\b.png\"");
    let folder = both_parts(&text);
    fs::create_dir(folder.path().join("images/sub")).expect("made");
    RgbImage::new(40, 20)
        .save(folder.path().join("images/sub/b.png"))
        .expect("written");
    let objects = Objects::read(folder.path()).expect("a name of Windows");
    assert!(objects.train[0].path.ends_with("images/sub/b.png"));
}

#[test]
fn wrong_coco_files_are_refused_in_words() {
    let one = |from: &str, to: &str, parts: &[&str]| {
        assert!(COCO.contains(from), "{from}");
        let text = COCO.replace(from, to);
        refused(
            &[("train.json", text.as_str())],
            &["images/a.png"],
            &[&["train.json"], parts].concat(),
        );
    };
    one(
        "[10, 5, 20, 10]",
        "[10, 5, 1e999, 10]",
        &["not JSON at line 3", "repair"],
    );
    one("\"id\": 1,", "\"id\": 1", &["not JSON at line 3", "repair"]);
    one("}]}", "", &["ends in the middle", "again"]);
    one(
        "{\"info\": {}, \"images\": [",
        "{\"images\": 3, \"more\": [",
        &["not as COCO has it", "`images`"],
    );
    one("a.png", "../a.png", &["leads out", "relative to"]);
    one("a.png", "..\\\\a.png", &["leads out"]);
    one("a.png", "/a.png", &["leads out"]);
    one("a.png", "b.png", &["b.png is missing", "add it"]);
    one(
        "\"file_name\": \"a.png\"",
        "\"file_name\": null",
        &["image 7 has no `file_name`"],
    );
    one("{\"id\": 7, ", "{", &["image number 1 has no `id`"]);
    one("\"id\": 3", "\"id\": \"9\"", &["same id"]);
    one("\"categories\"", "\"kinds\"", &["no `categories`"]);
    for (text, part) in [
        ("[]", "no `categories`"),
        ("3", "not as COCO has it"),
        ("", "ends in the middle"),
    ] {
        let folder = folder(&[("train.json", text)], &[]);
        let message = format!("{:#}", Objects::read(folder.path()).expect_err("refused"));
        assert!(message.contains(part), "{message}");
        for word in ["struct", "sequence", "EOF", "invalid type"] {
            assert!(!message.contains(word), "{message}");
        }
    }
    let empty = r#"{"images": [], "categories": [{"id": 1, "name": "cat"}]}"#;
    refused(&[("train.json", empty)], &[], &["no pictures for training"]);
    refused(
        &[("a_train.json", COCO), ("b_train.json", COCO)],
        &[],
        &["which of them"],
    );
}
