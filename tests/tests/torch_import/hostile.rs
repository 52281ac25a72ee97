//! Damaged and malicious files give an error, in bounded time and memory.

use std::{
    fs,
    io::Write,
    panic::catch_unwind,
    path::Path,
    time::{Duration, Instant},
};

use densecl::foreign::{names::recognise, torch::state_dict};

use crate::{bytes, path};

/// Files of the generator that must be refused, with words of the error message.
const REFUSED: [(&str, &str); 9] = [
    ("compressed", "compressed or encrypted"),
    (
        "complex",
        "w: holds numbers of type torch.ComplexFloatStorage",
    ),
    ("expanded", "declare more numbers than it has bytes"),
    ("list", "x is a list with tensors in it"),
    ("malicious", "an object of class posix.system"),
    ("malicious_legacy", "an object of class posix.system"),
    (
        "module",
        "an object of class torch.nn.modules.linear.Linear",
    ),
    ("no_tensors", "no tensors with names"),
    ("torchscript", "a TorchScript program"),
];

fn error(bytes: &[u8]) -> String {
    state_dict(bytes)
        .expect_err("it must be refused")
        .to_string()
}

#[test]
fn what_cannot_be_read_as_data_is_refused() {
    for (file, words) in REFUSED {
        let error = error(&bytes(&format!("refused_{file}.pth")));
        assert!(error.contains(words), "{file}: {error}");
    }
    let folder = fs::read_dir(path("")).expect("the goldens");
    let there = folder.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().starts_with("refused_")
    });
    assert_eq!(there.count(), REFUSED.len(), "a file without a test");
}

#[test]
fn a_call_in_a_pickle_is_not_made() {
    let found = state_dict(&bytes("malicious_beside.pth")).expect("its tensors are whole");
    assert_eq!(found.beside, ["x"]);
    assert!(!Path::new("densecl-was-here").exists());
}

#[test]
fn other_files_are_no_checkpoints() {
    assert!(error(b"").contains("not a file of torch's"));
    assert!(error(b"version https://git-lfs.github.com/spec/v1").contains("not a file of torch's"));
    assert!(error(b"PK\x03\x04").contains("truncated"));
    // The pickle of `{}`, written by Python and not by torch.save.
    assert!(error(b"\x80\x02}q\x00.").contains("not one that torch.save wrote"));
    // A pickle of protocol 0, whose opcodes are text.
    assert!(error(b"\x80\x02I1\n.").contains("no opcode"));
}

/// Reads damaged bytes; errors and results are both accepted, panics are not.
fn survive(bytes: &[u8], what: &str) {
    let outcome = catch_unwind(|| {
        let found = state_dict(bytes)?;
        let numbers: usize = found.tensors.iter().map(|(_, t)| t.values.len()).sum();
        assert!(numbers <= bytes.len(), "more numbers than bytes");
        let keys: Vec<_> = found
            .tensors
            .into_iter()
            .map(|(n, t)| (n, t.shape))
            .collect();
        recognise(&keys)?.check()
    });
    assert!(outcome.is_ok(), "{what}: a panic");
}

const SMALL: [&str; 5] = [
    "beside.pth",
    "beside_legacy.pth",
    "numbers_legacy.pth",
    "refused_module.pth",
    "refused_malicious_legacy.pth",
];

#[test]
fn every_truncation_is_refused() {
    for file in SMALL {
        let whole = bytes(file);
        for length in 0..whole.len() {
            assert!(
                state_dict(&whole[..length]).is_err(),
                "{file} cut to {length}"
            );
        }
    }
}

#[test]
fn every_changed_byte_is_survived() {
    for file in SMALL {
        let mut bytes = bytes(file);
        for at in 0..bytes.len() {
            let original = bytes[at];
            for change in [0x01, 0x02, 0x10, 0x80, 0xff] {
                bytes[at] = original ^ change;
                survive(&bytes, &format!("{file}, byte {at} ^ {change:#04x}"));
            }
            bytes[at] = original;
        }
    }
}

#[test]
fn a_changed_number_in_a_zip_archive_is_found() {
    let mut bytes = bytes("half.pth");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let error = error(&bytes);
    assert!(error.contains("damaged"), "{error}");
}

/// A file in torch's legacy format with this pickle and without storages.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let parts: [&[u8]; 5] = [
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        b"\x80\x02M\xe9\x03.",
        b"\x80\x02}.",
        pickle,
        b"\x80\x02].",
    ];
    for part in parts {
        bytes.write_all(part).expect("memory");
    }
    bytes
}

/// The pickle of a tensor without data, left on the stack.
const EMPTY_TENSOR: &[u8] =
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n\
    FloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x00tQK\x00K\x00\x85K\x01\x85\x89NtR";

/// Asserts that the pickle is refused with `words`, within a short time.
fn refused_quickly(pickle: &[u8], words: &str) {
    let bytes = legacy(pickle);
    let start = Instant::now();
    let error = error(&bytes);
    assert!(error.contains(words), "{error}");
    let limit = Duration::from_secs(10);
    assert!(start.elapsed() < limit, "{words}: {:?}", start.elapsed());
}

#[test]
fn lengths_are_not_believed() {
    refused_quickly(b"\x80\x02X\xff\xff\xff\xff.", "truncated");
    refused_quickly(b"\x80\x02\x8b\xff\xff\xff\xff.", "truncated");
    refused_quickly(
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
        "truncated",
    );
    refused_quickly(
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "truncated",
    );
}

#[test]
fn the_stack_is_not_left() {
    for pickle in [
        &b"."[..],
        b"0.",
        b"t.",
        b"(.",
        b"(t0.",
        b"h\x05.",
        b"N(0R.",
        b"K\x01e.",
        b"Q.",
    ] {
        let error = error(&legacy(pickle));
        assert!(
            error.contains("damaged") || error.contains("no dictionary"),
            "{error}"
        );
    }
}

#[test]
fn endless_pickles_end() {
    refused_quickly(&b"N".repeat(3 << 20), "longer than any");
    refused_quickly(&b"(".repeat(3 << 20), "longer than any");
    refused_quickly(
        &[&b"N"[..], &b"\x94".repeat(3 << 20)].concat(),
        "longer than any",
    );
    // A list of a million entries, from which 65,536 OrderedDicts are made.
    let list = [&b"]q\x00("[..], &b"N".repeat(1 << 20), b"e0"].concat();
    let dict = b"ccollections\nOrderedDict\n(h\x00tR0".repeat(1 << 16);
    refused_quickly(&[list, dict].concat(), "longer than any");
}

#[test]
fn dictionaries_in_dictionaries_end() {
    // Each dict contains the previous one a thousand times: 1000^8 entries in a few kilobytes.
    let mut pickle = [b"}q\x00U\x01w", EMPTY_TENSOR, b"s"].concat();
    for level in 1..=8_u8 {
        pickle.extend([b'}', b'q', level, b'(']);
        for i in 0..1000_u16 {
            pickle.extend([b'M', i as u8, (i >> 8) as u8, b'h', level - 1]);
        }
        pickle.push(b'u');
    }
    pickle.push(b'.');
    refused_quickly(&pickle, "entries in its state dict");
    // A dict that contains itself.
    refused_quickly(b"}q\x00U\x01xh\x00s.", "nested deeper");
    // A dict of two references to a list that contains itself.
    refused_quickly(b"]q\x00h\x00a}q\x01(K\x01h\x00K\x02h\x00u.", "no tensors");
    // A state dict that contains itself under `state_dict`.
    refused_quickly(b"}q\x00U\x0astate_dicth\x00s.", "nested deeper");
}

#[test]
fn keys_are_short_and_single() {
    let long = [
        &b"}X\x00\x04\x00\x00"[..],
        &b"k".repeat(1024),
        EMPTY_TENSOR,
        b"s.",
    ]
    .concat();
    refused_quickly(&long, "absurd length");
    let twice = [b"}(U\x01w", EMPTY_TENSOR, b"U\x01w", EMPTY_TENSOR, b"u."].concat();
    refused_quickly(&twice, "w is in it twice");
    let alone = [EMPTY_TENSOR, b"."].concat();
    refused_quickly(&alone, "a single tensor");
    let stray = [b"}U\x01w", EMPTY_TENSOR, b"s."].concat();
    refused_quickly(
        &stray,
        "w: a damaged file of torch's: its storage 0 is missing",
    );
}
