//! Whole files: what is saved is restored, bit for bit.

use densecl::{
    checkpoint,
    model::Encoder,
    weights::{self, Archive},
};
use densecl_tests::{
    learner::{SIDE, Tiny, state, views},
    network::{cpu, named_values},
};

use super::{
    IMAGES, SEED, after_steps, assert_one_line, checkpoint_file, info, load_checkpoint, small,
    take_step, weights_file,
};

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
