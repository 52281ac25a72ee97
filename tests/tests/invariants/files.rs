//! Weights and checkpoints as bytes: whole files are restored exactly, all others are refused with one clear
//! error.

use densecl::{
    Error,
    checkpoint::{self, Checkpoint},
    config::{Backbone, ModelConfig, Stem},
    method::DenseCl,
    model::{Encoder, Tensors},
    weights::{self, Archive, FORMAT_VERSION, FilePrecision, Format, Weights, WeightsInfo},
};
use densecl_tests::{
    cases,
    learner::{self, SIDE, Tiny, settings, state, views},
    network::{cpu, named_values, values},
};
use proptest::prelude::*;

/// Seed and number of images recorded in the tests' checkpoints.
const SEED: u64 = 7;
const IMAGES: usize = 100;

/// A very small network, so that files are short.
fn small() -> Tiny {
    let mut tiny = Tiny::default();
    (tiny.model.width, tiny.model.dim) = (2, 4);
    tiny
}

fn info(model: &ModelConfig) -> WeightsInfo {
    WeightsInfo {
        format_version: FORMAT_VERSION,
        method: "densecl".to_owned(),
        model: model.clone(),
        steps: 12,
        data: "formula".to_owned(),
        config: "seed = 7\n".to_owned(),
    }
}

fn weights_file() -> Vec<u8> {
    let tiny = small();
    let encoder = tiny.learner(&cpu()).query;
    weights::save(&encoder, &info(&tiny.model)).expect("saved")
}

fn after_steps(tiny: &Tiny, steps: u64) -> DenseCl {
    let mut learner = tiny.learner(&cpu());
    (0..steps).for_each(|step| take_step(&mut learner, step));
    learner
}

fn take_step(learner: &mut DenseCl, step: u64) {
    let views = views(&format!("files/{step}"), 4, &cpu());
    learner::step(learner, vec![views], &settings(step)).expect("a step");
}

fn checkpoint_file(tiny: &Tiny, steps: u64) -> Vec<u8> {
    let mut learner = after_steps(tiny, steps);
    checkpoint::save(&mut learner, &tiny.model, SEED, IMAGES, steps).expect("saved")
}

fn load_checkpoint(
    bytes: &[u8],
    tiny: &Tiny,
) -> densecl::Result<(DenseCl, checkpoint::CheckpointInfo)> {
    let saved = Checkpoint::read(bytes, &tiny.model)?;
    let mut learner = tiny.learner(&cpu());
    let info = saved.restore(&mut learner)?;
    Ok((learner, info))
}

/// Asserts that the message is one line, not empty, and without Rust's `Debug` output.
fn assert_one_line(error: &Error) -> String {
    let message = error.to_string();
    assert!(
        !message.is_empty() && !message.contains('\n'),
        "{message:?}"
    );
    message
}

#[test]
fn weights_come_back_bit_for_bit() {
    let tiny = Tiny::default();
    let learner = after_steps(&tiny, 1);
    let bytes = weights::save(&learner.query, &info(&tiny.model)).expect("saved");
    let (loaded, read) = weights::load(&bytes, &cpu()).expect("loaded");
    assert_eq!(read, info(&tiny.model));
    assert_eq!(named_values(&loaded), named_values(&learner.query));
    let again = weights::save(&loaded, &read).expect("saved");
    assert_eq!(again, bytes, "the same weights are the same bytes");
}

/// Output strides differ only in strides and dilations, so the same weights fit all of them.
#[test]
fn weights_load_at_every_output_stride() {
    let bytes = weights_file();
    let (trained, _) = weights::load(&bytes, &cpu()).expect("loaded");
    for stride in [8, 16, 32] {
        let loaded = weights::load_with_stride(&bytes, Some(stride), &cpu());
        let (encoder, info) = loaded.expect("loaded");
        assert_eq!(info.model.output_stride, stride);
        assert_eq!(named_values(&encoder), named_values(&trained));
        let images = views("files", 1, &cpu()).query;
        let [_, _, rows, _] = encoder.backbone.forward(images).dims();
        assert_eq!(rows, SIDE / stride);
    }
    let refused = weights::load_with_stride(&bytes, Some(4), &cpu());
    let message = assert_one_line(&refused.expect_err("no such stride"));
    assert!(message.contains("model.output_stride = 4"), "{message}");
}

/// Tested at step 0, before SGD has a velocity, and at step 3.
#[test]
fn a_restored_learner_goes_on_bit_for_bit() {
    let tiny = Tiny::default();
    for steps in [0, 3] {
        let mut learner = after_steps(&tiny, steps);
        let bytes =
            checkpoint::save(&mut learner, &tiny.model, SEED, IMAGES, steps).expect("saved");
        let (mut restored, info) = load_checkpoint(&bytes, &tiny).expect("loaded");
        assert_eq!((info.step, info.seed, info.images), (steps, SEED, IMAGES));
        assert_eq!(state(&restored), state(&learner), "after {steps} steps");
        for step in steps..steps + 2 {
            take_step(&mut learner, step);
            take_step(&mut restored, step);
            assert_eq!(
                state(&restored),
                state(&learner),
                "step {step} after {steps}"
            );
        }
    }
}

#[test]
fn a_truncated_file_is_an_error_at_every_length() {
    let tiny = small();
    let (whole, saved) = (weights_file(), checkpoint_file(&tiny, 1));
    let lengths = |bytes: &[u8]| {
        let header = 8 + header_len(bytes);
        let step = bytes.len() / 50;
        (0..200)
            .chain((0..bytes.len()).step_by(step))
            .chain(header - 3..header + 3)
            .chain(bytes.len() - 9..bytes.len())
            .collect::<Vec<_>>()
    };
    for length in lengths(&whole) {
        let error = weights::load(&whole[..length], &cpu()).expect_err("truncated weights");
        assert!(matches!(error, Error::Format(_)), "{length}: {error:?}");
        assert_one_line(&error);
    }
    for length in lengths(&saved) {
        let error = load_checkpoint(&saved[..length], &tiny).expect_err("a truncated checkpoint");
        assert!(matches!(error, Error::Format(_)), "{length}: {error:?}");
        assert_one_line(&error);
    }
    let trailing = [&whole[..], &[0]].concat();
    assert!(weights::load(&trailing, &cpu()).is_err(), "a byte too many");
}

#[test]
fn a_flipped_bit_in_a_checkpoint_s_numbers_is_an_error() {
    let tiny = small();
    let mut bytes = checkpoint_file(&tiny, 1);
    let (start, end) = (8 + header_len(&bytes), bytes.len());
    for at in (start..end).step_by(997).chain([start, end - 1]) {
        for bit in [0, 7] {
            bytes[at] ^= 1 << bit;
            let error = load_checkpoint(&bytes, &tiny).expect_err("a changed number");
            assert!(assert_one_line(&error).contains("checksum"), "{error}");
            bytes[at] ^= 1 << bit;
        }
    }
    load_checkpoint(&bytes, &tiny).expect("whole again");
}

/// Before checkpoints held the method's name, they stored the positions of both queues as a list.
#[test]
fn a_checkpoint_from_before_methods_had_names_goes_on() {
    let tiny = small();
    let new = checkpoint_file(&tiny, 3);
    let (archive, mut info): (Archive, serde_json::Value) =
        Archive::from_bytes(&new).expect("whole");
    let info_of = info.as_object_mut().expect("an object");
    assert_eq!(info_of.remove("method"), Some("densecl".into()));
    let positions = info_of.remove("positions").expect("by name");
    let position = &positions["queue.global"];
    assert!(position.as_u64().is_some_and(|position| position > 0));
    info_of.insert(
        "queue_positions".to_owned(),
        serde_json::json!([position, position]),
    );
    let old = archive.to_bytes(&info).expect("written");
    let [(from_old, _), (from_new, _)] =
        [&old, &new].map(|bytes| load_checkpoint(bytes, &tiny).expect("loaded"));
    assert!(state(&from_old) == state(&from_new));
}

/// Files written before checkpoints had a checksum are read without checking one.
#[test]
fn a_checkpoint_without_a_checksum_is_read() {
    let tiny = small();
    let (mut archive, mut info): (Archive, checkpoint::CheckpointInfo) =
        Archive::from_bytes(&checkpoint_file(&tiny, 1)).expect("whole");
    assert_eq!(info.crc32, Some(archive.checksum()));
    info.crc32 = None;
    let bytes = archive.to_bytes(&info).expect("written");
    load_checkpoint(&bytes, &tiny).expect("loaded");
    archive.take("queue.dense").expect("there");
    info.crc32 = Some(archive.checksum());
    let bytes = archive.to_bytes(&info).expect("written");
    let error = load_checkpoint(&bytes, &tiny).expect_err("one missing");
    assert!(error.to_string().contains("queue.dense"), "{error}");
}

/// Length of the JSON header, read from the first eight bytes.
fn header_len(bytes: &[u8]) -> usize {
    let length = bytes[..8].try_into().map(u64::from_le_bytes);
    length.expect("eight bytes") as usize
}

/// Offset of the table of tensors in the header. Before it is the metadata, whose text a flipped bit may turn
/// into another valid text.
fn table_start(bytes: &[u8]) -> usize {
    let header = &bytes[..8 + header_len(bytes)];
    let first = b"\"dense_head.conv1.bias\"";
    let found = header.windows(first.len()).position(|w| w == first);
    found.expect("the first tensor by name")
}

#[test]
fn a_flipped_bit_in_the_table_of_tensors_is_an_error() {
    let whole = weights_file();
    let table = table_start(&whole)..8 + header_len(&whole);
    let mut refused = 0;
    for byte in (0..8).chain(table) {
        let bit = byte % 8;
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << bit;
        match weights::load(&bytes, &cpu()) {
            Err(error) => {
                assert_one_line(&error);
                refused += 1;
            }
            // Only a blank may change unnoticed: the header is padded with blanks.
            Ok(_) => assert_eq!(whole[byte], b' ', "byte {byte}, bit {bit} was not noticed"),
        }
    }
    assert!(refused > 1000, "{refused} flips refused");
}

proptest! {
    #![proptest_config(cases(200))]

    /// A flipped bit anywhere in the header, metadata included, gives an error or a whole network, but no
    /// panic.
    #[test]
    fn a_flipped_header_bit_never_panics(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = weights_file();
        let at = at.index(8 + header_len(&bytes));
        bytes[at] ^= 1 << bit;
        match weights::load(&bytes, &cpu()) {
            Err(error) => {
                assert_one_line(&error);
            }
            Ok((encoder, info)) => prop_assert_eq!(
                named_values(&encoder).len(),
                named_values(&Encoder::new(&info.model, 0, &cpu())).len()
            ),
        }
    }

    /// Random bytes are refused as weights and as a checkpoint.
    #[test]
    fn arbitrary_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let error = weights::load(&bytes, &cpu()).expect_err("noise");
        assert_one_line(&error);
        let error = load_checkpoint(&bytes, &small()).expect_err("noise");
        assert_one_line(&error);
    }
}

/// The error for a file with the tensors of one network and the metadata of another.
fn mislabelled(tensors: &ModelConfig, label: &ModelConfig) -> String {
    let mut archive = Archive::default();
    let encoder = Encoder::new(tensors, 0, &cpu());
    archive.insert_all("", &encoder).expect("read back");
    let bytes = archive.to_bytes(&info(label)).expect("written");
    let error = weights::load(&bytes, &cpu()).expect_err("another network");
    assert!(matches!(error, Error::Mismatch(_)), "{error:?}");
    assert_one_line(&error)
}

#[test]
fn weights_under_the_name_of_another_network_are_refused() {
    let small = small().model;
    let deeper = ModelConfig {
        backbone: Backbone::ResNet18,
        ..small.clone()
    };
    let wider = ModelConfig {
        width: 4,
        ..small.clone()
    };
    for (label, wanted) in [
        (deeper, "resnet18 of width 2"),
        (wider, "resnet10 of width 4"),
    ] {
        let error = mislabelled(&small, &label);
        let found = "its tensors are those of resnet10 of width 2 and dim 4";
        assert!(error.contains(wanted) && error.contains(found), "{error}");
    }
}

#[test]
fn a_failed_restore_changes_nothing() {
    let tiny = small();
    let mut archive = Archive::default();
    let mut encoder = tiny.learner(&cpu()).query;
    archive.insert_all("", &encoder).expect("read back");
    archive.take("layer4.0.conv1.weight").expect("there");
    let other = Encoder::new(&tiny.model, 9, &cpu());
    let before = named_values(&other);
    encoder = other;
    let error = archive.restore("", &mut encoder).expect_err("one missing");
    let message = assert_one_line(&error);
    assert!(
        message.contains("layer4.0.conv1.weight is missing"),
        "{message}"
    );
    assert_eq!(named_values(&encoder), before);
}

/// A tiny network with bottlenecks.
fn bottlenecks(stride_in_1x1: bool) -> Tiny {
    let mut tiny = small();
    tiny.model.backbone = Backbone::ResNet50;
    tiny.model.output_stride = 32;
    tiny.model.stride_in_1x1 = stride_in_1x1;
    tiny
}

#[test]
fn the_placement_of_the_stride_comes_back_and_decides_the_features() {
    let [usual, in_1x1] = [false, true].map(bottlenecks);
    let encoder = in_1x1.learner(&cpu()).query;
    let images = || views("files", 2, &cpu()).query;
    let features = |bytes: &[u8]| {
        let (encoder, info) = weights::load(bytes, &cpu()).expect("loaded");
        let map = encoder.backbone.forward(images());
        (values(&map), info.model.stride_in_1x1)
    };
    let save = |tiny: &Tiny| weights::save(&encoder, &info(&tiny.model)).expect("saved");
    let (with, without) = (features(&save(&in_1x1)), features(&save(&usual)));
    let expected = values(&encoder.clone().inference().backbone.forward(images()));
    assert_eq!(with, (expected, true));
    assert!(!without.1);
    assert_ne!(with.0, without.0, "the same numbers are another network");

    // Some files do not record the placement of the stride. The importer can set it, and weights written
    // afterwards record it.
    let weights = Weights::read(&save(&usual)).expect("ours");
    let told = weights.with_stride_in_1x1().expect("bottlenecks");
    let bytes = told.to_bytes(FilePrecision::F32).expect("written");
    assert_eq!(features(&bytes), with);
    let basic = Weights::read(&weights_file()).expect("ours");
    let error = basic.with_stride_in_1x1().expect_err("basic blocks");
    assert!(assert_one_line(&error).contains("model.stride_in_1x1"));
}

#[test]
fn a_run_goes_on_only_with_its_own_placement_of_the_stride() {
    let [usual, in_1x1] = [false, true].map(bottlenecks);
    let bytes = checkpoint_file(&in_1x1, 1);
    let (learner, read) = load_checkpoint(&bytes, &in_1x1).expect("its own");
    assert!(read.model.stride_in_1x1);
    assert_eq!(
        named_values(&learner.query),
        named_values(&after_steps(&in_1x1, 1).query)
    );
    let error = load_checkpoint(&bytes, &usual).expect_err("another network");
    assert!(assert_one_line(&error).contains("stride in the 1x1 convolution"));

    let begin = |tiny: &Tiny| {
        let weights = Weights::read(&bytes).expect("a query encoder");
        weights.begin(&mut tiny.learner(&cpu()), &tiny.model)
    };
    begin(&in_1x1).expect("the same network");
    let error = begin(&usual).expect_err("another network");
    assert!(assert_one_line(&error).contains("model.stride_in_1x1"));
}

/// Through our own file, and through torch's, which has no metadata: there the first kernel tells.
#[test]
fn the_stem_for_small_pictures_comes_back_from_every_file() {
    let mut tiny = small();
    tiny.model.stem = Stem::Cifar;
    let encoder = tiny.learner(&cpu()).query.inference();
    let images = || views("files", 2, &cpu()).query;
    let expected = values(&encoder.backbone.forward(images()));
    let ours = weights::save(&encoder, &info(&tiny.model)).expect("saved");
    let weights = Weights::read(&ours).expect("ours");
    assert!(weights.advice(Format::Onnx).is_none());
    let advice = weights.advice(Format::Torch).expect("another stem");
    assert!(advice.contains("conv1 = Conv2d(3, 2, 3, padding=1") && advice.contains("maxpool"));
    let theirs = weights.export(Format::Torch, true).expect("exported");
    for bytes in [&ours, &theirs] {
        let read = Weights::read(bytes).expect("read");
        assert_eq!(
            (read.info.model.stem, read.info.model.output_stride),
            (Stem::Cifar, 8)
        );
        let (encoder, _) = read.encoder(None, &cpu()).expect("built");
        assert_eq!(values(&encoder.backbone.forward(images())), expected);
    }
    let error = weights
        .export(Format::Detectron2, false)
        .expect_err("no such network");
    assert!(assert_one_line(&error).contains("stem for small pictures"));
    let error = weights
        .encoder(Some(16), &cpu())
        .expect_err("no dilation below 1");
    assert!(assert_one_line(&error).contains("must be 8"));

    // A run goes on, and begins, with its own stem only.
    let bytes = checkpoint_file(&tiny, 1);
    let usual = small();
    let error = load_checkpoint(&bytes, &usual).expect_err("another network");
    assert!(assert_one_line(&error).contains("stem for small pictures"));
    let weights = Weights::read(&bytes).expect("a query encoder");
    let error = weights
        .begin(&mut usual.learner(&cpu()), &usual.model)
        .expect_err("another network");
    assert!(assert_one_line(&error).contains("with the stem for small pictures"));
}

#[test]
fn a_checkpoint_of_another_run_says_what_differs() {
    let tiny = small();
    let bytes = checkpoint_file(&tiny, 1);
    let refused = |other: &Tiny| {
        let error = load_checkpoint(&bytes, other).expect_err("another run");
        assert!(matches!(error, Error::Mismatch(_)), "{error:?}");
        assert_one_line(&error)
    };
    let mut other = tiny.clone();
    other.model.backbone = Backbone::ResNet50;
    let message = refused(&other);
    assert!(
        message.contains("resnet10") && message.contains("resnet50"),
        "{message}"
    );
    let mut other = tiny.clone();
    other.queue += 1;
    let message = refused(&other);
    assert!(
        message.contains("queue.global has shape [10, 4], expected [11, 4]"),
        "{message}"
    );
}

#[test]
fn newer_and_foreign_files_say_so() {
    let tiny = small();
    let encoder = Encoder::new(&tiny.model, 0, &cpu());
    let newer = WeightsInfo {
        format_version: FORMAT_VERSION + 1,
        ..info(&tiny.model)
    };
    let bytes = weights::save(&encoder, &newer).expect("saved");
    let message = assert_one_line(&weights::load(&bytes, &cpu()).expect_err("newer"));
    assert!(message.contains("newer densecl"), "{message}");

    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/golden/model/split_bn.safetensors"
    );
    let bytes = std::fs::read(golden).expect("a golden file");
    let message = assert_one_line(&weights::load(&bytes, &cpu()).expect_err("foreign"));
    assert!(message.contains("of no layout known here"), "{message}");

    // Loading weights from a checkpoint takes its query encoder; weights cannot be loaded as a checkpoint.
    let (encoder, info) = weights::load(&checkpoint_file(&tiny, 0), &cpu()).expect("a checkpoint");
    let learner = tiny.learner(&cpu());
    assert_eq!(named_values(&encoder), named_values(&learner.query));
    assert_eq!((info.model, info.steps), (tiny.model.clone(), 0));
    assert!(load_checkpoint(&weights_file(), &tiny).is_err());
}

#[test]
fn settings_out_of_range_are_errors_of_one_line() {
    let mut tiny = Tiny::default();
    tiny.model.output_stride = 12;
    tiny.method.lambda = 1.5;
    tiny.method.queue = 3;
    tiny.optim.momentum = f64::NAN;
    for (key, error) in [
        ("model.output_stride", tiny.model.validate().err()),
        ("method.lambda", tiny.method.validate().err()),
        ("optim.momentum", tiny.optim.validate().err()),
        ("method.queue", tiny.method.queue_len(100, 4).err()),
        ("method.queue", {
            tiny.method.queue = 101;
            tiny.method.queue_len(100, 4).err()
        }),
    ] {
        let message = assert_one_line(&error.unwrap_or_else(|| panic!("{key} went unseen")));
        assert!(message.starts_with(&format!("{key} = ")), "{message}");
    }
}
