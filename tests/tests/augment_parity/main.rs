//! Compares the augmentations with torchvision on PIL images, using the goldens of `golden/augment`.

mod invariants;

use std::path::{Path, PathBuf};

use densecl::augment::{
    ColorOp, CropBox, Planes, ViewParams, apply, crop_resize, gaussian_blur, grayscale,
    normalize_into, normalize_planes,
};
use densecl::rng::{Purpose, stream};
use image::{Rgb, RgbImage};
use serde_json::Value;

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/augment")
}

fn golden() -> Value {
    let text = std::fs::read_to_string(golden_dir().join("cases.json")).expect("cases.json");
    serde_json::from_str(&text).expect("cases.json is JSON")
}

fn picture(name: &Value) -> RgbImage {
    let path = golden_dir().join(name.as_str().expect("a file name"));
    image::open(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .to_rgb8()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    std::array::from_fn(|i| number(&value[i]))
}

fn crop_box(value: &Value) -> CropBox {
    let [left, top, width, height] = numbers(value).map(|side| side as u32);
    CropBox {
        left,
        top,
        width,
        height,
    }
}

fn color_op(name: &Value, factor: &Value) -> ColorOp {
    let factor = number(factor);
    match name.as_str() {
        Some("brightness") => ColorOp::Brightness(factor),
        Some("contrast") => ColorOp::Contrast(factor),
        Some("saturation") => ColorOp::Saturation(factor),
        Some("hue") => ColorOp::Hue(factor),
        _ => panic!("unknown colour operation {name}"),
    }
}

/// The picture after `operation`, an operation on colour planes.
fn on_planes(image: &RgbImage, operation: impl FnOnce(&mut Planes)) -> RgbImage {
    let mut planes = Planes::from_rgb(image);
    operation(&mut planes);
    planes.to_rgb()
}

/// Applies `ours` to the source of every golden case of a kind and compares the result with PIL's: no byte may
/// differ by more than `bound` grey levels, and at most the share `differing` of the bytes may differ at all.
fn compare(kind: &str, bound: u8, differing: f64, ours: impl Fn(RgbImage, &Value) -> RgbImage) {
    let golden = golden();
    let cases = golden[kind].as_array().expect("a list of cases");
    assert!(!cases.is_empty());
    for case in cases {
        let expected = picture(&case["file"]);
        let found = ours(picture(&case["source"]), case);
        assert_eq!(
            found.dimensions(),
            expected.dimensions(),
            "{}",
            case["file"]
        );
        let differences = found
            .iter()
            .zip(expected.iter())
            .map(|(a, b)| a.abs_diff(*b));
        let largest = differences.clone().max().expect("pixels");
        let share = differences.filter(|d| *d > 0).count() as f64 / expected.len() as f64;
        println!(
            "{}: largest {largest}, differing {:.2} %",
            case["file"],
            100.0 * share
        );
        assert!(
            largest <= bound,
            "{}: off by {largest} grey levels",
            case["file"]
        );
        assert!(
            share <= differing,
            "{}: {share} of the bytes differ",
            case["file"]
        );
    }
}

/// Exact, because both use the same arithmetic in the same types.
#[test]
fn color_operations_equal_pil() {
    compare("color", 0, 0.0, |image, case| {
        on_planes(&image, |planes| {
            color_op(&case["op"], &case["factor"]).apply(planes)
        })
    });
}

/// Exact, because both use the same integer arithmetic.
#[test]
fn grayscale_equals_pil() {
    compare("grayscale", 0, 0.0, |image, _| on_planes(&image, grayscale));
}

/// Exact, because both apply the same box filters in the same fixed point and round after the same passes.
#[test]
fn blur_equals_pil() {
    compare("blur", 0, 0.0, |image, case| {
        on_planes(&image, |planes| {
            gaussian_blur(planes, number(&case["sigma"]))
        })
    });
}

/// Within 1 grey level. The filter is PIL's, but here the vertical pass comes first and its result is rounded
/// to bytes, while PIL's first pass is the horizontal one. Before the last rounding either result is within
/// half a level of the exact one, plus some hundredths of a level for the fixed-point weights. Few bytes
/// differ.
#[test]
fn crop_and_resize_agree_with_pil() {
    compare("crop_resize", 1, 0.1, |image, case| {
        crop_resize(
            &image,
            crop_box(&case["crop"]),
            number(&case["size"]) as u32,
        )
    });
}

fn view_params(case: &Value, crop: CropBox) -> ViewParams {
    let color = case["color"].as_array().expect("a list of operations");
    ViewParams {
        crop,
        color: color.iter().map(|op| color_op(&op[0], &op[1])).collect(),
        grayscale: case["grayscale"].as_bool().expect("a flag"),
        blur_sigma: case["sigma"].as_f64(),
        flip: case["flip"].as_bool().expect("a flag"),
    }
}

/// Few bytes differ. Without a colour operation they differ by the resize's 1 level. With a hue operation
/// this level can change the hue, which PIL stores as a byte, by one step; that moves the middle channel of a
/// saturated colour by 6 levels, and a contrast of 1.4 increases this to 8.
#[test]
fn whole_pipeline_agrees_with_pil() {
    compare("pipeline", 8, 0.1, |image, case| {
        let params = view_params(case, crop_box(&case["crop"]));
        apply(&image, &params, number(&case["size"]) as u32).image
    });
}

/// Exact after the resize: the input is PIL's resized crop, so resizing it to its own size copies it, and all
/// operations after that give PIL's bytes.
#[test]
fn pipeline_after_the_resize_equals_pil() {
    compare("pipeline", 0, 0.0, |_, case| {
        let resized = picture(&case["resized"]);
        let (width, height) = resized.dimensions();
        let params = view_params(
            case,
            CropBox {
                left: 0,
                top: 0,
                width,
                height,
            },
        );
        apply(&resized, &params, width).image
    });
}

/// Equal but for the last two bits: both do the same three operations in single precision.
#[test]
fn normalization_equals_torchvision() {
    let golden = &golden()["normalization"];
    let levels = golden["levels"].as_array().expect("a list");
    let image = RgbImage::from_fn(levels.len() as u32, 1, |x, _| {
        Rgb([number(&levels[x as usize]) as u8; 3])
    });
    let mut planes = vec![0.0; 3 * levels.len()];
    normalize_into(&image, &mut planes);
    let mut of_bytes = vec![0.0; planes.len()];
    normalize_planes(
        Planes::from_rgb(&image).as_bytes(),
        levels.len(),
        &mut of_bytes,
    );
    assert_eq!(planes, of_bytes);
    for (i, found) in planes.iter().enumerate() {
        let expected = number(&golden["planes"][i / levels.len()][i % levels.len()]);
        let error = (f64::from(*found) - expected).abs();
        assert!(
            error <= 3e-7 * expected.abs(),
            "value {i}: {found}, expected {expected}"
        );
    }
}

/// The means over many draws differ from torchvision's by less than five standard errors of their difference.
/// If the distributions are the same, a figure exceeds this with a probability of one in 10⁶; both seeds are
/// fixed.
#[test]
fn random_resized_crop_is_distributed_as_torchvisions() {
    for golden in golden()["random_resized_crop"].as_array().expect("a list") {
        let [width, height] = [&golden["width"], &golden["height"]].map(number);
        let draws = 100_000;
        let mut rng = stream(7, Purpose::Views, 0);
        let mut sums = [0.0; 4];
        for _ in 0..draws {
            let crop = CropBox::draw(
                &mut rng,
                width as u32,
                height as u32,
                numbers(&golden["scale"]),
                numbers(&golden["ratio"]),
            );
            let [left, top, w, h] = [crop.left, crop.top, crop.width, crop.height].map(f64::from);
            let figures = [
                w * h / (width * height),
                (w / h).ln(),
                (left + w / 2.0) / width,
                (top + h / 2.0) / height,
            ];
            for (sum, figure) in sums.iter_mut().zip(figures) {
                *sum += figure;
            }
        }
        let names = ["area", "log_ratio", "center_x", "center_y"];
        for (name, sum) in names.into_iter().zip(sums) {
            let std = number(&golden["std"][name]);
            let bound = 5.0 * std * (1.0 / draws as f64 + 1.0 / number(&golden["draws"])).sqrt();
            let (found, expected) = (sum / draws as f64, number(&golden["mean"][name]));
            assert!(
                (found - expected).abs() <= bound,
                "{width} x {height}, {name}: {found}, torchvision {expected}, bound {bound}"
            );
        }
    }
}
