//! Tests of the drawing functions: sizes, known results and bad input.

use image::{Rgb, RgbImage};

use super::*;

const BLACK: Rgb<u8> = Rgb([0, 0, 0]);
const WHITE: Rgb<u8> = Rgb([255, 255, 255]);

fn black(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, BLACK)
}

/// A fixed pseudo-random number in [-0.5, 0.5].
fn wobble(index: usize) -> f32 {
    (index as f32 * 12.9898).sin() * 0.5
}

#[test]
fn side_by_side_places_b_after_the_gap() {
    let (canvas, offset) = side_by_side(&black(5, 4), &black(3, 6), 2);
    assert_eq!((canvas.dimensions(), offset), ((10, 6), [7, 0]));
    assert_eq!(*canvas.get_pixel(4, 3), BLACK);
    assert_eq!(*canvas.get_pixel(5, 3), WHITE, "the gap");
    assert_eq!(*canvas.get_pixel(4, 4), WHITE, "below the shorter picture");
    assert_eq!(*canvas.get_pixel(7, 5), BLACK);
}

#[test]
fn stack_vertical_keeps_order_and_gaps() {
    let red = RgbImage::from_pixel(3, 2, Rgb([255, 0, 0]));
    let canvas = stack_vertical(&[&black(5, 4), &red], 3, WHITE);
    assert_eq!(canvas.dimensions(), (5, 4 + 3 + 2));
    assert_eq!(*canvas.get_pixel(0, 3), BLACK);
    assert_eq!(*canvas.get_pixel(0, 5), WHITE);
    assert_eq!(*canvas.get_pixel(2, 7), Rgb([255, 0, 0]));
    assert_eq!(*canvas.get_pixel(3, 7), WHITE);
    assert_eq!(stack_vertical(&[], 3, WHITE).dimensions(), (0, 0));
}

#[test]
fn enlarging_keeps_the_shape() {
    assert_eq!(enlarge(&black(4, 3), 3).dimensions(), (12, 9));
    assert_eq!(enlarge(&black(4, 3), 0).dimensions(), (4, 3));
}

#[test]
fn match_lines_join_their_end_points() {
    let matches = [
        MatchLine {
            a: [4.5, 4.5],
            b: [10.5, 14.5],
            score: 1.0,
            correct: Some(true),
        },
        MatchLine {
            a: [10.0, 18.0],
            b: [2.0, 2.0],
            score: 1.0,
            correct: Some(false),
        },
    ];
    let options = DrawOptions {
        scale: 2,
        gap: 4,
        ..DrawOptions::default()
    };
    let canvas = draw_matches(&black(20, 20), &black(16, 20), &matches, &options);
    assert_eq!(canvas.dimensions(), (40 + 4 + 32, 40));
    let b = 40 + 4;
    for (x, y, expected) in [
        (9, 9, CORRECT),
        (b + 21, 29, CORRECT),
        (20, 36, WRONG),
        (b + 4, 4, WRONG),
    ] {
        assert_eq!(*canvas.get_pixel(x, y), expected, "the dot at ({x}, {y})");
    }
    // The first line crosses x = 30 at y = 9 + (30 - 9) · 20 / 56 = 16.5.
    let on_line = canvas.get_pixel(30, 16);
    assert!(
        on_line[2] > 150 && on_line[2] > on_line[0],
        "bluish on the line, found {on_line:?}"
    );
    assert_eq!(*canvas.get_pixel(30, 10), BLACK, "nothing off the lines");
    assert_eq!(
        canvas,
        draw_matches(&black(20, 20), &black(16, 20), &matches, &options)
    );
}

#[test]
fn a_weak_match_is_fainter_and_a_broken_one_is_left_out() {
    let draw = |score: f32, x: f32| {
        let m = MatchLine {
            a: [x, 10.0],
            b: [15.0, 10.0],
            score,
            correct: Some(false),
        };
        draw_matches(
            &black(20, 20),
            &black(20, 20),
            &[m],
            &DrawOptions::default(),
        )
    };
    let red = |image: &RgbImage| image.get_pixel(12, 10)[0];
    assert!(red(&draw(0.9, 5.0)) > red(&draw(0.2, 5.0)));
    assert_eq!(
        draw(f32::NAN, 5.0),
        draw(-1.0, 5.0),
        "no score counts as the weakest"
    );
    let empty = draw_matches(&black(20, 20), &black(20, 20), &[], &DrawOptions::default());
    assert_eq!(draw(0.9, f32::NAN), empty);
    draw(0.9, 1e30); // far outside: clipped, and in bounded time
}

#[test]
fn colours_of_unknown_truth_follow_the_position_in_a() {
    let dot = |x: f32, y: f32| {
        let m = MatchLine {
            a: [x, y],
            b: [50.0, 50.0],
            score: 1.0,
            correct: None,
        };
        let canvas = draw_matches(
            &black(100, 100),
            &black(100, 100),
            &[m],
            &DrawOptions::default(),
        );
        *canvas.get_pixel(x as u32, y as u32)
    };
    let difference = |p: Rgb<u8>, q: Rgb<u8>| {
        p.0.iter()
            .zip(q.0)
            .map(|(&x, y)| u32::from(x.abs_diff(y)))
            .sum::<u32>()
    };
    let here = dot(80.5, 20.5);
    assert!(
        difference(here, dot(84.5, 20.5)) < 30,
        "neighbours look alike"
    );
    assert!(
        difference(here, dot(20.5, 80.5)) > 100,
        "opposite corners do not"
    );
}

#[test]
fn heat_is_hottest_where_the_similarity_is_greatest() {
    let options = HeatOptions {
        scale: 3,
        opacity: 1.0,
        range: None,
    };
    let map = heat_map(&black(20, 10), &[0.1, 0.2, 0.3, 0.9], [2, 2], &options);
    assert_eq!(map.dimensions(), (60, 30));
    assert_eq!(map.get_pixel(0, 0).0, viridis(0.0));
    assert_eq!(map.get_pixel(59, 29).0, viridis(1.0));
    let clear = HeatOptions {
        scale: 1,
        opacity: 0.0,
        range: None,
    };
    let grey = RgbImage::from_pixel(6, 6, Rgb([90, 90, 90]));
    assert_eq!(
        heat_map(&grey, &[0.1, 0.9], [1, 2], &clear),
        grey,
        "no opacity, no colour"
    );
}

#[test]
fn heat_survives_constant_and_missing_similarities() {
    let options = HeatOptions {
        scale: 1,
        opacity: 1.0,
        range: None,
    };
    let draw = |values: [f32; 2], options| heat_map(&black(8, 4), &values, [1, 2], &options);
    assert_eq!(draw([0.7, 0.7], options).get_pixel(4, 2).0, viridis(0.5));
    let gap = draw([f32::NAN, 0.5], options);
    assert_eq!(gap.get_pixel(0, 0).0, viridis(0.0));
    draw([f32::NAN, f32::INFINITY], options);
    let fixed = HeatOptions {
        range: Some([0.0, 1.0]),
        ..options
    };
    assert_eq!(draw([0.25, 2.0], fixed).get_pixel(0, 0).0, viridis(0.25));
    assert_eq!(draw([0.25, 2.0], fixed).get_pixel(7, 0).0, viridis(1.0));
}

#[test]
fn viridis_ends_and_rises_in_lightness() {
    assert_eq!(viridis(f32::NAN), [0x44, 0x01, 0x54]);
    assert_eq!(viridis(2.0), [0xfd, 0xe7, 0x25]);
    let luma = |t: f32| {
        let [r, g, b] = viridis(t).map(f32::from);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    assert!((0..100).all(|i| luma(i as f32 / 100.0) <= luma((i + 1) as f32 / 100.0) + 0.5));
}

/// Features with known principal components: orthogonal directions u, v, w of the channels, none of them
/// an axis, with standard deviations 4 : 2 : 1, plus a constant.
#[test]
fn joint_pca_finds_the_known_components() {
    let directions = [
        [0.6f32, 0.8, 0.0, 0.0],
        [0.0, 0.0, 0.8, 0.6],
        [0.8, -0.6, 0.0, 0.0],
    ];
    // Sines with one, two and three whole periods are exactly uncorrelated over the cells.
    let cells = 600;
    let wave = |i: usize, k: usize| {
        let phase = (i as f32 + 0.5) / cells as f32 * std::f32::consts::TAU;
        (phase * (k + 1) as f32).sin() * [4.0, 2.0, 1.0][k]
    };
    let features: Vec<f32> = (0..cells)
        .flat_map(|i| {
            std::array::from_fn::<f32, 4, _>(|c| {
                10.0 + (0..3).map(|k| wave(i, k) * directions[k][c]).sum::<f32>()
            })
        })
        .collect();
    let (a, b) = joint_pca(&features[..4 * 250], &features[4 * 250..], 4);
    assert_eq!((a.len(), b.len()), (250, 350));
    for (i, color) in a.iter().chain(&b).enumerate() {
        for k in 0..3 {
            // For 4 % of a period a sine is within 0.2 % of its peaks, so its 2nd and 98th percentile
            // equal the peaks to half a level. The largest loading of each direction is positive.
            let expected = (wave(i, k) / [4.0, 2.0, 1.0][k] + 1.0) * 127.5;
            let off = (f32::from(color[k]) - expected).abs();
            assert!(
                off < 1.5,
                "cell {i}, component {k}: {} for {expected}",
                color[k]
            );
        }
    }
    assert_eq!(
        joint_pca(&features[..1000], &features[1000..], 4),
        (a, b),
        "deterministic"
    );
}

#[test]
fn joint_pca_is_flat_where_nothing_varies() {
    let grey = [128u8; 3];
    let (a, b) = joint_pca(&[0.3; 40], &[0.3; 20], 4);
    assert!(a.iter().chain(&b).all(|c| *c == grey));
    // Features that differ only by f32 rounding come from a collapsed network: they must be grey.
    let collapsed: Vec<f32> = (0..400)
        .map(|i| if i % 3 == 0 { 1.0 } else { 1.0 + f32::EPSILON })
        .collect();
    assert!(
        joint_pca(&collapsed, &[], 4)
            .0
            .iter()
            .all(|c| c.iter().all(|&l| l == 128))
    );
    assert_eq!(joint_pca(&[], &[], 4), (vec![], vec![]));
    assert_eq!(
        joint_pca(&[1.0, 2.0], &[], 2),
        (vec![grey], vec![]),
        "one cell has no variance"
    );
}

#[test]
fn joint_pca_leaves_missing_components_grey() {
    // Five channels that vary along one direction, then a single channel.
    let line: Vec<f32> = (0..50)
        .flat_map(|i| [1.0, 2.0, 0.0, -1.0, 0.5].map(|w| w * i as f32))
        .collect();
    let (colors, _) = joint_pca(&line, &[], 5);
    assert!(colors.iter().all(|c| c[1] == 128 && c[2] == 128));
    assert!(colors.windows(2).all(|w| w[0][0] <= w[1][0]) && colors[49][0] == 255);
    let single: Vec<f32> = (0..50).map(|i| i as f32).collect();
    assert_eq!(joint_pca(&single, &[], 1).0, colors);
}

#[test]
fn joint_pca_ignores_values_that_are_not_finite() {
    let mut features: Vec<f32> = (0..300).map(wobble).collect();
    features[7] = f32::NAN;
    features[100] = f32::INFINITY;
    let (colors, _) = joint_pca(&features, &[], 3);
    for k in 0..3 {
        let levels = colors.iter().map(|c| c[k]);
        assert_eq!((levels.clone().min(), levels.max()), (Some(0), Some(255)));
    }
    let (all_bad, _) = joint_pca(&[f32::NAN; 12], &[], 3);
    assert!(all_bad.iter().all(|c| *c == [128; 3]));
}

#[test]
fn joint_pca_takes_more_channels_than_cells() {
    let features: Vec<f32> = (0..6 * 500).map(wobble).collect();
    let (a, b) = joint_pca(&features[..1500], &features[1500..], 500);
    assert_eq!((a.len(), b.len()), (3, 3));
    for k in 0..3 {
        assert!(a.iter().chain(&b).any(|c| c[k] == 0) && a.iter().chain(&b).any(|c| c[k] == 255));
    }
}

#[test]
fn cells_become_pixels_flat_or_smooth() {
    let colors = [[0, 0, 0], [200, 0, 0], [0, 100, 0], [0, 0, 50]];
    let flat = cells_to_image(&colors, [2, 2], 8, 4, false);
    assert_eq!(flat.dimensions(), (8, 4));
    assert_eq!(
        (flat.get_pixel(3, 1).0, flat.get_pixel(4, 1).0),
        (colors[0], colors[1])
    );
    assert_eq!(
        (flat.get_pixel(3, 2).0, flat.get_pixel(7, 3).0),
        (colors[2], colors[3])
    );
    let smooth = cells_to_image(&colors, [2, 2], 8, 4, true);
    assert_eq!(
        (smooth.get_pixel(0, 0).0, smooth.get_pixel(7, 3).0),
        (colors[0], colors[3])
    );
    let edge = smooth.get_pixel(4, 0)[0];
    assert!(
        (80..160).contains(&edge),
        "between the cells' centres, found {edge}"
    );
}

#[test]
fn classes_have_the_colours_of_pascal_voc() {
    // aeroplane, bicycle, bird, bottle, person, tv monitor, void
    let known = [
        (0, [0, 0, 0]),
        (1, [128, 0, 0]),
        (2, [0, 128, 0]),
        (3, [128, 128, 0]),
        (5, [128, 0, 128]),
        (15, [192, 128, 128]),
        (20, [0, 64, 128]),
        (255, [224, 224, 192]),
    ];
    for (class, color) in known {
        assert_eq!(class_color(class), Rgb(color), "{class}");
    }
    let painted = paint_labels(&[0, 1, 2, 3], 2, 2);
    assert_eq!(painted.get_pixel(1, 1), &Rgb([128, 128, 0]));
}
