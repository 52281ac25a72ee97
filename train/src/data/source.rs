//! Where images come from.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::decode::{DecodeError, Decoder};
use super::pack::Pack;
use super::scan::Dataset;
use super::spread::spread;

/// The images of a run.
#[derive(Debug)]
pub enum Source {
    /// Files, decoded each time they are needed.
    Files(Dataset),
    /// The same, out of one file.
    Pack(Pack),
    /// Pictures that are there already: the embedded scenes.
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

    /// A checksum of what decides which image is which: other files, another run. 0 for images in
    /// memory, which the settings describe.
    pub fn fingerprint(&self) -> u32 {
        match self {
            Self::Files(dataset) => dataset.fingerprint(),
            Self::Pack(pack) => pack.fingerprint(),
            Self::Memory(_) => 0,
        }
    }

    /// A checksum of what the images are, where it is not part of [`Self::fingerprint`] already: of a pack that has
    /// those of its pictures.
    pub(crate) fn contents(&self) -> Option<u32> {
        match self {
            Self::Files(dataset) => Some(super::contents::checksum(dataset.paths())),
            Self::Pack(_) | Self::Memory(_) => None,
        }
    }

    /// Takes `count` images out, evenly spread over the order: the images without them, and they.
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

    /// The pixels of an image.
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

    /// The file of an image; for one in memory, something to call it by.
    pub fn name(&self, image: usize) -> PathBuf {
        match self {
            Self::Files(dataset) => dataset.paths()[image].clone(),
            Self::Pack(pack) => pack.name(image),
            Self::Memory(_) => PathBuf::from(format!("image {image}")),
        }
    }
}
