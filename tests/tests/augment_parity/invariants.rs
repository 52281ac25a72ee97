//! Properties that hold for every view: of its geometry, its random draws and its settings.

use densecl::augment::{
    ColorOp, CropBox, ViewConfig, ViewGeometry, ViewParams, apply, flip, gaussian_blur, hue,
    two_views,
};
use densecl::rng::{Purpose, stream};
use image::{Rgb, RgbImage};
use proptest::prelude::*;

use super::on_planes;

/// Shares are within five standard errors (√(p(1 − p)/n)) of their probabilities, and factors within their
/// ranges.
#[test]
fn parameters_follow_the_configuration() {
    let config = ViewConfig::default();
    let draws = 20_000;
    let mut rng = stream(3, Purpose::Views, 0);
    let [mut jittered, mut gray, mut blurred, mut flipped] = [0; 4];
    let mut first = [0; 4];
    for _ in 0..draws {
        let params = ViewParams::draw(&mut rng, 500, 375, &config);
        jittered += usize::from(!params.color.is_empty());
        gray += usize::from(params.grayscale);
        blurred += usize::from(params.blur_sigma.is_some());
        flipped += usize::from(params.flip);
        assert!(
            params
                .blur_sigma
                .is_none_or(|sigma| (0.1..=2.0).contains(&sigma))
        );
        assert!(matches!(params.color.len(), 0 | 4));
        for (position, op) in params.color.iter().enumerate() {
            let (which, permitted, factor) = match *op {
                ColorOp::Brightness(factor) => (0, 0.6..=1.4, factor),
                ColorOp::Contrast(factor) => (1, 0.6..=1.4, factor),
                ColorOp::Saturation(factor) => (2, 0.6..=1.4, factor),
                ColorOp::Hue(turn) => (3, -0.1..=0.1, turn),
            };
            assert!(permitted.contains(&factor), "{op:?}");
            first[which] += usize::from(position == 0);
        }
    }
    let check = |what: &str, count: usize, out_of: usize, p: f64| {
        let share = count as f64 / out_of as f64;
        let bound = 5.0 * (p * (1.0 - p) / out_of as f64).sqrt();
        assert!(
            (share - p).abs() <= bound,
            "{what}: {share}, expected {p} within {bound}"
        );
    };
    check("jitter", jittered, draws, 0.8);
    check("grayscale", gray, draws, 0.2);
    check("blur", blurred, draws, 0.5);
    check("flip", flipped, draws, 0.5);
    first
        .into_iter()
        .for_each(|count| check("first operation", count, jittered, 0.25));
}

#[test]
fn an_operation_of_strength_zero_is_left_out() {
    let config = ViewConfig {
        hue: 0.0,
        jitter_p: 1.0,
        ..ViewConfig::default()
    };
    let params = ViewParams::draw(&mut stream(0, Purpose::Views, 0), 64, 64, &config);
    assert_eq!(params.color.len(), 3);
    assert!(!params.color.iter().any(|op| matches!(op, ColorOp::Hue(_))));
}

#[test]
fn bad_settings_are_refused_by_name() {
    let good = ViewConfig::default();
    assert_eq!(good.validate(), Ok(()));
    let bad = [
        (
            "size = 0",
            ViewConfig {
                size: 0,
                ..good.clone()
            },
        ),
        (
            "scale = [0, 1]",
            ViewConfig {
                scale: [0.0, 1.0],
                ..good.clone()
            },
        ),
        (
            "scale = [0.5, 0.2]",
            ViewConfig {
                scale: [0.5, 0.2],
                ..good.clone()
            },
        ),
        (
            "ratio = [NaN, 1]",
            ViewConfig {
                ratio: [f64::NAN, 1.0],
                ..good.clone()
            },
        ),
        (
            "brightness = -0.1",
            ViewConfig {
                brightness: -0.1,
                ..good.clone()
            },
        ),
        (
            "contrast = inf",
            ViewConfig {
                contrast: f64::INFINITY,
                ..good.clone()
            },
        ),
        (
            "saturation = NaN",
            ViewConfig {
                saturation: f64::NAN,
                ..good.clone()
            },
        ),
        (
            "hue = 0.6",
            ViewConfig {
                hue: 0.6,
                ..good.clone()
            },
        ),
        (
            "jitter_p = 1.5",
            ViewConfig {
                jitter_p: 1.5,
                ..good.clone()
            },
        ),
        (
            "grayscale_p = -1",
            ViewConfig {
                grayscale_p: -1.0,
                ..good.clone()
            },
        ),
        (
            "blur_p = 2",
            ViewConfig {
                blur_p: 2.0,
                ..good.clone()
            },
        ),
        (
            "blur_sigma = [0.1, 1000]",
            ViewConfig {
                blur_sigma: [0.1, 1000.0],
                ..good.clone()
            },
        ),
        (
            "flip_p = 7",
            ViewConfig {
                flip_p: 7.0,
                ..good.clone()
            },
        ),
    ];
    for (key_and_value, config) in bad {
        let message = config.validate().expect_err(key_and_value);
        assert!(
            message.starts_with(&format!("{key_and_value}: ")),
            "{message}"
        );
    }
}

/// A smooth picture with different colours everywhere.
fn colorful(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 5 + y) as u8, (y * 7) as u8, (x * 3 + 2 * y + 40) as u8])
    })
}

#[test]
fn small_sources_make_views() {
    for (width, height) in [(1, 1), (2, 1), (1, 300), (700, 2)] {
        for index in 0..20 {
            let config = ViewConfig {
                size: 32,
                ..ViewConfig::default()
            };
            for view in two_views(&colorful(width, height), &config, 5, index) {
                assert_eq!(view.image.dimensions(), (32, 32));
            }
        }
    }
}

const SOURCE: (u32, u32) = (120, 90);

/// Views of a source of 120 × 90 pixels.
fn geometry() -> impl Strategy<Value = ViewGeometry> {
    (1..=SOURCE.0, 1..=SOURCE.1, any::<bool>(), 1..=128u32).prop_flat_map(
        |(width, height, flip, size)| {
            (0..=SOURCE.0 - width, 0..=SOURCE.1 - height).prop_map(move |(left, top)| {
                ViewGeometry {
                    crop: CropBox {
                        left,
                        top,
                        width,
                        height,
                    },
                    flip,
                    size,
                }
            })
        },
    )
}

#[test]
fn threads_change_nothing() {
    let source = colorful(SOURCE.0, SOURCE.1);
    let config = ViewConfig {
        size: 32,
        ..ViewConfig::default()
    };
    let make = |index| two_views(&source, &config, 11, index).map(|view| view.image);
    let alone: Vec<_> = (0..16).map(make).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..16)
            .map(|index| scope.spawn(move || make(index)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"))
            .collect()
    });
    assert!(alone == together);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_point_returns_from_the_source(view in geometry(), u in 0.0..1.0f64, v in 0.0..1.0f64) {
        let size = f64::from(view.size);
        let (x, y) = view.to_source(u * size, v * size);
        let (back_x, back_y) = view.from_source(x, y);
        prop_assert!((back_x - u * size).abs() < 1e-9 && (back_y - v * size).abs() < 1e-9);
        prop_assert!(x >= 0.0 && x <= f64::from(SOURCE.0) && y >= 0.0 && y <= f64::from(SOURCE.1));
    }

    #[test]
    fn a_view_matches_itself_cell_by_cell(view in geometry(), grid in 1..16usize) {
        for (cell, found) in view.true_matches(&view, grid).into_iter().enumerate() {
            let expected = [(cell % grid) as f32 + 0.5, (cell / grid) as f32 + 0.5];
            let [x, y] = found.expect("every cell lies in its own view");
            prop_assert!((x - expected[0]).abs() < 1e-4 && (y - expected[1]).abs() < 1e-4);
        }
    }

    #[test]
    fn true_matches_go_through_the_source(a in geometry(), b in geometry(), grid in 1..10usize) {
        let cell_a = f64::from(a.size) / grid as f64;
        let cell_b = f64::from(b.size) / grid as f64;
        for (cell, found) in a.true_matches(&b, grid).into_iter().enumerate() {
            let (column, row) = ((cell % grid) as f64, (cell / grid) as f64);
            let (x, y) = a.to_source((column + 0.5) * cell_a, (row + 0.5) * cell_a);
            prop_assert_eq!(found.is_some(), b.contains_source(x, y));
            if let Some([match_x, match_y]) = found {
                let (x, y) = b.from_source(x, y);
                prop_assert!((f64::from(match_x) - x / cell_b).abs() < 1e-4);
                prop_assert!((f64::from(match_y) - y / cell_b).abs() < 1e-4);
                let cells = 0.0..=grid as f32 + 1e-4;
                prop_assert!(cells.contains(&match_x) && cells.contains(&match_y));
            }
        }
    }

    /// The source is black with a white square, far enough from the crop's edges to be fully visible. Its
    /// centroid in the view must agree with the geometry within 0.15 pixels: 0.1 for the resize, and the rest
    /// for rounding to bytes.
    #[test]
    fn a_marker_appears_where_the_geometry_says(
        crop in (40..=80u32, 40..=70u32, 0..=40u32, 0..=20u32),
        at in (14..26u32, 14..26u32),
        size in 32..=96u32,
        mirrored in any::<bool>(),
    ) {
        let (width, height, left, top) = crop;
        let crop = CropBox { left, top, width, height };
        let (x0, y0) = (left + at.0, top + at.1);
        let source = RgbImage::from_fn(SOURCE.0, SOURCE.1, |x, y| {
            let inside = (x0..x0 + 5).contains(&x) && (y0..y0 + 5).contains(&y);
            Rgb([if inside { 255 } else { 0 }; 3])
        });
        let params = ViewParams {
            crop,
            color: Vec::new(),
            grayscale: false,
            blur_sigma: None,
            flip: mirrored,
        };
        let view = apply(&source, &params, size);
        let [mut mass, mut sum_x, mut sum_y] = [0.0; 3];
        for (x, y, pixel) in view.image.enumerate_pixels() {
            let weight = f64::from(pixel[0]);
            mass += weight;
            sum_x += weight * (f64::from(x) + 0.5);
            sum_y += weight * (f64::from(y) + 0.5);
        }
        let center = (f64::from(x0) + 2.5, f64::from(y0) + 2.5);
        prop_assert!(view.geometry.contains_source(center.0, center.1));
        let (x, y) = view.geometry.from_source(center.0, center.1);
        prop_assert!((sum_x / mass - x).abs() < 0.15, "x: {} for {x}", sum_x / mass);
        prop_assert!((sum_y / mass - y).abs() < 0.15, "y: {} for {y}", sum_y / mass);
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes(seed in any::<u64>(), index in 0..u64::MAX) {
        let source = colorful(SOURCE.0, SOURCE.1);
        let config = ViewConfig { size: 32, ..ViewConfig::default() };
        let first = two_views(&source, &config, seed, index);
        // Making the views of another sample in between must not change the result.
        let other = two_views(&source, &config, seed, index + 1);
        let second = two_views(&source, &config, seed, index);
        for (a, b) in first.iter().zip(&second) {
            prop_assert_eq!(a.geometry, b.geometry);
            prop_assert!(a.image == b.image);
        }
        prop_assert!(first[0].image != other[0].image);
        prop_assert!(first[0].image != first[1].image);
    }

    #[test]
    fn blur_keeps_a_constant_image(color in any::<[u8; 3]>(), sigma in 0.0..=10.0f64) {
        let constant = RgbImage::from_pixel(9, 7, Rgb(color));
        let blurred = on_planes(&constant, |planes| gaussian_blur(planes, sigma));
        prop_assert!(blurred == constant);
    }

    /// PIL's HSV has 256 hues and 256 saturations, so converting to it and back loses precision. Measured
    /// with PIL over all 2²⁴ colours: no channel changes by more than 7 levels, and the largest never
    /// changes.
    #[test]
    fn hue_by_zero_is_the_hsv_round_trip(color in any::<[u8; 3]>()) {
        let image = RgbImage::from_pixel(1, 1, Rgb(color));
        let image = on_planes(&image, |planes| hue(planes, 0.0));
        let found = image.get_pixel(0, 0).0;
        prop_assert_eq!(found.iter().max(), color.iter().max());
        for (a, b) in color.into_iter().zip(found) {
            prop_assert!(a.abs_diff(b) <= 7, "{color:?} became {found:?}");
        }
    }

    #[test]
    fn flipping_twice_is_the_identity(width in 1..40u32, height in 1..10u32) {
        let source = colorful(width, height);
        let image = on_planes(&source, flip);
        prop_assert_eq!(image.get_pixel(0, 0), source.get_pixel(width - 1, 0));
        prop_assert!(on_planes(&image, flip) == source);
    }
}
