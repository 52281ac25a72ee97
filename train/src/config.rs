//! The settings of a run: those of the method from the core, and those of the trainer.

use densecl::augment::ViewConfig;
use densecl::config::{MethodConfig, ModelConfig, OptimConfig};
use densecl::synthetic::SceneConfig;
use serde::{Deserialize, Serialize};

mod checks;

/// All settings of a run; saved in its folder as `config.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// `[data]`
    pub data: DataConfig,
    /// `[model]`
    pub model: ModelConfig,
    /// `[method]`
    pub method: MethodConfig,
    /// `[views]`
    pub views: ViewConfig,
    /// `[optim]`
    pub optim: OptimConfig,
    /// `[train]`
    pub train: TrainConfig,
    /// `[checkpoint]`
    pub checkpoint: CheckpointConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[eval]`
    pub eval: EvalConfig,
    /// `[scenes]`
    pub scenes: SceneConfig,
}

/// Where images come from and how they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// A folder of images, a text file with a path per line, or `scenes`: the embedded generator.
    pub source: String,
    /// Scenes to render when `source` is `scenes`.
    pub scene_count: usize,
    /// Side in pixels of pictures of single objects, which are cut from the scenes and trained on in their place; 0 =
    /// the scenes themselves.
    pub cut_objects: u32,
    /// Threads that decode and augment; 0 = as many as cores.
    pub threads: usize,
    /// Batches prepared while the device trains.
    pub prefetch: usize,
    /// Share of unreadable files above which the run stops.
    pub max_bad_share: f64,
    /// Where a method with instances has its boxes from: `search` (selective search), `random`, `objects` (those of the
    /// embedded scenes' objects), or a file of boxes.
    pub boxes: String,
}

/// The meaning of [`DataConfig::boxes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoxSource {
    /// Selective search, before training.
    Search,
    /// Every box is drawn at random.
    Random,
    /// The visible objects of the embedded scenes.
    Objects,
    /// A file of boxes.
    File(std::path::PathBuf),
}

impl DataConfig {
    /// Where boxes come from.
    pub fn box_source(&self) -> BoxSource {
        match &*self.boxes {
            "search" => BoxSource::Search,
            "random" => BoxSource::Random,
            "objects" => BoxSource::Objects,
            path => BoxSource::File(path.into()),
        }
    }
}

/// Upper limit of loader threads and of prefetched batches: beyond it a value is a mistake.
const MAX_AHEAD: usize = 1024;

/// The value of [`DataConfig::source`] that selects the embedded scene generator.
pub const SCENES: &str = "scenes";

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: SCENES.to_string(),
            scene_count: 1024,
            cut_objects: 0,
            threads: 0,
            prefetch: 4,
            max_bad_share: 0.1,
            boxes: "search".to_string(),
        }
    }
}

/// Length, batch size, seed, device and starting point of the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Images per step.
    pub batch_size: usize,
    /// Passes over the data, unless `steps` says otherwise.
    pub epochs: u64,
    /// Steps of the whole run; 0 = derived from `epochs`.
    pub steps: u64,
    /// The seed of the run: weights, data order, views and queues are all derived from it.
    pub seed: u64,
    /// auto, cpu, vulkan, metal, wgpu or cuda, with a number behind a colon where there are several; or a list with
    /// commas, of one device for each rank.
    pub device: String,
    /// How the kernels of convolutions on a GPU are chosen: `measured` when sizes first occur, `fixed` by the device and
    /// the sizes, the name of one kernel, or `stock` for Burn's operations.
    pub kernels: String,
    /// A file of weights to start from; empty = at random.
    pub init: String,
    /// Of `init`: only tensors whose names begin with this are read, without it; empty = all.
    pub init_prefix: String,
    /// Of `init`: tensors with names like these are left out; `*` stands for any characters.
    pub init_ignore: Vec<String>,
    /// A training state of another program to continue, from its step on; empty = none.
    pub continue_from: String,
    /// A step that would not fit in memory by the estimate is refused unless this is set.
    pub exceeds_memory: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch_size: 256,
            epochs: 200,
            steps: 0,
            seed: 0,
            device: "auto".to_string(),
            kernels: "measured".to_string(),
            init: String::new(),
            init_prefix: String::new(),
            init_ignore: Vec::new(),
            continue_from: String::new(),
            exceeds_memory: false,
        }
    }
}

/// When the state of a run is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; 0 = only at the end and on Ctrl-C.
    pub every_steps: u64,
    /// Newest checkpoints kept.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every_steps: 1000,
            keep: 2,
        }
    }
}

/// The logs that a run writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Steps between rows of `metrics.jsonl`; a small number slows training, because reading the figures waits for the
    /// device.
    pub every_steps: u64,
    /// Write TensorBoard event files too.
    pub tensorboard: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            every_steps: 10,
            tensorboard: true,
        }
    }
}

/// The measurement before and after training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Held-out pairs whose correspondence is measured: rendered scenes seen from two viewpoints, or
    /// two views of each of as many images that are kept out of training. 0 = do not measure.
    pub pairs: usize,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { pairs: 100 }
    }
}

impl RunConfig {
    /// Pixels of a side of the smallest views of the run: its first or its last, where they follow a curriculum.
    pub fn smallest_view(&self) -> u32 {
        let [first, last] = self.views.curriculum.sizes(self.views.size);
        first.min(last)
    }

    /// The same of the largest views.
    pub fn largest_view(&self) -> u32 {
        let [first, last] = self.views.curriculum.sizes(self.views.size);
        first.max(last)
    }

    /// Cells of a side of the grid that views of this size are compared on.
    pub fn grid(&self, size: u32) -> usize {
        match self.model.num_grid {
            0 => size as usize / self.model.output_stride,
            grid => grid,
        }
    }
}

#[cfg(test)]
mod tests;
