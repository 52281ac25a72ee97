//! `eval instances`: its layouts and figures, and its errors for bad input.

use std::fs;

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const EVAL: &str =
    "eval instances --device cpu --weights random:resnet10 --size 64 --stride 8 --feature stage3";

/// A picture with a red block, and the block's mask; `at` is its left edge.
fn block(at: u32) -> (RgbImage, GrayImage) {
    let inside = |x: u32, y: u32| (at..at + 24).contains(&x) && (20..44).contains(&y);
    let picture = RgbImage::from_fn(64, 64, |x, y| {
        if inside(x, y) {
            Rgb([230, 20, 20])
        } else {
            Rgb([90, 120, 90])
        }
    });
    let mask = GrayImage::from_fn(64, 64, |x, y| Luma([u8::from(inside(x, y))]));
    (picture, mask)
}

fn save(sandbox: &Sandbox, name: &str, picture: impl Into<image::DynamicImage>) {
    let path = sandbox.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    picture.into().save(path).expect("a picture");
}

/// The same eight blocks in a layout; both parts of COCO and VOC have all of them.
fn blocks(sandbox: &Sandbox, layout: &str) {
    let names: Vec<String> = (0..8).map(|i| format!("b{i}")).collect();
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (i, name) in names.iter().enumerate() {
        let left = 4 * i as u32;
        let (picture, mask) = block(left);
        match layout {
            "penn" => {
                save(sandbox, &format!("penn/PNGImages/{name}.png"), picture);
                save(sandbox, &format!("penn/PedMasks/{name}_mask.png"), mask);
            }
            "voc" => {
                let labels =
                    GrayImage::from_fn(64, 64, |x, y| Luma([15 * mask.get_pixel(x, y).0[0]]));
                save(sandbox, &format!("voc/JPEGImages/{name}.jpg"), picture);
                save(sandbox, &format!("voc/SegmentationObject/{name}.png"), mask);
                save(
                    sandbox,
                    &format!("voc/SegmentationClass/{name}.png"),
                    labels,
                );
            }
            _ => {
                save(sandbox, &format!("coco/images/{name}.png"), picture);
                images.push(json!({ "id": i, "file_name": format!("{name}.png") }));
                let right = left + 24;
                let segmentation = if i % 2 == 0 {
                    json!([[left, 20, right, 20, right, 44, left, 44]])
                } else {
                    // Column by column: 24 columns of 24 pixels with 40 between them.
                    let mut runs = vec![64 * left + 20];
                    runs.extend((0..47).map(|run| if run % 2 == 0 { 24 } else { 40 }));
                    runs.push(64 * 64 - runs.iter().sum::<u32>());
                    json!({ "size": [64, 64], "counts": runs })
                };
                annotations.push(json!({
                    "id": i, "image_id": i, "category_id": 7, "bbox": [left, 20, 24, 24], "area": 576,
                    "iscrowd": 0, "segmentation": segmentation,
                }));
            }
        }
    }
    if layout == "voc" {
        for part in ["train", "val"] {
            sandbox.write(
                &format!("voc/ImageSets/Segmentation/{part}.txt"),
                names.join("\n"),
            );
        }
    }
    if layout == "coco" {
        for part in ["train", "val"] {
            coco(sandbox, part, &images, &annotations);
        }
    }
}

fn coco(sandbox: &Sandbox, part: &str, images: &[Value], annotations: &[Value]) {
    let data = json!({
        "images": images, "annotations": annotations, "categories": [{ "id": 7, "name": "block" }],
    });
    sandbox.write(
        &format!("coco/annotations/instances_{part}.json"),
        data.to_string(),
    );
}

fn figure(report: &Value, name: &str) -> f64 {
    let figures = report["backbones"][0]["figures"]
        .as_array()
        .expect("figures");
    let found = figures.iter().find(|figure| figure["name"] == name);
    found.expect("a figure")["mean"].as_f64().expect("a number")
}

#[test]
fn masks_are_learned_in_every_layout() {
    let sandbox = Sandbox::new();
    for (layout, name) in [
        ("coco", "COCO JSON"),
        ("voc", "VOC SegmentationObject"),
        ("penn", "PennFudan"),
    ] {
        blocks(&sandbox, layout);
        let line =
            format!("{EVAL} --data {layout} --steps 150 --batch-size 4 --json r.json --out r.png");
        sandbox.run(&line).succeeded();
        let report = sandbox.json("r.json");
        assert_eq!(report["protocol"]["layout"], name);
        let (masks, boxes) = (figure(&report, "mask AP50"), figure(&report, "AP50"));
        assert!(masks > 0.3 && boxes > 0.3, "{layout}: {masks} {boxes}");
        let losses = report["backbones"][0]["details"][0]["loss"]
            .as_array()
            .expect("losses");
        let loss = |at: usize| losses[at]["masks"].as_f64().expect("a loss");
        assert!(
            loss(losses.len() - 1) < 0.5 * loss(0),
            "{layout}: {losses:?}"
        );
        // Two pictures are judged of the last layout.
        assert!(sandbox.picture("r.png").width() > 600);
    }
    // The scenes of `densecl synth`.
    sandbox
        .run("synth --out scenes --count 4 --size 64")
        .succeeded();
    let line = format!("{EVAL} --data scenes --steps 2 --batch-size 2 --json r.json");
    sandbox.run(&line).succeeded();
    let report = sandbox.json("r.json");
    assert_eq!(report["protocol"]["train_pictures"], 6);
    assert_eq!(report["protocol"]["val_pictures"], 2);
}

#[test]
fn wrong_masks_are_left_out_and_counted_or_refused_with_the_file() {
    let sandbox = Sandbox::new();
    let refused = |data: &str, parts: &[&str]| {
        sandbox
            .run(&format!("{EVAL} --data {data} --steps 1"))
            .refused(parts);
    };
    blocks(&sandbox, "coco");
    let image = |i: u32| json!({ "id": i, "file_name": format!("b{i}.png") });
    let annotation = |i: u32, segmentation: Value| json!({ "id": i, "image_id": i, "category_id": 7, "bbox": [4 * i, 20, 24, 24], "segmentation": segmentation });
    let images: Vec<Value> = (0..8).map(image).collect();
    let square = json!([[1, 1, 9, 1, 9, 9]]);
    let wrong = [
        (json!([[1, 1, 5, 5]]), "at least three points"),
        (
            json!({ "size": [64, 64], "counts": [10, 20] }),
            "runs are of 30 pixels",
        ),
        (
            json!({ "size": [32, 64], "counts": [2048] }),
            "its RLE is for 64 x 32 pixels",
        ),
        (json!({ "size": [64, 64], "counts": "~~" }), "RLE"),
        (json!({ "size": [64, 64], "counts": [4096] }), "no pixels"),
        (Value::Null, "neither a list of polygons nor RLE"),
    ];
    for (segmentation, part) in &wrong {
        let mut annotations: Vec<Value> = (1..8).map(|i| annotation(i, square.clone())).collect();
        annotations.push(annotation(0, segmentation.clone()));
        coco(&sandbox, "train", &images, &annotations);
        let line = format!("{EVAL} --data coco --steps 1 --json r.json");
        let ran = sandbox.run(&line).succeeded();
        assert!(
            ran.stderr.contains("left out 1 of 16 objects"),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains(part) && ran.stderr.contains("annotation 0"),
            "{}",
            ran.stderr
        );
        assert_eq!(sandbox.json("r.json")["protocol"]["objects_left_out"], 1);
    }
    let all: Vec<Value> = (0..8).map(|i| annotation(i, wrong[0].0.clone())).collect();
    coco(&sandbox, "train", &images, &all);
    refused(
        "coco",
        &["8 of 16 objects are wrong", "instances_train.json"],
    );

    blocks(&sandbox, "penn");
    save(
        &sandbox,
        "penn/PedMasks/b3_mask.png",
        GrayImage::new(32, 64),
    );
    refused(
        "penn",
        &["PedMasks/b3_mask.png: 32 x 64", "b3.png has 64 x 64"],
    );
    fs::remove_file(sandbox.path("penn/PedMasks/b3_mask.png")).expect("removed");
    refused("penn", &["b3_mask.png", "No such file"]);

    blocks(&sandbox, "voc");
    save(
        &sandbox,
        "voc/SegmentationClass/b2.png",
        GrayImage::new(64, 64),
    );
    refused("voc", &["SegmentationObject/b2.png: object 1 has no class"]);
    sandbox.write("voc/ImageSets/Segmentation/train.txt", "nobody\n");
    refused("voc", &["train.txt: nobody is not in JPEGImages/"]);
    refused("nowhere", &["nowhere is not a folder"]);
    fs::create_dir(sandbox.path("empty")).expect("a folder");
    refused("empty", &["no masks found", "PedMasks"]);
}
