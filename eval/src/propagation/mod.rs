//! `eval propagation`: how well features follow objects through a video.
//!
//! Nothing is trained. The first frame's mask is given; every later frame takes its labels from the most similar cells
//! of the first frame and of the frames before it (`votes`). The masks are judged as in DAVIS (`scores`).

mod scores;
mod strip;
mod videos;
mod votes;

use std::collections::VecDeque;

use anyhow::{Context as _, bail};
use burn::tensor::Tensor;
use densecl::features::{map_similarity, network_picture};
use densecl::interpolate::{pixel_centers, resample};
use densecl::matching::l2_normalize;
use densecl::transfer::segmentation::map_of_cells;
use serde_json::json;

use crate::backbone::Backbone;
use crate::matching::ensure_comparable;
use crate::stream::stream;
use crate::{Evaluation, Look, Measured, spread};
use scores::{Objects, VideoScores, figures};
use strip::{Extremes, Strip};
use videos::{Opened, Video};

pub use votes::{Neighbours, PropagationSettings, classes_of, labels_of};

/// Label propagation as an evaluation.
#[derive(Debug, Clone)]
pub struct Propagation {
    data: String,
    look: Look,
    settings: PropagationSettings,
    videos: Vec<Video>,
}

impl Propagation {
    /// Lists the videos of `data`, at most `limit` of them.
    ///
    /// # Errors
    /// When there are none, as one line for the user.
    pub fn new(
        data: &str,
        look: Look,
        settings: PropagationSettings,
        limit: Option<usize>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            data: data.to_string(),
            look,
            settings,
            videos: spread(videos::find(data)?, limit),
        })
    }

    /// The video and the frame in it of each frame of all videos.
    fn frames(&self) -> Vec<(usize, usize)> {
        let videos = self.videos.iter().enumerate();
        videos
            .flat_map(|(video, of)| (0..of.len()).map(move |frame| (video, frame)))
            .collect()
    }
}

impl Evaluation for Propagation {
    fn name(&self) -> &'static str {
        "propagation"
    }

    fn protocol(&self) -> serde_json::Value {
        json!({
            "data": self.data,
            "videos": self.videos.len(),
            "look": self.look,
            "propagation": self.settings,
        })
    }

    fn look(&self) -> Look {
        self.look
    }

    fn is_random(&self) -> bool {
        false
    }

    fn measure(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<Vec<Measured>> {
        let frames = self.frames();
        let open = |i: usize| {
            let (video, frame) = frames[i];
            let opened = self.videos[video].open(frame)?;
            let seen = network_picture(&opened.picture, self.look.size);
            if let Some(stride) = backbone.stride(self.look.feature) {
                ensure_comparable([&seen, &seen], stride, self.look.size)?;
            }
            Ok((seen, opened))
        };
        let mut done = Vec::new();
        let mut shown = Extremes::default();
        let mut current: Option<Following> = None;
        let each = |i: usize, opened: Opened, map: Tensor<4>| {
            let (number, frame) = frames[i];
            let video = &self.videos[number];
            let map = l2_normalize(map, 1);
            if frame == 0 {
                current = Some(Following::begin(video, &opened, map)?);
                return Ok(());
            }
            let following = current
                .as_mut()
                .context("a video begins with its first frame")?;
            let last = frame + 1 == video.len();
            following
                .follow(&opened, map, last, &self.settings)
                .with_context(|| video.picture(frame))?;
            if last && let Some(following) = current.take() {
                let Following { scores, strip, .. } = following;
                shown.add(&scores.name, scores.j_and_f(), strip);
                done.push(scores);
            }
            Ok(())
        };
        stream(
            backbone,
            self.look.feature,
            frames.len(),
            "frames",
            open,
            each,
        )?;
        if done.iter().all(|video| video.found.is_empty()) {
            bail!(
                "{}: no frame but the first and last of each video has a mask, so there is nothing to judge",
                self.data
            );
        }
        let one = Measured {
            figures: figures(&done),
            picture: Some(shown.picture()?),
            details: json!({ "videos": done.iter().map(VideoScores::details).collect::<Vec<_>>() }),
        };
        Ok(vec![one; seeds.len()])
    }
}

/// A frame whose cells vote: unit vectors [1, C, h, w], and the labels of each cell.
struct Voter {
    map: Tensor<4>,
    labels: Vec<f32>,
}

/// The state of the video that is being followed.
struct Following {
    objects: Objects,
    size: [usize; 2],
    /// The first frame's mask as classes.
    first_mask: Vec<u8>,
    first: Voter,
    /// The frames before the current one, the oldest first.
    recent: VecDeque<Voter>,
    scores: VideoScores,
    strip: Strip,
}

impl Following {
    /// Starts with the first frame and its mask.
    fn begin(video: &Video, opened: &Opened, map: Tensor<4>) -> anyhow::Result<Self> {
        let mask = opened.mask.as_ref();
        let mask = mask.with_context(|| format!("{}: the first frame has no mask", video.name))?;
        let objects = Objects::of(mask);
        if objects.count() == 0 {
            bail!(
                "{} marks no object: a pixel's value is the number of its object, 0 is background",
                video.first_mask()
            );
        }
        let first_mask = objects.classes(mask);
        let size = [mask.width() as usize, mask.height() as usize];
        let [_, _, rows, columns] = map.dims();
        let labels = labels_of(&first_mask, size, [rows, columns], objects.count() + 1);
        let mut strip = Strip::new(video.len());
        strip.add(&opened.picture, &first_mask);
        Ok(Self {
            size,
            first: Voter { map, labels },
            recent: VecDeque::new(),
            scores: VideoScores {
                name: video.name.clone(),
                ..VideoScores::default()
            },
            strip,
            objects,
            first_mask,
        })
    }

    /// Finds the objects in the next frame, and judges the masks unless it is the `last`.
    fn follow(
        &mut self,
        opened: &Opened,
        map: Tensor<4>,
        last: bool,
        settings: &PropagationSettings,
    ) -> anyhow::Result<()> {
        let [width, height] = self.size;
        let (w, h) = opened.picture.dimensions();
        if [w as usize, h as usize] != self.size {
            bail!("{w} x {h} pixels, but the first frame has {width} x {height}");
        }
        let [_, _, rows, columns] = map.dims();
        let classes = self.objects.count() + 1;
        let mut neighbours = Neighbours::new([rows, columns], *settings);
        let voters = || std::iter::once(&self.first).chain(&self.recent);
        for voter in voters() {
            let similarity: Vec<f32> = map_similarity(map.clone(), voter.map.clone())
                .try_into_vec_as()
                .context("reading similarities back from the device")?;
            neighbours.add(&similarity);
        }
        let labels: Vec<&[f32]> = voters().map(|voter| voter.labels.as_slice()).collect();
        let labels = neighbours.votes(&labels, classes);
        let on_cells = map_of_cells(labels.clone(), [rows, columns], &map.device());
        let on_pixels = resample(
            on_cells,
            &pixel_centers(height, rows),
            &pixel_centers(width, columns),
        );
        let on_pixels = on_pixels
            .try_into_vec_as()
            .context("reading labels back from the device")?;
        let found = classes_of(on_pixels, width * height);
        if let Some(mask) = &opened.mask
            && !last
        {
            self.scores.found.push(self.objects.judge(mask, &found));
            let still = self.objects.judge(mask, &self.first_mask);
            self.scores.still.push(still);
        }
        self.strip.add(&opened.picture, &found);
        self.recent.push_back(Voter { map, labels });
        while self.recent.len() > settings.context {
            self.recent.pop_front();
        }
        Ok(())
    }
}
