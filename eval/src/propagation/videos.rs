//! Lists videos with a mask per frame in several layouts, and opens their frames.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use densecl::synthetic::SceneConfig;
use image::{GrayImage, RgbImage};

use crate::scenes;
use densecl_train::data::decode::{DecodeLimits, decode};
use densecl_train::data::index_png::read_index_png;
use densecl_train::data::scan::{Pictures, is_clutter, two_paths};
use densecl_train::files::read_text;
use densecl_train::held_out::held_out_frame;
use densecl_train::notes::note;

/// Number of generated videos where none is given, and the frames of each.
const SCENES: usize = 12;
const SCENE_FRAMES: usize = 12;
/// How far the camera of a generated video moves, see [`SceneConfig::baseline`].
const SCENE_BASELINE: f32 = 0.6;
/// The fewest frames of a video: neither the first nor the last is judged.
const FEWEST: usize = 3;
/// Lists of the videos to judge, below `ImageSets/`, by precedence.
const LISTS: [&str; 4] = ["2017/val.txt", "2016/val.txt", "480p/val.txt", "val.txt"];

/// A video, of which no frame is open yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Video {
    /// Name in reports.
    pub(super) name: String,
    frames: Frames,
}

#[derive(Debug, Clone, PartialEq)]
enum Frames {
    /// A generated video, by its number.
    Scene(usize),
    Files(Vec<FrameFiles>),
}

#[derive(Debug, Clone, PartialEq)]
struct FrameFiles {
    picture: PathBuf,
    mask: Option<PathBuf>,
}

/// An open frame.
pub(super) struct Opened {
    pub(super) picture: RgbImage,
    /// An object number per pixel, as stored; `None` where the frame has none.
    pub(super) mask: Option<GrayImage>,
}

impl Video {
    /// Number of frames, at least three.
    pub(super) fn len(&self) -> usize {
        match &self.frames {
            Frames::Scene(_) => SCENE_FRAMES,
            Frames::Files(files) => files.len(),
        }
    }

    /// Number of frames between the first and the last that have no mask.
    fn without_mask(&self) -> usize {
        match &self.frames {
            Frames::Scene(_) => 0,
            Frames::Files(files) => {
                let inner = &files[1..files.len() - 1];
                inner.iter().filter(|file| file.mask.is_none()).count()
            }
        }
    }

    /// What to call the mask of the first frame in a message.
    pub(super) fn first_mask(&self) -> String {
        match &self.frames {
            Frames::Scene(number) => format!("scene {number}"),
            Frames::Files(files) => {
                let mask = files.first().and_then(|file| file.mask.as_ref());
                mask.map_or_else(String::new, |mask| mask.display().to_string())
            }
        }
    }

    /// What to call the picture of a frame in a message.
    pub(super) fn picture(&self, frame: usize) -> String {
        match &self.frames {
            Frames::Scene(number) => format!("scene {number}, frame {}", frame + 1),
            Frames::Files(files) => files[frame].picture.display().to_string(),
        }
    }

    /// Decodes a frame and its mask.
    ///
    /// # Errors
    /// When a file cannot be used, or the mask does not have the size of its picture; one line that names it.
    pub(super) fn open(&self, frame: usize) -> anyhow::Result<Opened> {
        let files = match &self.frames {
            Frames::Scene(number) => {
                let config = SceneConfig {
                    baseline: SCENE_BASELINE,
                    ..SceneConfig::default()
                };
                let share = frame as f32 / (SCENE_FRAMES - 1) as f32;
                let frame = held_out_frame(0, *number, share, &config);
                return Ok(Opened {
                    picture: frame.image,
                    mask: Some(frame.instances),
                });
            }
            Frames::Files(files) => &files[frame],
        };
        let picture = decode(&files.picture, &DecodeLimits::default())
            .map_err(|reason| anyhow::anyhow!("{}: {reason}", files.picture.display()))?;
        let mask = files.mask.as_deref().map(read_index_png).transpose()?;
        if let (Some(mask), Some(path)) = (&mask, &files.mask)
            && mask.dimensions() != picture.dimensions()
        {
            bail!(
                "{}: {} x {} pixels, but {} has {} x {}",
                path.display(),
                mask.width(),
                mask.height(),
                files.picture.display(),
                picture.width(),
                picture.height()
            );
        }
        Ok(Opened { picture, mask })
    }
}

/// Lists the videos of `data`: `scenes` or `scenes:N`, a folder in DAVIS's layout, or a folder of pictures with masks
/// beside them, or of such folders. Videos of fewer than three frames are left out, and frames without a mask are not
/// judged; a note counts both.
///
/// # Errors
/// When there are none, or a video has no mask for its first frame; one line that names it.
pub(super) fn find(data: &str) -> anyhow::Result<Vec<Video>> {
    if let Some(count) = scenes::count(data, SCENES)? {
        let scene = |number| Video {
            name: format!("scene {number}"),
            frames: Frames::Scene(number),
        };
        return Ok((0..count).map(scene).collect());
    }
    let root = Path::new(data);
    let found = if root.join("JPEGImages").is_dir() {
        davis(root)?
    } else {
        let alone = beside(root)?;
        if alone.is_empty() {
            let each = folders(root)?.into_iter().map(|folder| {
                let frames = beside(&folder)?;
                Ok((folder, frames))
            });
            each.collect::<anyhow::Result<_>>()?
        } else {
            vec![(root.to_path_buf(), alone)]
        }
    };
    let (long, short): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|(_, frames)| frames.len() >= FEWEST);
    // A folder without pictures is no video.
    let short: Vec<_> = short
        .iter()
        .filter(|(_, frames)| !frames.is_empty())
        .collect();
    if long.is_empty() {
        let seen = match short.first() {
            Some((folder, frames)) => format!(
                "{} has only {} of the {FEWEST} frames that are needed",
                folder.display(),
                frames.len()
            ),
            None => "expected DAVIS's JPEGImages/ and Annotations/, or a folder per video with \
                     00000.jpg … and 00000.png …"
                .to_string(),
        };
        bail!("{data} holds no videos with masks: {seen}");
    }
    if let Some((first, _)) = short.first() {
        note(format_args!(
            "{data}: {} of {} videos have fewer than {FEWEST} frames and are left out, such as {}",
            short.len(),
            short.len() + long.len(),
            first.display()
        ));
    }
    let video = |(folder, frames): (PathBuf, Vec<FrameFiles>)| {
        if frames[0].mask.is_none() {
            bail!(
                "{} has no mask: the first frame's mask says which objects to follow",
                frames[0].picture.display()
            );
        }
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        Ok(Video {
            name: name.to_string_lossy().into_owned(),
            frames: Frames::Files(frames),
        })
    };
    let videos: Vec<Video> = long.into_iter().map(video).collect::<anyhow::Result<_>>()?;
    let without: usize = videos.iter().map(Video::without_mask).sum();
    if without > 0 {
        note(format_args!(
            "{data}: {without} frames have no mask and are not judged"
        ));
    }
    Ok(videos)
}

/// `JPEGImages/480p/VIDEO/*.jpg`, `Annotations/480p/VIDEO/*.png` and a list of videos; without the folder of the
/// resolution this is YouTube-VOS's layout.
fn davis(root: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<FrameFiles>)>> {
    let resolutions = ["480p", "Full-Resolution", ""];
    let pictures = root.join("JPEGImages");
    let resolution = resolutions
        .into_iter()
        .find(|name| pictures.join(name).is_dir())
        .unwrap_or_default();
    let pictures = pictures.join(resolution);
    let masks = root.join("Annotations").join(resolution);
    if !masks.is_dir() {
        bail!(
            "{} has videos, but there is no folder of masks {}",
            pictures.display(),
            masks.display()
        );
    }
    let names = match listed(root)? {
        Some(names) => names,
        None => folders(&pictures)?
            .iter()
            .filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
            .collect(),
    };
    let one = |name: String| {
        let folder = pictures.join(&name);
        let frames = Pictures::in_folder(&folder)?;
        let masks_of = masks.join(&name);
        if !masks_of.is_dir() {
            bail!(
                "{} is a video, but there is no folder of masks {}",
                folder.display(),
                masks_of.display()
            );
        }
        let masks = Pictures::in_folder(&masks_of)?;
        let of = |picture: &PathBuf| FrameFiles {
            mask: picture
                .file_name()
                .and_then(|name| masks.find_path(Path::new(name)))
                .map(Path::to_path_buf),
            picture: picture.clone(),
        };
        Ok((folder, frames.paths().iter().map(of).collect()))
    };
    names.into_iter().map(one).collect()
}

/// The names in the first list of videos that there is.
fn listed(root: &Path) -> anyhow::Result<Option<Vec<String>>> {
    let lists = LISTS.map(|list| root.join("ImageSets").join(list));
    let Some(list) = lists.into_iter().find(|list| list.is_file()) else {
        return Ok(None);
    };
    let text = read_text(&list)?;
    let mut names: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // DAVIS 2016 lists frames: `/JPEGImages/480p/VIDEO/00000.jpg /Annotations/480p/VIDEO/00000.png`.
        let name = match two_paths(line) {
            Some((picture, _)) => {
                let parts: Vec<&str> = picture.split('/').collect();
                let folder = parts.len().checked_sub(2).map(|at| parts[at]);
                folder.unwrap_or_default().to_string()
            }
            None => line.to_string(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        bail!("{} names no video", list.display());
    }
    Ok(Some(names))
}

/// The frames of a folder that has each mask beside its picture, with the same name and the ending `.png`.
fn beside(folder: &Path) -> anyhow::Result<Vec<FrameFiles>> {
    let all = Pictures::in_folder(folder)?;
    let is_png = |path: &&PathBuf| {
        let extension = path.extension().unwrap_or_default();
        extension.eq_ignore_ascii_case("png")
    };
    let pictures = all.paths().iter().filter(|path| !is_png(path));
    let frames = pictures.map(|picture| {
        let mask = picture.with_extension("png");
        FrameFiles {
            mask: all.paths().binary_search(&mask).is_ok().then_some(mask),
            picture: picture.clone(),
        }
    });
    Ok(frames.collect())
}

/// The folders in a folder, sorted.
fn folders(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = || format!("{} cannot be listed as a folder of videos", root.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(root).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() && !path.file_name().is_some_and(is_clutter) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}
