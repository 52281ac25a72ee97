use super::*;
use crate::augment::draw_views;

fn at(left: u32, top: u32, width: u32, height: u32) -> CropBox {
    CropBox {
        left,
        top,
        width,
        height,
    }
}

/// Scenes of at least half of the image, so that most pairs overlap by a good part.
fn config() -> ViewConfig {
    ViewConfig {
        scale: [0.5, 1.0],
        instances: InstanceConfig {
            min_side: 20,
            ..InstanceConfig::default()
        },
        ..ViewConfig::default()
    }
}

fn drawn(boxes: &[CropBox], config: &ViewConfig, index: u64) -> ScenesAndInstances {
    draw_instances([200, 160], boxes, config, Stage::whole(64), [3, index], 2)
}

#[test]
fn boxes_outside_the_limits_are_left_out() {
    let limits = InstanceConfig::default();
    let kept = [at(0, 0, 64, 64), at(100, 0, 64, 192), at(0, 200, 64, 65)];
    let left_out = [
        at(0, 0, 63, 200),
        at(100, 0, 64, 193),
        // Covers the first by 64·64 / 64·90.
        at(0, 0, 64, 90),
    ];
    let all = [kept, left_out].concat();
    assert_eq!(limits.choose(all), kept);
}

#[test]
fn instances_lie_in_both_scenes_and_are_boxes_of_the_image_where_enough_do() {
    let boxes = [
        at(60, 40, 30, 30),
        at(100, 60, 40, 40),
        at(90, 100, 25, 25),
        at(0, 0, 40, 40),
    ];
    let mut from_boxes = 0;
    for index in 0..200 {
        let sample = drawn(&boxes, &config(), index);
        let [first, second] = sample.scenes.each_ref().map(|scene| scene.crop);
        let overlap = first.intersection(second).expect("large crops overlap");
        assert_eq!(sample.instances.len(), 2);
        for [a, b] in &sample.instances {
            assert_eq!(a.crop, b.crop);
            assert!(overlap.contains(a.crop), "{overlap:?} {:?}", a.crop);
            assert_eq!(boxes.contains(&a.crop), sample.from_boxes);
        }
        assert_ne!(sample.instances[0][0].crop, sample.instances[1][0].crop);
        from_boxes += usize::from(sample.from_boxes);
    }
    assert!(from_boxes > 195, "{from_boxes}");
}

#[test]
fn a_pair_is_drawn_again_until_the_boxes_lie_inside() {
    // The boxes lie far apart, so few pairs of scenes hold both.
    let boxes = [at(30, 25, 30, 30), at(140, 105, 30, 30)];
    let share = |tries: u32| {
        let mut config = config();
        config.instances.tries = tries;
        (0..300)
            .filter(|&index| drawn(&boxes, &config, index).from_boxes)
            .count()
    };
    let [one, twenty, many] = [1, 20, 400].map(share);
    assert!(one < twenty && twenty < many, "{one} {twenty} {many}");
}

#[test]
fn without_boxes_the_scenes_are_those_of_every_method_and_the_boxes_random() {
    for index in 0..100 {
        let sample = drawn(&[], &config(), index);
        assert!(!sample.from_boxes);
        let usual = draw_views([200, 160], &config(), Stage::whole(64), 3, index, 2);
        assert_eq!(sample.scenes.to_vec(), usual);
        let limits = config().instances;
        for [view, _] in &sample.instances {
            assert!(limits.has_shape(view.crop), "{:?}", view.crop);
        }
    }
}

#[test]
fn scenes_that_never_overlap_enough_still_get_instances() {
    let mut config = config();
    config.scale = [0.001, 0.002];
    for index in 0..100 {
        let sample = drawn(&[at(0, 0, 200, 160), at(0, 0, 100, 80)], &config, index);
        let [first, second] = sample.scenes.each_ref().map(|scene| scene.crop);
        let within = first.intersection(second).unwrap_or(first);
        for [view, _] in &sample.instances {
            assert!(within.contains(view.crop));
        }
    }
}

#[test]
fn a_sample_depends_on_seed_and_index_alone() {
    let boxes = [at(60, 40, 30, 30), at(100, 60, 40, 40)];
    let again = |index| {
        (
            drawn(&boxes, &config(), index),
            drawn(&boxes, &config(), index),
        )
    };
    let (first, same) = again(5);
    assert_eq!(first, same);
    assert_ne!(first, again(6).0);
}

#[test]
fn bad_limits_are_named() {
    for (config, key) in [
        (
            InstanceConfig {
                min_side: 0,
                ..InstanceConfig::default()
            },
            "instances.min_side = 0",
        ),
        (
            InstanceConfig {
                max_ratio: 0.5,
                ..InstanceConfig::default()
            },
            "instances.max_ratio = 0.5",
        ),
        (
            InstanceConfig {
                max_iou: f64::NAN,
                ..InstanceConfig::default()
            },
            "instances.max_iou = NaN",
        ),
        (
            InstanceConfig {
                tries: 0,
                ..InstanceConfig::default()
            },
            "instances.tries = 0",
        ),
    ] {
        let message = config.validate().expect_err("out of range");
        assert!(message.starts_with(key), "{message}");
    }
}
