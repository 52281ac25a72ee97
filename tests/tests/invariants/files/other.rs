//! Files of another network, run, version or program, and settings that no network can have.

use densecl::{
    Error,
    config::{Backbone, ModelConfig, Stem},
    model::{Encoder, Tensors},
    weights::{self, Archive, FORMAT_VERSION, FilePrecision, Format, Weights, WeightsInfo},
};
use densecl_tests::{
    learner::{Tiny, views},
    network::{cpu, named_values, values},
};

use super::{
    after_steps, assert_one_line, checkpoint_file, info, load_checkpoint, small, weights_file,
};

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
