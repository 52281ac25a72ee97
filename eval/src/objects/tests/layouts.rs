//! Layouts as programs and their exports really have them, and the parts that are judged.

use super::*;

const ONE: &str = "0 0.5 0.5 0.5 0.5\n";
const TWO: &str = "1 0.5 0.5 0.5 0.5\n";

fn read(files: &[(&str, &str)], pictures: &[&str]) -> Objects {
    let folder = folder(files, pictures);
    Objects::read(folder.path()).expect("read")
}

fn names(pictures: &[Picture]) -> Vec<String> {
    let name = |picture: &Picture| {
        let name = picture.path.file_name().expect("a name");
        name.to_string_lossy().into_owned()
    };
    pictures.iter().map(name).collect()
}

#[test]
fn roboflows_yolo_has_a_folder_for_each_part_and_names_in_data_yaml() {
    let yaml = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\n\
                names: ['cat', 'dog']\n\nroboflow:\n  workspace: x\n";
    let files = [
        ("data.yaml", yaml),
        ("train/labels/a (1).txt", ONE),
        ("valid/labels/b.txt", TWO),
        ("test/labels/c.txt", ONE),
    ];
    let pictures = [
        "train/images/a (1).png",
        "train/images/empty.PNG",
        "valid/images/b.png",
        "test/images/c.png",
    ];
    let objects = read(&files, &pictures);
    assert_eq!((objects.layout, objects.classes.len()), ("YOLO text", 2));
    // A picture without a file of labels has no objects.
    assert_eq!(names(&objects.train), ["a (1).png", "empty.PNG"]);
    assert_eq!(objects.train[1].truths, []);
    assert_eq!(names(&objects.val), ["b.png"]);
    assert_eq!(objects.val[0].truths[0].class, 1);
    // Without the paths in it, by the folders alone.
    let files = [
        ("data.yaml", "names: [cat, dog]"),
        files[1],
        files[2],
        files[3],
    ];
    let again = read(&files, &pictures);
    assert_eq!(names(&again.val), ["b.png"]);
}

#[test]
fn data_yaml_says_where_pictures_are_on_another_machine() {
    let yaml = "path: /content/datasets/pets\ntrain: images/first\nval: lists/second.txt\n\
                test: images/gone\nnames:\n  0: cat\n  1: dog\n";
    let files = [
        ("data.yaml", yaml),
        ("labels/first/a.txt", ONE),
        ("labels/more/b.txt", ONE),
        (
            "lists/second.txt",
            "/content/datasets/pets/images/more/b.png\r\n",
        ),
    ];
    let objects = read(&files, &["images/first/a.png", "images/more/b.png"]);
    assert_eq!(
        (names(&objects.train), names(&objects.val)),
        (vec!["a.png".to_string()], vec!["b.png".to_string()])
    );
    refused(
        &[
            ("data.yaml", "train: ../../etc\nval: b\nnames: [a]\n"),
            ("labels/x.txt", ""),
        ],
        &["images/a.png"],
        &["`train` is in ../../etc", "not there"],
    );
    refused(
        &[("data.yaml", "names: [a\n"), ("labels/x.txt", "")],
        &["images/a.png"],
        &["data.yaml", "line 1", "bracket"],
    );
}

#[test]
fn of_yolos_val_and_test_one_is_judged() {
    let files = [
        ("classes.txt", "cat\n"),
        ("labels/train2017/a.txt", ONE),
        ("labels/val2017/b.txt", ONE),
        ("labels/test2017/c.txt", ONE),
    ];
    let pictures = [
        "images/train2017/a.png",
        "images/val2017/b.png",
        "images/test2017/c.png",
    ];
    let objects = read(&files, &pictures);
    assert_eq!(
        (names(&objects.train), names(&objects.val)),
        (vec!["a.png".to_string()], vec!["b.png".to_string()])
    );
    let objects = read(&[files[0], files[1], files[3]], &[pictures[0], pictures[2]]);
    assert_eq!(names(&objects.val), ["c.png"]);
}

#[test]
fn roboflows_coco_has_its_json_beside_the_pictures() {
    let json = |name: &str| {
        format!(
            r#"{{"images": [{{"id": 0, "file_name": "{name}"}}], "categories": [{{"id": 1, "name": "cat"}}],
            "annotations": [{{"image_id": 0, "category_id": 1, "bbox": [10, 5, 20, 10]}}]}}"#
        )
    };
    let [a, b, c] = ["a.jpg", "b.png", "c.png"].map(json);
    let files = [
        ("train/_annotations.coco.json", a.as_str()),
        ("valid/_annotations.coco.json", &b),
        ("test/_annotations.coco.json", &c),
        ("README.roboflow.txt", "x"),
    ];
    let objects = read(&files, &["train/a.JPG", "valid/b.png", "test/c.png"]);
    assert_eq!(objects.layout, "COCO JSON");
    assert_eq!(
        (names(&objects.train), names(&objects.val)),
        (vec!["a.JPG".to_string()], vec!["b.png".to_string()])
    );
    // A file of another part may be missing pictures: it is not read.
    let objects = read(&files, &["train/a.JPG", "valid/b.png"]);
    assert_eq!(objects.val.len(), 1);
}

#[test]
fn voc_lists_have_names_with_spaces_endings_and_marks() {
    let xml = |name: &str| xml(&object("cat", ["1", "1", "9", "9"], "")).replace("a.png", name);
    let [a, b, c] = ["img (1).jpg", "b.png", "elsewhere.png"].map(xml);
    let utf16: String = "\u{feff}".to_string() + "img (1)\r\nc.jpg\r\n";
    let files = [
        ("Annotations/img (1).xml", a.as_str()),
        ("Annotations/b.xml", &b),
        ("Annotations/c.xml", &c),
        ("Annotations/._b.xml", "x"),
        ("ImageSets/Main/train.txt", utf16.as_str()),
        ("ImageSets/Main/val.txt", "b -1\r\n"),
        ("ImageSets/Main/test.txt", "not there\n"),
        ("ImageSets/Main/cat_train.txt", "img (1)  1\n"),
    ];
    let pictures = [
        "JPEGImages/img (1).JPG",
        "JPEGImages/b.png",
        "JPEGImages/c.jpeg",
    ];
    let objects = read(&files, &pictures);
    assert_eq!(names(&objects.train), ["img (1).JPG", "c.jpeg"]);
    assert_eq!(names(&objects.val), ["b.png"]);
    // Training and validation together leave the test to be judged.
    let files = [
        files[0],
        files[1],
        files[2],
        ("ImageSets/Main/trainval.txt", "b\nc\n"),
        ("ImageSets/Main/val.txt", "c\n"),
        ("ImageSets/Main/test.txt", "img (1)\n"),
    ];
    let objects = read(&files, &pictures);
    assert_eq!(
        (objects.train.len(), names(&objects.val)),
        (2, vec!["img (1).JPG".to_string()])
    );
}
