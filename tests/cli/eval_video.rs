//! `eval propagation`: its layouts and figures, and its errors for bad input.

use std::fs;

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

use crate::sandbox::Sandbox;

const EVAL: &str =
    "eval propagation --device cpu --weights random:resnet10 --size 96 --feature stage3";

/// Frame number `at` of a video: a red square moves to the right by 4 pixels per frame, a blue one to the left.
fn picture(at: u32) -> RgbImage {
    RgbImage::from_fn(96, 64, |x, y| match object(at, x, y) {
        1 => Rgb([220, 30, 30]),
        2 => Rgb([30, 60, 220]),
        _ => Rgb([120, 140, 110]),
    })
}

fn object(at: u32, x: u32, y: u32) -> u8 {
    let red = (8 + 4 * at..32 + 4 * at).contains(&x) && (16..40).contains(&y);
    let blue = (72 - 4 * at..92 - 4 * at).contains(&x) && (40..60).contains(&y);
    u8::from(red) + 2 * u8::from(blue && !red)
}

fn mask(at: u32, of: impl Fn(u8) -> u8) -> GrayImage {
    GrayImage::from_fn(96, 64, |x, y| Luma([of(object(at, x, y))]))
}

/// Writes `frames` frames of the video to `pictures`, and their masks to `masks`.
fn video(sandbox: &Sandbox, frames: u32, pictures: &str, masks: &str, of: impl Fn(u8) -> u8) {
    for at in 0..frames {
        let files = [(pictures, "jpg"), (masks, "png")];
        let [picture_file, mask_file] = files.map(|(folder, ending)| {
            fs::create_dir_all(sandbox.path(folder)).expect("a folder");
            sandbox.path(&format!("{folder}/{at:05}.{ending}"))
        });
        picture(at).save(picture_file).expect("a picture");
        mask(at, &of).save(mask_file).expect("a mask");
    }
}

fn figure(report: &Value, name: &str) -> f64 {
    let figures = report["backbones"][0]["figures"].as_array();
    let mut figures = figures.expect("figures").iter();
    let found = figures.find(|figure| figure["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {report}"))["mean"]
        .as_f64()
        .expect("a number")
}

fn report(sandbox: &Sandbox, arguments: &str) -> (Value, String) {
    let ran = sandbox
        .run(&format!("{EVAL} {arguments} --json -"))
        .succeeded();
    let report = serde_json::from_str(&ran.stdout).expect("JSON and nothing else");
    (report, ran.stderr)
}

#[test]
fn moving_objects_are_followed_in_every_layout() {
    let sandbox = Sandbox::new();
    video(&sandbox, 6, "plain/moves", "plain/moves", |o| o);
    video(
        &sandbox,
        6,
        "davis/JPEGImages/480p/moves",
        "davis/Annotations/480p/moves",
        |o| o,
    );
    video(
        &sandbox,
        6,
        "tube/JPEGImages/moves",
        "tube/Annotations/moves",
        |o| o,
    );
    sandbox.write("davis/ImageSets/2017/val.txt", "moves\n");
    let mut figures = Vec::new();
    for data in ["plain", "plain/moves", "davis", "tube"] {
        let (found, _) = report(&sandbox, &format!("--data {data}"));
        assert_eq!(found["task"], "propagation");
        assert_eq!(figure(&found, "objects"), 2.0);
        assert_eq!(figure(&found, "judged frames"), 4.0);
        // Two plain colours are followed by any network that sees colours.
        let (followed, still) = (
            figure(&found, "J&F"),
            figure(&found, "J&F of the first mask"),
        );
        assert!(
            followed > still + 0.1 && figure(&found, "J") > 0.5,
            "{found}"
        );
        figures.push(found["backbones"][0]["figures"].clone());
    }
    assert!(figures.iter().all(|one| *one == figures[0]), "{figures:?}");
    assert!(sandbox.picture("propagation.png").width() > 900);

    // DAVIS 2016: one object, marked by 255, and lists with two paths in a line.
    video(
        &sandbox,
        6,
        "old/JPEGImages/480p/moves",
        "old/Annotations/480p/moves",
        |o| 255 * u8::from(o == 1),
    );
    let line = |at: u32| {
        format!("/JPEGImages/480p/moves/{at:05}.jpg /Annotations/480p/moves/{at:05}.png\n")
    };
    let lines: String = (0..6).map(line).collect();
    sandbox.write("old/ImageSets/480p/val.txt", &lines);
    let (found, _) = report(&sandbox, "--data old");
    assert_eq!(figure(&found, "objects"), 1.0);
    assert!(figure(&found, "J") > figure(&found, "J&F of the first mask"));
}

#[test]
fn short_videos_and_frames_without_masks_are_left_out_and_counted() {
    let sandbox = Sandbox::new();
    video(&sandbox, 6, "set/moves", "set/moves", |o| o);
    video(&sandbox, 1, "set/still", "set/still", |o| o);
    fs::remove_file(sandbox.path("set/moves/00002.png")).expect("removed");
    let (found, said) = report(&sandbox, "--data set");
    assert_eq!(figure(&found, "videos"), 1.0);
    assert_eq!(figure(&found, "judged frames"), 3.0);
    assert!(
        said.contains("1 of 2 videos have fewer than 3 frames") && said.contains("set/still"),
        "{said}"
    );
    assert!(said.contains("1 frames have no mask"), "{said}");
}

#[test]
fn bad_videos_are_one_line_with_the_file() {
    let sandbox = Sandbox::new();
    let refused = |parts: &[&str]| sandbox.run(&format!("{EVAL} --data set")).refused(parts);
    refused(&["set"]);
    sandbox.write("set/readme.txt", "");
    refused(&["set holds no videos", "00000.png"]);
    video(&sandbox, 1, "set/v", "set/v", |o| o);
    refused(&["set/v has only 1 of the 3 frames"]);
    video(&sandbox, 4, "set/v", "set/v", |o| o);
    GrayImage::new(96, 32)
        .save(sandbox.path("set/v/00002.png"))
        .expect("a mask");
    refused(&["set/v/00002.png: 96 x 32", "00002.jpg has 96 x 64"]);
    mask(2, |o| o)
        .save(sandbox.path("set/v/00002.png"))
        .expect("a mask");
    RgbImage::new(64, 64)
        .save(sandbox.path("set/v/00001.jpg"))
        .expect("a picture");
    fs::remove_file(sandbox.path("set/v/00001.png")).expect("removed");
    refused(&["set/v/00001.jpg", "64 x 64 pixels", "96 x 64"]);
    picture(1)
        .save(sandbox.path("set/v/00001.jpg"))
        .expect("a picture");
    fs::remove_file(sandbox.path("set/v/00002.png")).expect("removed");
    refused(&["set", "nothing to judge"]);
    mask(0, |_| 0)
        .save(sandbox.path("set/v/00000.png"))
        .expect("a mask");
    refused(&["set/v/00000.png marks no object"]);
    fs::remove_file(sandbox.path("set/v/00000.png")).expect("removed");
    refused(&["set/v/00000.jpg has no mask"]);
    fs::create_dir_all(sandbox.path("davis/JPEGImages/480p/v")).expect("a folder");
    let davis = format!("{EVAL} --data davis");
    sandbox
        .run(&davis)
        .refused(&["no folder of masks davis/Annotations/480p"]);
    sandbox
        .run(&format!("{EVAL} --data scenes:1 --temperature 0"))
        .refused(&["--temperature 0"]);
}
