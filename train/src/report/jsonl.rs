//! `metrics.jsonl`: one JSON object per line, appended in one write per row, so that a killed run loses at most the
//! line it was writing.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::files::write_atomically;
use crate::row::MetricRow;

/// Reads a `metrics.jsonl`, sorted by step.
///
/// Where the steps go back, because a run was killed after its last checkpoint and resumed from it, the later lines
/// replace the earlier ones. A last line without a line break was cut by a kill; it is ignored unless it is complete
/// JSON.
///
/// # Errors
/// If the file cannot be read, or a complete line is no [`MetricRow`]; the error names file and line.
pub fn read_jsonl(path: &Path) -> Result<Vec<MetricRow>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(parse(&text, path)?
        .into_iter()
        .map(|(_, row)| row)
        .collect())
}

/// The lines of the file and their rows; rows of a resumed part have replaced earlier ones.
fn parse<'t>(text: &'t str, path: &Path) -> Result<Vec<(&'t str, MetricRow)>> {
    let mut rows: Vec<(&str, MetricRow)> = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim();
        if content.is_empty() {
            continue;
        }
        let row: MetricRow = match serde_json::from_str(content) {
            Ok(row) => row,
            Err(_) if !line.ends_with('\n') => break,
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "{}, line {}: not a row of metrics",
                        path.display(),
                        index + 1
                    )
                });
            }
        };
        while rows.last().is_some_and(|(_, last)| last.step >= row.step) {
            rows.pop();
        }
        rows.push((content, row));
    }
    Ok(rows)
}

/// Appends rows to a `metrics.jsonl`.
#[derive(Debug)]
pub struct JsonlWriter {
    file: File,
    path: PathBuf,
}

impl JsonlWriter {
    /// Opens the file for appending; creates it if it does not exist.
    ///
    /// An existing file is first repaired: an incomplete last line is removed, and with `keep_up_to_step` (the step
    /// of the checkpoint from which a run resumes) all rows after that step. This replaces the file atomically.
    ///
    /// # Errors
    /// If the file cannot be read or written, or holds a line that is no [`MetricRow`].
    pub fn open(path: &Path, keep_up_to_step: Option<u64>) -> Result<Self> {
        let cannot_write = || format!("cannot write {}", path.display());
        match fs::read_to_string(path) {
            Ok(text) => {
                let last_step = keep_up_to_step.unwrap_or(u64::MAX);
                let kept: String = parse(&text, path)?
                    .iter()
                    .filter(|(_, row)| row.step <= last_step)
                    .flat_map(|(line, _)| [*line, "\n"])
                    .collect();
                if kept != text {
                    write_atomically(path, kept.as_bytes())?;
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(cannot_write)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
        })
    }

    /// Appends one row; on return the operating system has received it.
    ///
    /// # Errors
    /// If the file cannot be written (a full disk).
    pub fn write(&mut self, row: &MetricRow) -> Result<()> {
        let cannot_write = || format!("cannot write {}", self.path.display());
        let mut line = serde_json::to_string(row).with_context(cannot_write)?;
        line.push('\n');
        // One unbuffered write for the whole line, so that it is written completely or not at all if the process is
        // killed.
        self.file
            .write_all(line.as_bytes())
            .with_context(cannot_write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::test_rows::row;

    fn steps(path: &Path) -> Vec<u64> {
        read_jsonl(path)
            .expect("a readable file")
            .iter()
            .map(|row| row.step)
            .collect()
    }

    fn write(path: &Path, keep: Option<u64>, steps: &[u64]) {
        let mut writer = JsonlWriter::open(path, keep).expect("a writable file");
        for &step in steps {
            writer.write(&row(step)).expect("a written row");
        }
    }

    #[test]
    fn rows_come_back_with_gaps_as_nan() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        let mut gap = row(2);
        gap.grad_norm = f64::NAN;
        gap.loss = f64::INFINITY;
        gap.correspondence_accuracy = None;
        let mut writer = JsonlWriter::open(&path, None).expect("a new file");
        writer.write(&row(1)).expect("a written row");
        writer.write(&gap).expect("a written row");
        let rows = read_jsonl(&path).expect("a readable file");
        assert_eq!(rows[0], row(1));
        assert!(rows[1].grad_norm.is_nan() && rows[1].loss.is_nan());
        assert_eq!(rows[1].correspondence_accuracy, None);
        assert_eq!(rows[1].figure("loss_dense"), gap.figure("loss_dense"));
    }

    #[test]
    fn a_truncated_last_line_is_ignored_and_removed_before_appending() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        write(&path, None, &[1, 2, 3]);
        let text = fs::read_to_string(&path).expect("a readable file");
        fs::write(&path, &text[..text.len() - 20]).expect("a truncated file");
        assert_eq!(steps(&path), [1, 2]);
        write(&path, None, &[3, 4]);
        assert_eq!(steps(&path), [1, 2, 3, 4]);
        // Complete JSON without a line break is kept.
        fs::write(&path, text.trim_end()).expect("a truncated file");
        assert_eq!(steps(&path), [1, 2, 3]);
        write(&path, None, &[4]);
        assert_eq!(steps(&path), [1, 2, 3, 4]);
    }

    #[test]
    fn a_bad_line_elsewhere_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        write(&path, None, &[1, 2]);
        let text = fs::read_to_string(&path).expect("a readable file");
        fs::write(&path, text.replacen("\"loss\"", "\"lost\"", 1)).expect("a written file");
        let message = format!("{:#}", read_jsonl(&path).expect_err("line 1 is bad"));
        assert!(message.contains("metrics.jsonl, line 1"), "{message}");
        assert!(message.contains("missing field `loss`"), "{message}");
        assert!(JsonlWriter::open(&path, Some(1)).is_err());
        let missing = read_jsonl(&dir.path().join("none.jsonl")).expect_err("no such file");
        assert!(format!("{missing:#}").contains("none.jsonl"));
    }

    #[test]
    fn later_lines_win_when_a_run_was_resumed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        write(&path, None, &[10, 20, 30, 40]);
        write(&path, None, &[30, 35]);
        assert_eq!(steps(&path), [10, 20, 30, 35]);
    }

    #[test]
    fn resuming_drops_the_rows_after_the_checkpoint() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        write(&path, Some(5), &[1, 2, 3, 4]);
        write(&path, Some(2), &[]);
        assert_eq!(
            fs::read_to_string(&path)
                .expect("a readable file")
                .lines()
                .count(),
            2
        );
        write(&path, Some(2), &[3]);
        assert_eq!(steps(&path), [1, 2, 3]);
    }
}
