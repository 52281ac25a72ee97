//! Tests of the documented properties of the scenes, on small pictures.

use rand::RngExt;

use super::*;

const PAIRS: u64 = 20;

fn config() -> SceneConfig {
    SceneConfig {
        size: 96,
        ..SceneConfig::default()
    }
}

fn pairs() -> impl Iterator<Item = ScenePair> {
    (0..PAIRS).map(|index| scene_pair(7, index, &config()))
}

fn share(of: impl Iterator<Item = bool>) -> f64 {
    let (mut yes, mut all) = (0u32, 0u32);
    for value in of {
        yes += u32::from(value);
        all += 1;
    }
    f64::from(yes) / f64::from(all)
}

/// For each visible pixel of A: its index, its centre in A and its target in B.
fn matches(map: &Correspondence) -> impl Iterator<Item = (usize, [f32; 2], [f32; 2])> {
    let width = map.width as usize;
    (0..map.target.len())
        .filter(|&pixel| map.visible[pixel])
        .map(move |pixel| {
            let centre = [(pixel % width) as f32 + 0.5, (pixel / width) as f32 + 0.5];
            (pixel, centre, map.target[pixel])
        })
}

fn pixel_of(map: &Correspondence, point: [f32; 2]) -> usize {
    point[1] as usize * map.width as usize + point[0] as usize
}

#[test]
fn the_same_numbers_give_the_same_scene() {
    let first = scene_pair(3, 5, &config());
    assert!(first == scene_pair(3, 5, &config()));
    assert!(first.a.image != scene_pair(3, 6, &config()).a.image);
    assert!(first.a.image != scene_pair(4, 5, &config()).a.image);
}

#[test]
fn a_video_leads_from_the_first_view_to_the_second() {
    let pair = scene_pair(3, 5, &config());
    // The cameras at the ends are equal but for rounding, so only pixels at edges may differ.
    for (at, view) in [(0.0, &pair.a), (1.0, &pair.b)] {
        let frame = scene_frame(3, 5, at, &config());
        let same = frame.instances.pixels().zip(view.instances.pixels());
        assert!(share(same.map(|(a, b)| a == b)) > 0.99, "{at}");
    }
    // Each object moves a little from frame to frame, and not at once.
    let middle = scene_frame(3, 5, 0.5, &config());
    let overlap = |other: &Frame| {
        let pixels = middle.instances.pixels().zip(other.instances.pixels());
        share(pixels.map(|(a, b)| a == b))
    };
    let ends = pair.a.instances.pixels().zip(pair.b.instances.pixels());
    let ends = share(ends.map(|(a, b)| a == b));
    assert!(overlap(&pair.a) > ends && overlap(&pair.b) > ends && ends < 0.95);
}

/// The bytes are part of the interface: a change of this hash changes the data of everybody's quick start.
#[test]
fn pictures_are_the_same_on_every_platform() {
    let config = SceneConfig {
        size: 32,
        ..SceneConfig::default()
    };
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = (0..8).fold(0xcbf2_9ce4_8422_2325, |hash, index| {
        scene_image(1, index, &config)
            .as_raw()
            .iter()
            .fold(hash, fnv)
    });
    assert_eq!(hash, 0x4568_3b41_1ae3_aa21, "found {hash:#018x}");
}

#[test]
fn an_image_alone_is_the_pairs_first() {
    for index in 0..3 {
        let config = SceneConfig {
            size: 64,
            supersample: 1 + index as u32,
            ..config()
        };
        assert!(scene_image(1, index, &config) == scene_pair(1, index, &config).a.image);
    }
}

#[test]
fn there_and_back_returns_to_the_start() {
    let close = pairs().flat_map(|pair| {
        let back: Vec<bool> = matches(&pair.a_to_b)
            .filter_map(|(_, centre, target)| {
                let [x, y] = pair.b_to_a.at(target[0], target[1])?;
                Some((x - centre[0]).abs().max((y - centre[1]).abs()) <= 1.0)
            })
            .collect();
        back
    });
    let share = share(close);
    assert!(share >= 0.98, "{share}");
}

#[test]
fn visible_points_are_visible_from_both_sides() {
    let seen = pairs().flat_map(|pair| {
        let back: Vec<bool> = matches(&pair.a_to_b)
            .map(|(_, _, target)| pair.b_to_a.visible[pixel_of(&pair.b_to_a, target)])
            .collect();
        back
    });
    let share = share(seen);
    assert!(share >= 0.95, "{share}");
}

#[test]
fn matching_points_have_the_same_label_and_object() {
    let same = pairs().flat_map(|pair| {
        let same: Vec<bool> = matches(&pair.a_to_b)
            .map(|(pixel, _, target)| {
                let other = pixel_of(&pair.b_to_a, target);
                pair.a.labels.as_raw()[pixel] == pair.b.labels.as_raw()[other]
                    && pair.a.instances.as_raw()[pixel] == pair.b.instances.as_raw()[other]
            })
            .collect();
        same
    });
    let share = share(same);
    assert!(share >= 0.97, "{share}");
}

#[test]
fn matching_points_have_the_same_color() {
    let mut rng = stream(0, Purpose::Scene, 0);
    let (mut matching, mut random, mut count) = (0.0, 0.0, 0);
    for pair in pairs() {
        let color = |frame: &Frame, pixel: usize| -> [f64; 3] {
            [0, 1, 2].map(|c| f64::from(frame.image.as_raw()[3 * pixel + c]))
        };
        let distance = |a: [f64; 3], b: [f64; 3]| (0..3).map(|c| (a[c] - b[c]).abs()).sum::<f64>();
        let pixels = pair.a_to_b.target.len() as u32;
        for (pixel, _, target) in matches(&pair.a_to_b) {
            let here = color(&pair.a, pixel);
            matching += distance(here, color(&pair.b, pixel_of(&pair.b_to_a, target)));
            random += distance(here, color(&pair.b, rng.random_range(0..pixels) as usize));
            count += 1;
        }
    }
    let (matching, random) = (matching / f64::from(count), random / f64::from(count));
    assert!(
        matching < 0.3 * random,
        "mean difference {matching}, at random points {random}"
    );
}

#[test]
fn a_good_part_stays_visible_but_not_in_place() {
    let (mut visible_sum, mut moved_sum) = (0.0, 0.0);
    for pair in pairs() {
        let visible = share(pair.a_to_b.visible.iter().copied());
        assert!((0.3..0.99).contains(&visible), "{visible}");
        let moved = share(matches(&pair.a_to_b).map(|(_, centre, target)| {
            (target[0] - centre[0])
                .abs()
                .max((target[1] - centre[1]).abs())
                > 3.0
        }));
        visible_sum += visible / PAIRS as f64;
        moved_sum += moved / PAIRS as f64;
    }
    assert!((0.55..0.95).contains(&visible_sum), "{visible_sum}");
    assert!(moved_sum > 0.5, "{moved_sum}");
}

#[test]
fn every_class_occurs_and_labels_agree_with_objects() {
    let mut seen = [false; CLASS_NAMES.len()];
    let config = SceneConfig {
        supersample: 1,
        ..config()
    };
    for index in 0..60 {
        let pair = scene_pair(11, index, &config);
        for frame in [&pair.a, &pair.b] {
            for (label, instance) in frame.labels.as_raw().iter().zip(frame.instances.as_raw()) {
                seen[usize::from(*label)] = true;
                assert_eq!(*instance == 0, *label <= 1);
                assert!(u32::from(*instance) <= config.objects[1]);
            }
        }
    }
    assert!(seen.iter().all(|&seen| seen), "{seen:?}");
}

#[test]
fn the_second_camera_stays_put_without_a_baseline() {
    // The second camera can still zoom, roll and turn, so points leave the frame, but hardly any is occluded.
    let config = SceneConfig {
        baseline: 0.0,
        ..config()
    };
    let pair = scene_pair(1, 2, &config);
    let size = config.size as f32;
    let hidden = (0..pair.a_to_b.target.len()).filter(|&pixel| {
        let inside = pair.a_to_b.target[pixel]
            .iter()
            .all(|&v| (0.0..size).contains(&v));
        inside && !pair.a_to_b.visible[pixel]
    });
    assert!(hidden.count() < pair.a_to_b.target.len() / 50);
}

#[test]
fn positions_between_pixels_are_interpolated() {
    let map = Correspondence {
        width: 2,
        height: 2,
        target: vec![[0.5, 0.5], [2.0, 0.5], [0.5, 1.5], [2.0, 1.5]],
        visible: vec![true; 4],
    };
    assert_eq!(map.at(0.5, 0.5), Some([0.5, 0.5]));
    assert_eq!(map.at(1.0, 1.0), Some([1.25, 1.0]));
    // Outside the outermost pixel centres the target of the nearest one is shifted.
    assert_eq!(map.at(1.75, 0.25), Some([2.25, 0.25]));
    for outside in [[-0.1, 1.0], [1.0, 2.0], [f32::NAN, 1.0]] {
        assert_eq!(map.at(outside[0], outside[1]), None);
    }
    let mut hidden = map.clone();
    hidden.visible[3] = false;
    assert_eq!(hidden.at(1.2, 1.2), None);
    assert_eq!(hidden.at(0.75, 0.75), Some([0.75, 0.75]));
    // An edge lies between the columns, so their targets are not interpolated.
    let mut edge = map;
    edge.target[1] = [9.0, 0.5];
    assert_eq!(edge.at(0.75, 0.75), Some([0.75, 0.75]));
}

#[test]
fn an_empty_scene_and_a_crowded_one_render() {
    let empty = SceneConfig {
        size: 16,
        objects: [0, 0],
        ..config()
    };
    let pair = scene_pair(0, 0, &empty);
    assert!(
        pair.a
            .instances
            .as_raw()
            .iter()
            .all(|&instance| instance == 0)
    );
    let crowded = SceneConfig {
        size: 48,
        objects: [32, 32],
        supersample: 1,
        ..config()
    };
    let pair = scene_pair(0, 0, &crowded);
    assert!(
        pair.a
            .instances
            .as_raw()
            .iter()
            .any(|&instance| instance > 16)
    );
}

#[test]
fn out_of_range_settings_are_named() {
    assert_eq!(config().validate(), Ok(()));
    let problems = [
        (
            "size",
            SceneConfig {
                size: 8,
                ..config()
            },
        ),
        (
            "size",
            SceneConfig {
                size: 4096,
                ..config()
            },
        ),
        (
            "objects",
            SceneConfig {
                objects: [5, 4],
                ..config()
            },
        ),
        (
            "objects",
            SceneConfig {
                objects: [5, 40],
                ..config()
            },
        ),
        (
            "baseline",
            SceneConfig {
                baseline: -0.1,
                ..config()
            },
        ),
        (
            "baseline",
            SceneConfig {
                baseline: f32::NAN,
                ..config()
            },
        ),
        (
            "supersample",
            SceneConfig {
                supersample: 0,
                ..config()
            },
        ),
    ];
    for (field, config) in problems {
        let message = config.validate().expect_err("must be refused");
        assert!(message.starts_with(field), "{message}");
    }
}

#[test]
fn every_object_has_a_box_around_its_pixels() {
    for pair in pairs() {
        let frame = &pair.a;
        let boxes = frame.objects(1);
        let numbers: std::collections::BTreeSet<u8> = frame
            .instances
            .pixels()
            .map(|p| p.0[0])
            .filter(|n| *n > 0)
            .collect();
        assert_eq!(boxes.len(), numbers.len());
        for (number, (rect, class)) in numbers.iter().zip(&boxes) {
            assert!((2..CLASS_NAMES.len()).contains(class));
            let mut edges = [false; 4];
            for (x, y, found) in frame.instances.enumerate_pixels() {
                if found.0[0] != *number {
                    continue;
                }
                let [x0, y0] = [f64::from(x), f64::from(y)];
                assert!(x0 >= rect.x0 && y0 >= rect.y0);
                assert!(x0 + 1.0 <= rect.x1 && y0 + 1.0 <= rect.y1);
                let touched = [
                    x0 == rect.x0,
                    y0 == rect.y0,
                    x0 + 1.0 == rect.x1,
                    y0 + 1.0 == rect.y1,
                ];
                edges = std::array::from_fn(|i| edges[i] || touched[i]);
            }
            assert_eq!(edges, [true; 4], "tight");
        }
        let large = frame.objects(30);
        assert!(large.len() <= boxes.len() && large.iter().all(|b| boxes.contains(b)));
    }
}
