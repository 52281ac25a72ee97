//! Batches of views that follow a curriculum: a function of seed, step and length of the run.

use densecl::augment::{Curriculum, draw_region};

use super::*;

/// Regions down to a hundredth of a picture, and views from 64 to 32 px, over 100 steps.
fn config() -> LoaderConfig {
    let views = ViewConfig {
        size: 64,
        curriculum: Curriculum {
            region: 0.01,
            size: 32,
            until: 1.0,
        },
        ..ViewConfig::default()
    };
    LoaderConfig {
        views,
        wanted: wanted(&[None, None, Some(8)]),
        ..super::config(3, 2)
    }
}

#[test]
fn sizes_and_regions_follow_the_step() {
    let source = memory(10);
    for (step, size) in [(0, 64), (49, 64), (51, 32), (99, 32)] {
        let batch = batches(&source, config(), step, 1).remove(0);
        let sizes: Vec<usize> = batch.views.iter().map(|view| view.size).collect();
        // A view whose size the method decides does not change.
        assert_eq!(sizes, [size, size, 8], "step {step}");
        let share = stage(&config().views, step, config().total_steps).region;
        assert!((share - 0.01f64.powf(step as f64 / 100.0)).abs() < 1e-9);
        let first = step / 3 * 10 + step % 3 * 3;
        for view in &batch.views {
            assert_eq!(view.pixels.len(), 3 * 3 * view.size * view.size);
            for (place, geometry) in view.geometry.iter().enumerate() {
                assert_eq!(geometry.size as usize, view.size);
                let region = draw_region(24, 20, share, 5, first + place as u64);
                let crop = geometry.crop;
                let inside = |at: u32, length: u32, from: u32, all: u32| {
                    at >= from && at + length <= from + all
                };
                assert!(inside(crop.left, crop.width, region.left, region.width));
                assert!(inside(crop.top, crop.height, region.top, region.height));
            }
        }
    }
}

#[test]
fn a_later_start_sees_the_same_batches_whatever_the_threads() {
    let source = memory(10);
    let whole = batches(&source, config(), 40, 20);
    let other = LoaderConfig {
        threads: 1,
        prefetch: 5,
        ..config()
    };
    assert!(whole[13..] == batches(&source, other, 53, 7)[..]);
}

/// The regions have a random stream of their own, so that the curriculum begins with the batches that there are
/// without.
#[test]
fn the_first_step_is_that_of_a_run_without_a_curriculum() {
    let mut without = config();
    without.views.curriculum = Curriculum::default();
    let source = memory(10);
    assert!(batches(&source, config(), 0, 1) == batches(&source, without, 0, 1));
}
