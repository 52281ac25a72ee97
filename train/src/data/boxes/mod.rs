//! The boxes of the images, for methods with instances: found by selective search, read from a file, those of the
//! embedded scenes' objects, or none, in which case every box is random.

mod file;
mod find;
mod search;

use std::collections::HashMap;
use std::path::Path;

use anyhow::bail;
use densecl::augment::{CropBox, InstanceConfig};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use self::file::Line;
pub use self::find::{FoundBoxes, find_boxes};
pub(crate) use self::find::{Progress, search_all};
use super::source::Source;
use crate::files::folder_of;
use crate::paths;

/// Reads a file of boxes, one picture a line ([`find_boxes`] writes it), and returns the number of pictures.
///
/// # Errors
/// One line, which names the file and its first line that is wrong.
pub fn count_boxed(path: &Path) -> anyhow::Result<usize> {
    Ok(file::read(path)?.len())
}

/// The boxes of each image of a source; by default none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Boxes(Vec<OfImage>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OfImage {
    /// Width and height of the image for which the boxes were made.
    size: [u32; 2],
    /// CRC-32C of its RGB bytes, where that is known.
    pixels: Option<u32>,
    boxes: Vec<CropBox>,
}

impl Boxes {
    /// Those of a file's pictures for the images of `source`, as far as they keep the limits.
    ///
    /// # Errors
    /// One line, when an image of `source` is not in the file.
    fn of_lines(
        known: &HashMap<String, Line>,
        file: &Path,
        source: &Source,
        data: &Path,
        limits: &InstanceConfig,
    ) -> anyhow::Result<Self> {
        let mut missing = Vec::new();
        let mut of_images = Vec::with_capacity(source.count());
        for image in 0..source.count() {
            let name = name_in(data, source, image);
            match known.get(&name) {
                Some(line) => of_images.push(OfImage {
                    size: [line.width, line.height],
                    pixels: line.pixels,
                    boxes: limits.choose(line.boxes()),
                }),
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            bail!(
                "{} is for other pictures: it has no line for {} ({} of {} images have none); make it with `densecl \
                 boxes {}`",
                file.display(),
                densecl::error::first_names(&missing, 2),
                missing.len(),
                source.count(),
                data.display()
            );
        }
        Ok(Self(of_images))
    }

    /// Reads a file of boxes for the images of `source`, which was opened from `data`.
    ///
    /// # Errors
    /// One line, when the file cannot be read, a line of it is wrong, or an image is not in it.
    pub(crate) fn read(
        file: &Path,
        source: &Source,
        data: &Path,
        limits: &InstanceConfig,
    ) -> anyhow::Result<Self> {
        Self::of_lines(&file::read(file)?, file, source, data, limits)
    }

    /// Boxes of images of `size`, in their order, as far as they keep the limits.
    pub(crate) fn of_images(
        size: [u32; 2],
        boxes: impl IntoIterator<Item = Vec<CropBox>>,
        limits: &InstanceConfig,
    ) -> Self {
        let of_image = |boxes: Vec<CropBox>| OfImage {
            size,
            pixels: None,
            boxes: limits.choose(boxes),
        };
        Self(boxes.into_iter().map(of_image).collect())
    }

    /// The text of the file from which [`Self::read`] reads the same boxes.
    ///
    /// # Errors
    /// When a name has no JSON form.
    pub(crate) fn to_text(&self, source: &Source, data: &Path) -> anyhow::Result<String> {
        let lines = self.0.iter().enumerate().map(|(image, of_image)| {
            let name = name_in(data, source, image);
            Line::new(name, of_image.size, of_image.pixels, &of_image.boxes)
        });
        file::write(&lines.collect::<Vec<_>>())
    }

    /// Whether there are none, so that every box is random.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The images with fewer than `count` boxes.
    pub(crate) fn with_fewer_than(&self, count: usize) -> usize {
        let few = self.0.iter().filter(|image| image.boxes.len() < count);
        few.count()
    }

    /// Boxes per image, the mean.
    pub(crate) fn mean(&self) -> f64 {
        let all: usize = self.0.iter().map(|image| image.boxes.len()).sum();
        all as f64 / self.0.len().max(1) as f64
    }

    /// The boxes of an image, whose decoded picture is given to check that they are for it.
    ///
    /// # Errors
    /// One line, when the boxes were made for another picture.
    pub(super) fn of(&self, image: usize, picture: &RgbImage) -> Result<&[CropBox], String> {
        let Some(known) = self.0.get(image) else {
            return Ok(&[]);
        };
        let size = [picture.width(), picture.height()];
        let [width, height] = known.size;
        if known.size != size {
            return Err(format!(
                "its boxes are for a picture of {width} x {height}, and it has {} x {}",
                size[0], size[1]
            ));
        }
        if known
            .pixels
            .is_some_and(|made_for| made_for != checksum(picture))
        {
            return Err("its boxes are for another picture of the same size".to_string());
        }
        Ok(&known.boxes)
    }
}

/// The CRC-32C of a picture's RGB bytes.
fn checksum(picture: &RgbImage) -> u32 {
    crc32c::crc32c(picture.as_raw())
}

/// The name of an image in files of boxes: its path from the folder, list or pack `data`, with `/` between folders.
fn name_in(data: &Path, source: &Source, image: usize) -> String {
    let name = source.name(image);
    let folder = match source {
        Source::Files(_) if data.is_file() => folder_of(data),
        _ => data,
    };
    let text = paths::text(name.strip_prefix(folder).unwrap_or(&name));
    if cfg!(windows) {
        text.replace('\\', "/")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(left: u32, top: u32, width: u32, height: u32) -> CropBox {
        CropBox {
            left,
            top,
            width,
            height,
        }
    }

    fn limits() -> InstanceConfig {
        InstanceConfig {
            min_side: 4,
            ..InstanceConfig::default()
        }
    }

    #[test]
    fn boxes_of_images_are_written_and_read_again() {
        let source = Source::Memory(vec![RgbImage::new(20, 10), RgbImage::new(20, 10)]);
        let boxes = Boxes::of_images(
            [20, 10],
            [
                vec![at(0, 0, 8, 8), at(0, 0, 3, 8), at(10, 2, 8, 8)],
                vec![],
            ],
            &limits(),
        );
        assert_eq!((boxes.mean(), boxes.with_fewer_than(2)), (1.0, 1));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("boxes.jsonl");
        let text = boxes.to_text(&source, Path::new("scenes")).expect("JSON");
        std::fs::write(&path, text).expect("written");
        let read = Boxes::read(&path, &source, Path::new("scenes"), &limits()).expect("its own");
        let picture = RgbImage::new(20, 10);
        for image in [0, 1] {
            assert_eq!(read.of(image, &picture), boxes.of(image, &picture));
        }
        assert_eq!(read.of(0, &picture).expect("its own").len(), 2);

        let more = Source::Memory(vec![RgbImage::new(20, 10); 5]);
        let error = Boxes::read(&path, &more, Path::new("scenes"), &limits());
        let error = error.expect_err("three are missing").to_string();
        for part in [
            "is for other pictures",
            "image 2, image 3 and 1 more",
            "3 of 5",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn boxes_of_another_picture_are_noticed() {
        let (black, mut white) = (RgbImage::new(20, 10), RgbImage::new(20, 10));
        white.fill(255);
        let boxes = Boxes(vec![OfImage {
            size: [20, 10],
            pixels: Some(checksum(&black)),
            boxes: vec![at(0, 0, 8, 8)],
        }]);
        assert_eq!(boxes.of(0, &black).map(<[CropBox]>::len), Ok(1));
        let other = boxes.of(0, &white).expect_err("another");
        assert!(other.contains("another picture"), "{other}");
        let larger = boxes.of(0, &RgbImage::new(30, 10)).expect_err("larger");
        assert!(larger.contains("20 x 10, and it has 30 x 10"), "{larger}");
        // Without boxes every image has none.
        assert_eq!(Boxes::default().of(3, &black), Ok(&[][..]));
    }
}
