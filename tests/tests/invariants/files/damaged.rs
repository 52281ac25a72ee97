//! Damaged files: cut short, with flipped bits, noise.

use densecl::{Error, model::Encoder, weights};
use densecl_tests::{
    cases,
    network::{cpu, named_values},
};
use proptest::prelude::*;

use super::{assert_one_line, checkpoint_file, load_checkpoint, small, weights_file};

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
