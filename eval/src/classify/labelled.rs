//! Pictures with a class each: in folders, or objects cut from the embedded scenes.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use densecl::synthetic::{CLASS_NAMES, SceneConfig};
use image::{RgbImage, imageops};
use rayon::prelude::*;

use super::folders;
use crate::{scenes, spread};
use densecl_train::data::decode::{DecodeLimits, decode};
use densecl_train::held_out::held_out_frame;

/// Number of scenes where none is given.
const SCENES: usize = 400;
/// One scene in this many is for validation.
const SHARE: usize = 4;
/// The seed of the scenes: the same for every backbone and every seed of an evaluation.
const SEED: u64 = 0;
/// Classes of pixels that are no objects: background and ground.
const NO_OBJECTS: usize = 2;

/// A data set for classification.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Labelled {
    /// Names of the classes; those of folders are sorted.
    pub(crate) classes: Vec<String>,
    pub(crate) train: Vec<Sample>,
    pub(crate) val: Vec<Sample>,
}

/// A picture and its class.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) picture: Picture,
    /// An index into [`Labelled::classes`].
    pub(crate) class: usize,
}

/// A file, or a picture in memory.
#[derive(Clone, PartialEq)]
pub(crate) enum Picture {
    File(PathBuf),
    Memory(RgbImage),
}

impl Picture {
    /// The pixels.
    ///
    /// # Errors
    /// When the file cannot be decoded.
    pub(crate) fn open(&self) -> anyhow::Result<Cow<'_, RgbImage>> {
        match self {
            Self::File(path) => decode(path, &DecodeLimits::default())
                .map(Cow::Owned)
                .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display())),
            Self::Memory(image) => Ok(Cow::Borrowed(image)),
        }
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory(image) => write!(f, "a picture of {} x {}", image.width(), image.height()),
        }
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Labelled {
    /// Opens `data`: a folder in one of the layouts of `folders`, or `scenes` or `scenes:N`. At most `limit` pictures
    /// of each part, spread evenly.
    ///
    /// # Errors
    /// For data that cannot be used.
    pub(crate) fn open(data: &Path, limit: Option<usize>) -> anyhow::Result<Self> {
        match data.to_str() {
            Some(text) => match scenes::count(text, SCENES)? {
                Some(count) if count < SHARE => anyhow::bail!(
                    "--data {text}: one scene in {SHARE} is for validation; write scenes:{SHARE} or more"
                ),
                Some(count) => Ok(Self::of_scenes(count, limit)),
                None => folders::read(data, limit),
            },
            None => folders::read(data, limit),
        }
    }

    /// Single objects of so many held-out scenes; a quarter of the scenes is for validation.
    fn of_scenes(count: usize, limit: Option<usize>) -> Self {
        let config = SceneConfig::default();
        let of_scene = |number: usize| -> Vec<Sample> {
            let frame = held_out_frame(SEED, number, 0.0, &config);
            let squares = frame.object_squares().into_iter();
            let cut = squares.map(|(square, class)| {
                let image = &frame.image;
                let cut =
                    imageops::crop_imm(image, square.left, square.top, square.width, square.height);
                Sample {
                    picture: Picture::Memory(cut.to_image()),
                    class: class - NO_OBJECTS,
                }
            });
            cut.collect()
        };
        let all: Vec<Vec<Sample>> = (0..count).into_par_iter().map(of_scene).collect();
        let (mut train, mut val) = (Vec::new(), Vec::new());
        for (number, samples) in all.into_iter().enumerate() {
            if number % SHARE == SHARE - 1 {
                val.extend(samples);
            } else {
                train.extend(samples);
            }
        }
        let classes = CLASS_NAMES[NO_OBJECTS..].iter();
        Self {
            classes: classes.map(ToString::to_string).collect(),
            train: spread(train, limit),
            val: spread(val, limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_scenes_have_their_class_and_scenes_are_not_split() {
        let set = Labelled::open(Path::new("scenes:8"), None).expect("scenes");
        assert_eq!(set.classes.len(), 13);
        assert_eq!(
            (set.classes[0].as_str(), set.classes[12].as_str()),
            ("sphere", "house")
        );
        assert!(set.train.len() > 2 * set.val.len() && set.val.len() >= 2);
        for sample in set.train.iter().chain(&set.val) {
            let picture = sample.picture.open().expect("in memory");
            assert!(picture.width() == picture.height() && picture.width() >= 16);
            assert!(sample.class < 13);
        }
        assert_eq!(
            Labelled::open(Path::new("scenes:8"), None).expect("scenes"),
            set
        );
        let limited = Labelled::open(Path::new("scenes:8"), Some(3)).expect("scenes");
        assert_eq!((limited.train.len(), limited.val.len()), (3, 3));
        // A scene alone has nothing to be judged by.
        let error = Labelled::open(Path::new("scenes:3"), None).expect_err("no validation");
        assert!(error.to_string().contains("scenes:4"), "{error}");
    }
}
