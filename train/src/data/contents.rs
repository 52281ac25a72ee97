//! A checksum of file contents, so that a run is not resumed on other pictures under the same names.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use rayon::prelude::*;

/// Approximate number of bytes read of a data set, which takes seconds on a disk. A larger data set is sampled.
const MOST_BYTES: u64 = 128 << 20;
/// Bytes read at most of one file.
const MOST_OF_A_FILE: u64 = 16 << 20;

/// CRC-32C of the lengths of all files and of the contents of all files, or of an evenly spread sample of
/// [`MOST_BYTES`] where they are larger. A changed length is always detected; in a large data set a file changed at
/// the same length may be missed.
///
/// An unreadable file counts as one of another length; the loader reports the error.
pub(super) fn checksum(files: &[PathBuf]) -> u32 {
    let lengths: Vec<u64> = files
        .par_iter()
        .map(|file| fs::metadata(file).map_or(u64::MAX, |found| found.len()))
        .collect();
    let readable = lengths.iter().filter(|&&length| length != u64::MAX);
    let total: u64 = readable.map(|&length| length.min(MOST_OF_A_FILE)).sum();
    let count = files.len() as u64;
    let sampled = if total <= MOST_BYTES {
        count
    } else {
        (count as f64 * MOST_BYTES as f64 / total as f64).ceil() as u64
    };
    let sums: Vec<u32> = (0..files.len())
        .into_par_iter()
        .filter(|&i| (i as u64 + 1) * sampled / count > i as u64 * sampled / count)
        .map(|i| of_file(&files[i]))
        .collect();
    let lengths = lengths.iter().flat_map(|length| length.to_le_bytes());
    let sums = sums.iter().flat_map(|sum| sum.to_le_bytes());
    crc32c::crc32c(&lengths.chain(sums).collect::<Vec<u8>>())
}

fn of_file(file: &PathBuf) -> u32 {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MOST_OF_A_FILE).read_to_end(&mut bytes));
    read.map_or(0, |_| crc32c::crc32c(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_other_lengths_and_lost_files_change_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files: Vec<PathBuf> = (0..9).map(|i| folder.path().join(i.to_string())).collect();
        for file in &files {
            fs::write(file, "picture").expect("written");
        }
        let first = checksum(&files);
        assert_eq!(checksum(&files), first);
        fs::write(&files[4], "texture").expect("written");
        let other_bytes = checksum(&files);
        fs::write(&files[4], "pictures").expect("written");
        let other_length = checksum(&files);
        fs::remove_file(&files[4]).expect("removed");
        let all = [first, other_bytes, other_length, checksum(&files)];
        for (i, sum) in all.iter().enumerate() {
            assert!(!all[..i].contains(sum), "{all:?}");
        }
    }

    #[test]
    fn of_a_large_data_set_every_length_counts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files: Vec<PathBuf> = (0..40).map(|i| folder.path().join(i.to_string())).collect();
        // Sparse files: large, but without disk space.
        let set = |file: &PathBuf, length| {
            let file = File::create(file).expect("made");
            file.set_len(length).expect("set");
        };
        for file in &files {
            set(file, MOST_OF_A_FILE);
        }
        let first = checksum(&files);
        set(&files[7], MOST_OF_A_FILE + 1);
        assert_ne!(checksum(&files), first);
    }
}
