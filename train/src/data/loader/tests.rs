mod curriculum;
mod instances;

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

use super::super::pack::PackWriter;
use super::super::scan::Dataset;
use super::*;

fn config(batch_size: usize, threads: usize) -> LoaderConfig {
    let views = ViewConfig {
        size: 16,
        ..ViewConfig::default()
    };
    LoaderConfig {
        batch_size,
        places: 0..batch_size,
        seed: 5,
        threads,
        prefetch: 2,
        views,
        wanted: wanted(&[None, None]),
        boxes: Arc::default(),
        total_steps: 100,
        bad_file_level: Level::Warn,
        max_bad_share: 0.5,
    }
}

/// Views of these sizes in pixels; `None` = the usual.
fn wanted(sizes: &[Option<u32>]) -> Vec<ViewSpec> {
    let view = |&size: &Option<u32>| ViewSpec {
        size,
        ..ViewSpec::usual("view")
    };
    sizes.iter().map(view).collect()
}

/// A picture that differs from all others in every pixel.
fn picture(number: usize) -> RgbImage {
    RgbImage::from_fn(24, 20, |x, y| {
        Rgb([number as u8, (x * 10) as u8, (y * 12) as u8])
    })
}

fn memory(count: usize) -> Arc<Source> {
    Arc::new(Source::Memory((0..count).map(picture).collect()))
}

/// A folder of `count` PNG files; those for which `bad` returns true have other content.
fn folder(count: usize, bad: impl Fn(usize) -> bool) -> (tempfile::TempDir, Arc<Source>) {
    let root = tempfile::tempdir().expect("a temporary folder");
    for number in 0..count {
        let path = path_of(root.path(), number);
        if bad(number) {
            std::fs::write(&path, b"not a picture at all").expect("a file");
        } else {
            picture(number).save(&path).expect("a picture");
        }
    }
    let dataset = Dataset::scan(root.path()).expect("images");
    (root, Arc::new(Source::Files(dataset)))
}

fn path_of(root: &Path, number: usize) -> PathBuf {
    root.join(format!("{number:03}.png"))
}

fn batches(source: &Arc<Source>, config: LoaderConfig, first: u64, count: usize) -> Vec<Batch> {
    let mut loader = Loader::start(Arc::clone(source), config, first).expect("a loader");
    (0..count)
        .map(|_| loader.next().expect("a batch"))
        .collect()
}

fn start_error(count: usize, config: LoaderConfig) -> String {
    match Loader::start(memory(count), config, 0) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_batch_is_laid_out_as_documented() {
    let source = memory(10);
    let mut loader = Loader::start(source, config(3, 2), 4).expect("a loader");
    let batch = loader.next().expect("a batch");
    assert_eq!((batch.step, batch.epoch), (4, 1));
    assert_eq!((batch.images.len(), batch.views.len()), (3, 2));
    for view in &batch.views {
        assert_eq!((view.size, view.geometry.len()), (16, 3));
        assert_eq!(view.pixels.len(), 3 * 3 * 16 * 16);
    }
    assert_eq!(loader.bad_files(), []);
}

/// The expected batch is computed here without threads: images in the order of the epoch, and the views drawn for each
/// sample's number.
#[test]
fn a_batch_is_a_function_of_seed_and_step() {
    use densecl::augment;
    let (source, config) = (memory(10), config(3, 2));
    let batch = batches(&source, config.clone(), 5, 1).remove(0);
    let order = epoch_order(config.seed, 1, 10);
    assert_eq!(batch.images, order[6..9]);
    let pixels = picture(order[7]);
    let [query, key] = augment::two_views(&pixels, &config.views, config.seed, 10 + 7);
    let planes = |view: &augment::View| augment::Planes::from_rgb(&view.image);
    for (made, view) in batch.views.iter().zip([query, key]) {
        assert_eq!(made.pixels[768..1536], *planes(&view).as_bytes());
        assert_eq!(made.geometry[1], view.geometry);
    }
}

/// A method may take more than two views, of other sizes; the first two stay the same.
#[test]
fn every_view_has_its_own_size() {
    let two = batches(&memory(10), config(3, 2), 1, 1).remove(0);
    let three = batches(
        &memory(10),
        LoaderConfig {
            wanted: wanted(&[None, None, Some(8)]),
            ..config(3, 2)
        },
        1,
        1,
    )
    .remove(0);
    assert_eq!(three.views[..2], two.views[..]);
    let small = &three.views[2];
    assert_eq!((small.size, small.pixels.len()), (8, 3 * 3 * 8 * 8));
    assert!(small.geometry.iter().all(|geometry| geometry.size == 8));
}

#[test]
fn each_epoch_visits_every_image_at_most_once() {
    let found = batches(&memory(10), config(3, 2), 0, 6);
    for epoch in 0..2 {
        let of_epoch = found.iter().filter(|batch| batch.epoch == epoch);
        let mut images: Vec<usize> = of_epoch.flat_map(|batch| batch.images.clone()).collect();
        images.sort_unstable();
        images.dedup();
        assert_eq!(images.len(), 9, "epoch {epoch}");
    }
}

#[test]
fn threads_and_prefetch_change_nothing() {
    let (_root, source) = folder(23, |number| number % 5 == 0);
    let one = batches(&source, config(4, 1), 0, 12);
    for (threads, prefetch) in [(1, 1), (2, 1), (5, 7), (0, 3)] {
        let other = LoaderConfig {
            prefetch,
            ..config(4, threads)
        };
        assert_eq!(
            batches(&source, other, 0, 12),
            one,
            "{threads} threads, {prefetch} ahead"
        );
    }
}

/// Bad files are also replaced in the same way.
#[test]
fn a_pack_gives_the_batches_of_its_folder() {
    let (root, source) = folder(23, |number| number % 5 == 0);
    let path = root.path().join("all.pack");
    let mut writer = PackWriter::create(&path).expect("a writer");
    for number in 0..23 {
        let file = path_of(root.path(), number);
        let name = file.file_name().expect("a name").to_string_lossy();
        let bytes = std::fs::read(&file).expect("a file");
        writer.add(&name, &bytes).expect("added");
    }
    writer.finish().expect("a pack");
    let pack = Arc::new(Source::open(&path).expect("a pack"));
    assert!(matches!(*pack, Source::Pack(_)));
    let expected = batches(&source, config(4, 2), 0, 12);
    for threads in [1, 3] {
        assert!(
            batches(&pack, config(4, threads), 0, 12) == expected,
            "{threads} threads"
        );
    }
}

/// Every sample reuses the buffers of earlier ones: images of all sizes and colour types alternate.
#[test]
fn memory_that_was_used_before_changes_nothing() {
    let root = tempfile::tempdir().expect("a temporary folder");
    for number in 0..12u32 {
        let (width, height) = (5 + 7 * (number % 5), 60 - 11 * (number % 4));
        let image = RgbImage::from_fn(width, height, |x, y| {
            Rgb([number * 20, x * 6, y * 4].map(|value| value as u8))
        });
        let path = root.path().join(format!("{number:03}"));
        match number % 3 {
            0 => image.save(path.with_extension("png")),
            1 => image.save(path.with_extension("jpg")),
            _ => image::DynamicImage::from(image)
                .to_luma_alpha8()
                .save(path.with_extension("png")),
        }
        .expect("a picture");
    }
    let dataset = Dataset::scan(root.path()).expect("images");
    let decode = |path: &PathBuf| {
        super::super::decode::decode(path, &Default::default()).expect("a picture")
    };
    let fresh = Source::Memory(dataset.paths().iter().map(decode).collect());
    let source = Arc::new(Source::Files(dataset));
    let expected = batches(&Arc::new(fresh), config(3, 1), 0, 8);
    for threads in [1, 2] {
        assert!(batches(&source, config(3, threads), 0, 8) == expected);
    }
    for batch in &expected {
        for (place, image) in batch.images.iter().enumerate() {
            let pixels = decode(&source.name(*image));
            let position = batch.step % 4 * 3 + place as u64;
            let index = batch.epoch * 12 + position;
            let [query, _] = densecl::augment::two_views(&pixels, &config(3, 1).views, 5, index);
            let planes = densecl::augment::Planes::from_rgb(&query.image);
            assert_eq!(
                batch.views[0].pixels[768 * place..][..768],
                *planes.as_bytes()
            );
        }
    }
}

#[test]
fn a_resumed_run_sees_what_it_would_have_seen() {
    let (_root, source) = folder(11, |number| number == 3);
    let whole = batches(&source, config(4, 2), 0, 9);
    for first in [0, 1, 2, 5, 8] {
        let resumed = batches(&source, config(4, 3), first as u64, 9 - first);
        assert_eq!(resumed, whole[first..], "from step {first}");
    }
}

#[test]
fn a_bad_file_is_replaced_by_the_next_in_order_and_told_once() {
    let (root, source) = folder(8, |number| number == 2 || number == 6);
    let order = epoch_order(5, 0, 8);
    let good = |position: usize| {
        let following = (0..8).map(|ahead| order[(position + ahead) % 8]);
        following
            .into_iter()
            .find(|image| *image != 2 && *image != 6)
    };
    let mut loader = Loader::start(source, config(4, 2), 0).expect("a loader");
    for step in 0..6 {
        let batch = loader.next().expect("a batch");
        if step < 2 {
            let expected: Vec<_> = (0..4).filter_map(|place| good(4 * step + place)).collect();
            assert_eq!(batch.images, expected);
        }
    }
    let reason = String::from("not a JPEG, PNG, WebP or PNM image");
    let bad = |number| BadFile {
        path: path_of(root.path(), number),
        reason: reason.clone(),
    };
    assert_eq!(loader.bad_files(), [bad(2), bad(6)]);
}

#[test]
fn too_many_bad_files_end_the_run_at_the_same_step() {
    let (_root, source) = folder(40, |number| number % 3 == 0);
    let run = |threads| {
        let config = LoaderConfig {
            max_bad_share: 0.2,
            ..config(4, threads)
        };
        let mut loader = Loader::start(Arc::clone(&source), config, 0).expect("a loader");
        let mut steps = 0;
        loop {
            match loader.next() {
                Ok(_) => steps += 1,
                Err(error) => {
                    let again = loader.next().expect_err("it is over").to_string();
                    assert!(again.contains("stopped after an earlier error"), "{again}");
                    return (steps, error.to_string());
                }
            }
        }
    };
    let (steps, error) = run(1);
    assert!(
        steps > 0,
        "9 bad files of 40 are needed, no batch has as many"
    );
    assert!(error.contains(" files do not decode"), "{error}");
    assert!(
        error.contains("more than the allowed share of 0.2: repair or remove them"),
        "{error}"
    );
    assert!(
        error.contains(".png: not a JPEG, PNG, WebP or PNM image; "),
        "{error}"
    );
    assert!(error.contains(" more)") && !error.contains('\n'), "{error}");
    assert_eq!(run(4), (steps, error));
}

#[test]
fn a_set_without_a_single_picture_ends_at_once() {
    for (max_bad_share, expected) in [
        (0.0, "1 of 30 files do not decode"),
        (0.1, "4 of 30 files do not decode"),
        (1.0, "none of the 30 files decodes: give other images ("),
    ] {
        let (_root, source) = folder(30, |_| true);
        let config = LoaderConfig {
            max_bad_share,
            ..config(4, 2)
        };
        let mut loader = Loader::start(source, config, 0).expect("a loader");
        let error = loader.next().expect_err("no pictures").to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_panic_in_a_thread_is_an_error() {
    // No view can be cut from an image without pixels.
    let source = Arc::new(Source::Memory(vec![RgbImage::new(0, 0); 4]));
    let mut loader = Loader::start(source, config(2, 2), 0).expect("a loader");
    let error = loader.next().expect_err("a panic").to_string();
    assert!(
        error.starts_with("a data loading thread panicked: "),
        "{error}"
    );
    assert!(loader.next().is_err());
}

#[test]
fn no_more_batches_are_made_ahead_than_asked_for() {
    let config = LoaderConfig {
        prefetch: 3,
        ..config(4, 2)
    };
    let mut loader = Loader::start(memory(100), config, 0).expect("a loader");
    for step in 0..5 {
        loader.next().expect("a batch");
        assert_eq!(loader.next_queued, step + 1 + 3);
        assert!(
            loader.early.len() <= 3 * 4,
            "{} samples wait",
            loader.early.len()
        );
    }
}

#[test]
fn dropping_does_not_wait_for_what_is_queued() {
    let config = LoaderConfig {
        prefetch: 4_000,
        ..config(50, 2)
    };
    let start = std::time::Instant::now();
    drop(Loader::start(memory(50), config, 0).expect("a loader"));
    // 200,000 samples are queued, of which only a few are made before the drop.
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let error = start_error(10, config(11, 1));
    assert_eq!(
        error,
        "10 images are fewer than the batch size of 11: add images, or choose a batch size of at \
         most 10"
    );
    assert!(start_error(10, config(0, 1)).contains("batch size is 0"));
    let error = start_error(
        10,
        LoaderConfig {
            prefetch: 0,
            ..config(2, 1)
        },
    );
    assert!(error.contains("at least 1"), "{error}");
    let error = start_error(
        10,
        LoaderConfig {
            max_bad_share: f64::NAN,
            ..config(2, 1)
        },
    );
    assert!(error.contains("must be between 0 and 1"), "{error}");
}

#[test]
fn the_parts_of_the_ranks_are_the_whole_batch() {
    let (_root, source) = folder(30, |number| number % 7 == 3);
    let whole = batches(&source, config(8, 2), 2, 5);
    for ranks in [2, 4] {
        let parts = (0..ranks).map(|rank| {
            let seat = Seat {
                rank,
                ranks,
                neighbours: ranks,
            };
            batches(&source, config(8, 0).of_rank(seat), 2, 5)
        });
        let parts: Vec<Vec<Batch>> = parts.collect();
        for (step, whole) in whole.iter().enumerate() {
            let mut joined = parts[0][step].clone();
            assert_eq!(joined.images.len(), 8 / ranks);
            for part in &parts[1..] {
                joined.images.extend(&part[step].images);
                for (view, more) in joined.views.iter_mut().zip(&part[step].views) {
                    view.pixels.extend(&more.pixels);
                    view.geometry.extend(&more.geometry);
                }
            }
            assert!(joined == *whole, "step {step} of {ranks} ranks");
        }
    }
}
