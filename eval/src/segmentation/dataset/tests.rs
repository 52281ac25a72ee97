//! Tests of the layouts, and of the error messages for faulty ones.

use image::Rgb;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        path
    }

    fn picture(&self, name: &str) {
        RgbImage::from_pixel(4, 2, Rgb([9; 3]))
            .save(self.path(name))
            .expect("a picture");
    }

    fn label(&self, name: &str, values: [u8; 8]) {
        GrayImage::from_raw(4, 2, values.to_vec())
            .expect("eight pixels")
            .save(self.path(name))
            .expect("a picture");
    }

    fn text(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn open(&self) -> anyhow::Result<Dataset> {
        Dataset::open(self.0.path(), &Splits::default())
    }

    fn refused(&self, parts: &[&str]) {
        let error = match self.open() {
            Ok(set) => set.train[0].open(set.classes.len()).expect_err("refused"),
            Err(error) => error,
        };
        let error = format!("{error:#}");
        assert!(!error.contains('\n'), "{error}");
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}

#[test]
fn the_three_layouts_are_read() {
    let plain = Folder::new();
    plain.text("classes.txt", "sky\nsea\n");
    plain.text("train.txt", "a\n");
    plain.text("test.txt", "b.jpg\n");
    for name in ["a", "b"] {
        plain.picture(&format!("images/{name}.jpg"));
        plain.label(&format!("labels/{name}.png"), [0, 1, 0, 1, 255, 0, 0, 0]);
    }
    let set = plain.open().expect("a data set");
    assert_eq!(set.splits, ["train", "test"]);
    assert_eq!((set.train.len(), set.test.len()), (1, 1));
    let (_, labels) = set.test[0].open(2).expect("a labelled picture");
    assert_eq!(labels.as_raw(), &[0, 1, 0, 1, 255, 0, 0, 0]);
    // `val` is preferred to `test`.
    plain.text("val.txt", "a\n");
    assert_eq!(plain.open().expect("a data set").splits[1], "val");

    let voc = Folder::new();
    voc.picture("JPEGImages/x.jpg");
    voc.label("SegmentationClass/x.png", [0, 20, 0, 1, 255, 0, 0, 0]);
    for split in ["train", "val"] {
        voc.text(&format!("ImageSets/Segmentation/{split}.txt"), "x\n");
    }
    assert_eq!(voc.open().expect("a data set").classes.len(), 21);

    let city = Folder::new();
    for split in ["train", "val"] {
        city.picture(&format!("leftImg8bit/{split}/ulm/1_leftImg8bit.png"));
        let label = format!("gtFine/{split}/ulm/1_gtFine_labelTrainIds.png");
        city.label(&label, [18; 8]);
    }
    assert_eq!(city.open().expect("a data set").test.len(), 1);
}

#[test]
fn lists_are_read_as_people_and_programs_write_them() {
    let folder = Folder::new();
    folder.text("classes.txt", "sky\nsea\n");
    for (picture, label) in [
        ("images/img (1).JPG", "labels/img (1).png"),
        ("images/sub/b.v2.png", "labels/sub/b.v2.PNG"),
        ("images/c.jpeg", "labels/c.png"),
        ("other/d.jpg", "other/d labels.png"),
    ] {
        folder.picture(picture);
        folder.label(label, [0; 8]);
    }
    std::fs::write(folder.path("images/._c.jpg"), b"").expect("written");
    folder.text(
        "train.txt",
        "\u{feff}# names\r\nimg (1)\r\n._c.jpg\r\nsub/b.v2.PNG\r\n",
    );
    folder.text("val.txt", "c.jpg\n/other/d.jpg /other/d labels.png\n");
    folder.text("test.txt", "is not read\n");
    folder.text("val_hard.txt", "neither\n");
    let set = folder.open().expect("a data set");
    assert_eq!(set.splits, ["train", "val"]);
    let images = |samples: &[Sample]| -> Vec<String> {
        let names = samples
            .iter()
            .map(|sample| sample.image.file_name().expect("a name"));
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(images(&set.train), ["img (1).JPG", "b.v2.png"]);
    assert_eq!(images(&set.test), ["c.jpeg", "d.jpg"]);
    assert!(set.test[1].label.ends_with("other/d labels.png"));
    for sample in set.train.iter().chain(&set.test) {
        sample.open(2).expect("a labelled picture");
    }
    folder.text("val.txt", "/other/d.jpg ../secret.png\n");
    folder.refused(&["val.txt, line 1", "leads elsewhere"]);
}

#[test]
fn without_split_files_scenes_are_not_torn_apart() {
    let folder = Folder::new();
    folder.text("classes.txt", "sky\n");
    for i in 0..5 {
        for view in ["a", "b"] {
            // A name may contain dots; only the last one separates the extension.
            folder.picture(&format!("images/{i}_v1.{view}.png"));
            folder.label(&format!("labels/{i}_v1.{view}.png"), [0; 8]);
        }
    }
    let set = folder.open().expect("a data set");
    assert_eq!((set.train.len(), set.test.len()), (6, 4));
    assert!(set.test[0].image.ends_with("3_v1.a.png"));
}

#[test]
fn what_is_wrong_is_said_with_its_file() {
    let folder = Folder::new();
    folder.refused(&["is no labelled data set", "images/ and labels/"]);
    folder.picture("images/a.png");
    folder.refused(&["no folder of labels", "labels"]);
    folder.label("labels/a.png", [0, 1, 0, 7, 255, 0, 0, 0]);
    folder.refused(&["classes.txt", "one a line"]);
    folder.text("classes.txt", "sky\n\nsea\n");
    folder.refused(&["classes.txt: line 2 is empty"]);
    folder.text("classes.txt", "sky\nsea\n");
    folder.text("train.txt", "a\n");
    folder.refused(&["the split test", "test.txt"]);
    folder.text("test.txt", "\n");
    folder.refused(&["test.txt names no pictures"]);
    folder.text("test.txt", "a\nb\n");
    folder.refused(&["test.txt, line 2: there is no picture b"]);
    folder.text("test.txt", "../images/a\n");
    folder.refused(&["line 1", "leads elsewhere"]);
    folder.text("test.txt", "a\n");
    folder.refused(&["labels/a.png: class 7 at pixel (3, 0)", "2 classes"]);
    RgbImage::new(4, 2)
        .save(folder.path("labels/a.png"))
        .expect("a picture");
    folder.refused(&["labels/a.png is an RGB picture"]);
    GrayImage::new(2, 4)
        .save(folder.path("labels/a.png"))
        .expect("a picture");
    folder.refused(&["labels/a.png: 2 x 4 pixels", "a.png has 4 x 2"]);
    folder.picture("images/b.png");
    folder.text("test.txt", "b\n");
    folder.refused(&["images/b.png has no label", "labels/b.png"]);
}
