//! Batches with instances: crops of boxes that both scenes show, a function of images, boxes, seed and step.

use densecl::augment::{CropBox, InstanceConfig};
use densecl::method::Shows;

use super::*;

/// The boxes of every picture of 24 × 20 px.
const BOXES: [[u32; 4]; 3] = [[8, 6, 6, 6], [10, 8, 8, 8], [9, 11, 5, 4]];

fn boxes(images: usize) -> Arc<Boxes> {
    let limits = InstanceConfig {
        min_side: 2,
        max_iou: 1.0,
        ..InstanceConfig::default()
    };
    let of_one = BOXES.map(|[left, top, width, height]| CropBox {
        left,
        top,
        width,
        height,
    });
    let all = vec![of_one.to_vec(); images];
    Arc::new(Boxes::of_images([24, 20], all, &limits))
}

/// Two scenes of 16 px and two instances of 8 px under each augmentation.
fn with_instances(boxes: Arc<Boxes>, threads: usize) -> LoaderConfig {
    let mut config = config(3, threads);
    config.views.scale = [0.6, 1.0];
    config.views.instances.min_side = 3;
    for like in [0, 1] {
        config.wanted.extend((0..2).map(|number| ViewSpec {
            name: "instance",
            size: Some(8),
            shows: Shows::Instance { number, like },
        }));
    }
    LoaderConfig { boxes, ..config }
}

fn is_box(crop: CropBox) -> bool {
    BOXES.contains(&[crop.left, crop.top, crop.width, crop.height])
}

#[test]
fn instances_are_boxes_of_the_image_in_the_overlap_of_its_scenes() {
    let (mut from_boxes, mut all) = (0, 0);
    for batch in batches(&memory(10), with_instances(boxes(10), 2), 0, 9) {
        assert_eq!(batch.views.len(), 6);
        for sample in 0..3 {
            let crops: Vec<CropBox> = batch
                .views
                .iter()
                .map(|view| view.geometry[sample].crop)
                .collect();
            let overlap = crops[0].intersection(crops[1]).expect("they overlap");
            assert_eq!(crops[2..4], crops[4..6]);
            assert!(crops[2..].iter().all(|crop| overlap.contains(*crop)));
            all += 1;
            from_boxes += usize::from(crops[2..].iter().all(|crop| is_box(*crop)));
        }
        assert_eq!(batch.views[2].pixels.len(), 3 * 3 * 8 * 8);
        // The same box under two augmentations.
        assert_ne!(batch.views[2].pixels, batch.views[4].pixels);
    }
    assert!(10 * from_boxes > 9 * all, "{from_boxes} of {all}");
}

#[test]
fn they_do_not_depend_on_threads_or_on_where_the_run_starts() {
    let source = memory(10);
    let one = batches(&source, with_instances(boxes(10), 1), 0, 6);
    assert_eq!(batches(&source, with_instances(boxes(10), 4), 0, 6), one);
    assert_eq!(
        batches(&source, with_instances(boxes(10), 2), 4, 2),
        one[4..]
    );
}

#[test]
fn without_boxes_they_are_random_and_the_scenes_are_the_usual_ones() {
    let source = memory(10);
    let batch = batches(&source, with_instances(Arc::default(), 2), 0, 1).remove(0);
    let mut usual = config(3, 2);
    usual.views.scale = [0.6, 1.0];
    let usual = batches(&source, usual, 0, 1).remove(0);
    assert_eq!(batch.views[..2], usual.views[..]);
    assert!(!is_box(batch.views[2].geometry[0].crop) || !is_box(batch.views[3].geometry[0].crop));
}

#[test]
fn boxes_of_other_pictures_end_the_run_with_a_line() {
    let boxes = Boxes::of_images([24, 21], vec![Vec::new(); 10], &InstanceConfig::default());
    let config = with_instances(Arc::new(boxes), 2);
    let mut loader = Loader::start(memory(10), config, 0).expect("a loader");
    let error = loader.next().expect_err("other pictures").to_string();
    for part in [
        "image ",
        "for a picture of 24 x 21",
        "make the file of boxes again",
    ] {
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
    assert!(loader.next().is_err());
}
