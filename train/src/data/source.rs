//! The source of a run's images.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::decode::{DecodeError, Decoder};
use super::pack::Pack;
use super::scan::Dataset;
use crate::spread::spread;

/// The images of a run.
#[derive(Debug)]
pub enum Source {
    /// Files, decoded each time they are needed.
    Files(Dataset),
    /// The files in a pack, decoded each time they are needed.
    Pack(Pack),
    /// Pictures in memory: the embedded scenes.
    Memory(Vec<RgbImage>),
}

impl Source {
    /// The images of a folder, a list or a pack.
    ///
    /// # Errors
    /// When there are none, or they cannot be read.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if Pack::is_one(path) {
            Pack::open(path).map(Self::Pack)
        } else {
            let dataset = Dataset::scan(path)?;
            dataset.left_out().say(path);
            Ok(Self::Files(dataset))
        }
    }

    /// The number of images.
    pub fn count(&self) -> usize {
        match self {
            Self::Files(dataset) => dataset.paths().len(),
            Self::Pack(pack) => pack.count(),
            Self::Memory(images) => images.len(),
        }
    }

    /// A checksum of the order of the images, to detect that a run is resumed on other data. 0 for images in memory,
    /// which are determined by the settings.
    pub fn fingerprint(&self) -> u32 {
        match self {
            Self::Files(dataset) => dataset.fingerprint(),
            Self::Pack(pack) => pack.fingerprint(),
            Self::Memory(_) => 0,
        }
    }

    /// A checksum of the images' contents. `None` for a pack, whose [`Self::fingerprint`] includes it, and for
    /// images in memory.
    pub(crate) fn contents(&self) -> Option<u32> {
        match self {
            Self::Files(dataset) => Some(super::contents::checksum(dataset.paths())),
            Self::Pack(_) | Self::Memory(_) => None,
        }
    }

    /// Holds out `count` images, evenly spread; returns the others and those held out.
    pub(crate) fn hold_out(self, count: usize) -> (Self, Self) {
        match self {
            Self::Files(dataset) => {
                let (rest, held_out) = dataset.hold_out(count);
                (Self::Files(rest), Self::Files(held_out))
            }
            Self::Pack(pack) => {
                let (rest, held_out) = pack.hold_out(count);
                (Self::Pack(rest), Self::Pack(held_out))
            }
            Self::Memory(images) => {
                let (rest, held_out) = spread(images, count);
                (Self::Memory(rest), Self::Memory(held_out))
            }
        }
    }

    /// Decodes an image.
    ///
    /// # Errors
    /// When its file does not decode.
    pub fn picture(
        &self,
        image: usize,
        decoder: &mut Decoder,
    ) -> Result<Cow<'_, RgbImage>, DecodeError> {
        match self {
            Self::Files(dataset) => decoder.decode(&dataset.paths()[image]).map(Cow::Owned),
            Self::Pack(pack) => pack.picture(image, decoder).map(Cow::Owned),
            Self::Memory(images) => Ok(Cow::Borrowed(&images[image])),
        }
    }

    /// The path of an image; for one in memory a descriptive name.
    pub fn name(&self, image: usize) -> PathBuf {
        match self {
            Self::Files(dataset) => dataset.paths()[image].clone(),
            Self::Pack(pack) => pack.name(image),
            Self::Memory(_) => PathBuf::from(format!("image {image}")),
        }
    }
}
