//! Files of boxes: JSON lines, a picture in each.
//!
//! ```text
//! {"image":"cats/1.jpg","width":640,"height":480,"boxes":[[12,30,200,180],[300,40,90,120]]}
//! ```
//!
//! `image` is the path from the folder (or list, or pack) of the data. A box is [left, top, width, height] in whole pixels.
//! `pixels`, which selective search adds, is the CRC-32C of the picture's RGB bytes: with it another picture of the same
//! name and size is noticed.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, bail};
use densecl::augment::CropBox;
use serde::{Deserialize, Serialize};

use crate::files::read_at_most;

/// Longest permitted file. A million pictures with thirty boxes each take about 600 MB.
const MAX_BYTES: u64 = 2 << 30;

/// The boxes of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// The path of the picture from the data's folder; of a scene its descriptive name.
    pub(crate) image: String,
    /// Columns of the picture; 0 where it did not decode.
    pub(crate) width: u32,
    /// Rows of the picture; 0 where it did not decode.
    pub(crate) height: u32,
    /// CRC-32C of its RGB bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pixels: Option<u32>,
    /// Left, top, width, height.
    boxes: Vec<[u32; 4]>,
}

impl Line {
    /// A picture's name, size, checksum and boxes.
    pub(crate) fn new(
        image: String,
        [width, height]: [u32; 2],
        pixels: Option<u32>,
        boxes: &[CropBox],
    ) -> Self {
        let boxes = boxes.iter().map(|found| {
            let CropBox {
                left,
                top,
                width,
                height,
            } = *found;
            [left, top, width, height]
        });
        Self {
            image,
            width,
            height,
            pixels,
            boxes: boxes.collect(),
        }
    }

    /// The boxes, in the order of the file.
    pub(crate) fn boxes(&self) -> impl Iterator<Item = CropBox> {
        self.boxes
            .iter()
            .map(|&[left, top, width, height]| CropBox {
                left,
                top,
                width,
                height,
            })
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self {
            image,
            width,
            height,
            ..
        } = self;
        for &[left, top, box_width, box_height] in &self.boxes {
            let shown = || format!("the box [{left}, {top}, {box_width}, {box_height}] of {image}");
            if box_width == 0 || box_height == 0 {
                bail!("{} has no area: remove it", shown());
            }
            let fits = |start: u32, length: u32, limit: u32| {
                start.checked_add(length).is_some_and(|end| end <= limit)
            };
            if !fits(left, box_width, *width) || !fits(top, box_height, *height) {
                bail!(
                    "{} reaches outside its picture of {width} x {height}: boxes are [left, top, width, height] in \
                     pixels",
                    shown()
                );
            }
        }
        Ok(())
    }
}

/// The text of a file with these pictures.
pub(crate) fn write(lines: &[Line]) -> anyhow::Result<String> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line)?);
        text.push('\n');
    }
    Ok(text)
}

/// The pictures of a file, by name.
///
/// # Errors
/// One line that begins with the file and the number of the first line that is wrong.
pub(crate) fn read(path: &Path) -> anyhow::Result<HashMap<String, Line>> {
    let shown = path.display();
    let text = String::from_utf8(read_at_most(path, MAX_BYTES)?);
    let text = text.with_context(|| format!("{shown} is not a UTF-8 text file of boxes"))?;
    let mut found = HashMap::new();
    for (number, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(text).map_err(|error| {
            // serde_json counts lines too, and here each is its own text.
            let error = error.to_string();
            let why = error.split(" at line").next().unwrap_or(&error);
            anyhow::anyhow!(
                "{shown}, line {number}: {why}; a line is {{\"image\":\"a.jpg\",\"width\":640,\"height\":480,\
                 \"boxes\":[[left,top,width,height]]}} with whole numbers"
            )
        })?;
        line.check()
            .with_context(|| format!("{shown}, line {number}"))?;
        if let Some(before) = found.insert(line.image.clone(), line) {
            bail!(
                "{shown}, line {number}: {} is there twice: remove one line",
                before.image
            );
        }
    }
    if found.is_empty() {
        bail!("{shown} has no boxes: make it with `densecl boxes`");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> anyhow::Result<HashMap<String, Line>> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("boxes.jsonl");
        std::fs::write(&path, text).expect("written");
        read(&path)
    }

    #[test]
    fn what_is_written_is_read() {
        let found = CropBox {
            left: 3,
            top: 4,
            width: 5,
            height: 6,
        };
        let lines = [
            Line::new("a \"b\".jpg".to_string(), [20, 10], Some(7), &[found]),
            Line::new("c/ü.png".to_string(), [0, 0], None, &[]),
        ];
        let read = read_text(&write(&lines).expect("JSON")).expect("its own file");
        assert_eq!(read.len(), 2);
        for line in lines {
            assert_eq!(read[&line.image], line);
        }
    }

    #[test]
    fn wrong_lines_are_named_with_what_is_wrong() {
        let line = |boxes: &str| {
            format!("{{\"image\":\"a.jpg\",\"width\":20,\"height\":10,\"boxes\":{boxes}}}\n")
        };
        let good = line("[[0,0,20,10]]");
        let cases = [
            (
                line("[[1,0,20,10]]"),
                "line 1: the box [1, 0, 20, 10] of a.jpg reaches outside its picture of 20 x 10",
            ),
            (line("[[0,4294967295,2,2]]"), "reaches outside its picture"),
            (
                line("[[3,3,0,2]]"),
                "the box [3, 3, 0, 2] of a.jpg has no area",
            ),
            (
                line("[[0.5,0,2,2]]"),
                "line 1: invalid type: floating point",
            ),
            (line("[[-1,0,2,2]]"), "line 1: invalid value: integer `-1`"),
            (format!("{good}{good}"), "line 2: a.jpg is there twice"),
            (format!("{good}{{\"image\":"), "line 2: EOF"),
            ("[]".to_string(), "line 1: "),
            ("\n \n".to_string(), "has no boxes"),
        ];
        for (text, part) in cases {
            let error = format!("{:#}", read_text(&text).expect_err(part));
            assert!(
                error.contains(part) && !error.contains('\n'),
                "{part}: {error}"
            );
        }
        let binary = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(binary.path(), [0xFF, 0xFE]).expect("written");
        let error = read(binary.path()).expect_err("binary").to_string();
        assert!(error.contains("not a UTF-8 text file"), "{error}");
    }
}
