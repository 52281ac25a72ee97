//! The settings of a run: those of the method from the core, and those of the trainer.

use anyhow::bail;
use densecl::augment::{InstanceConfig, ViewConfig};
use densecl::config::{Matching, MethodConfig, ModelConfig, OptimConfig};
use densecl::device::DeviceChoice;
use densecl::synthetic::SceneConfig;
use serde::{Deserialize, Serialize};

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
    /// auto, cpu, vulkan, metal, wgpu or cuda.
    pub device: String,
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
    /// Checks the range of every setting, and combinations of settings.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is permitted.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.train.device.parse::<DeviceChoice>()?;
        self.model.validate()?;
        self.method.validate()?;
        self.optim.validate()?;
        self.views
            .validate()
            .map_err(|e| anyhow::anyhow!("views.{e}"))?;
        self.scenes
            .validate()
            .map_err(|e| anyhow::anyhow!("scenes.{e}"))?;
        let selected = !self.train.init_prefix.is_empty() || !self.train.init_ignore.is_empty();
        if self.train.init.is_empty() && selected {
            bail!(
                "train.init_prefix and train.init_ignore belong to train.init, which is empty: give the file, or \
                 leave them out"
            );
        }
        if !self.train.init.is_empty() && !self.train.continue_from.is_empty() {
            bail!(
                "train.init and train.continue_from: a run starts from one of them, leave out the other"
            );
        }
        let method = self.method.name;
        if !method.has_queues() && !self.train.continue_from.is_empty() {
            bail!(
                "train.continue_from = {:?}: continues with the encoders and queues of DenseCL or MoCo, and \
                 method.name chooses a method without queues; train.init starts from their backbone",
                self.train.continue_from
            );
        }
        self.validate_boxes()?;
        let batch = self.train.batch_size;
        let accumulate = self.optim.accumulate;
        if batch == 0 {
            bail!("train.batch_size = 0: must be at least 1");
        }
        if !batch.is_multiple_of(accumulate) {
            bail!("optim.accumulate = {accumulate}: must divide train.batch_size = {batch}");
        }
        let micro = batch / accumulate;
        let groups = self.method.bn_groups;
        if !micro.is_multiple_of(groups) {
            bail!(
                "method.bn_groups = {groups}: must divide the {micro} images that go through the \
                 network at once (train.batch_size / optim.accumulate)"
            );
        }
        if method.normalises_vectors() && micro / groups < 2 {
            bail!(
                "method.bn_groups = {groups}: a group has {} image, and the projector of this method is normalised \
                 over the images of a group; use fewer groups, or a larger train.batch_size / optim.accumulate",
                micro / groups
            );
        }
        if self.method.matching == Matching::Centred && micro < 2 {
            bail!(
                "method.matching = \"centred\": takes the mean over the images that go through the network \
                 at once away, of which there is one; give a train.batch_size of at least {}",
                2 * accumulate
            );
        }
        let stride = self.model.output_stride;
        let size = self.smallest_view();
        let cells = size as usize / stride;
        let grid = self.grid(size);
        if self.method.in_view_weight > 0.0 && grid < 2 {
            bail!(
                "method.in_view_weight = {}: contrasts the cells of a grid, which here has {grid} x {grid}; set it \
                 to 0, or take larger views, a smaller model.output_stride or a model.num_grid of at least 2",
                self.method.in_view_weight
            );
        }
        if self.model.num_grid > cells {
            bail!(
                "model.num_grid = {}: the feature map of {size} px views at stride {stride} has only {cells} x \
                 {cells} cells",
                self.model.num_grid
            );
        }
        if !(self.views.size as usize).is_multiple_of(32) {
            bail!(
                "views.size = {}: must be a multiple of 32, so that the feature grid of stride \
                 {stride} covers the view exactly",
                self.views.size
            );
        }
        if micro / groups * cells.pow(2) < 2 {
            bail!(
                "method.bn_groups = {groups}: a group of {} images at {size} px leaves a single value \
                 per channel, which cannot be normalised; use fewer groups or larger views",
                micro / groups
            );
        }
        if self.data.scene_count == 0 {
            bail!("data.scene_count = 0: must be at least 1");
        }
        if !(1..=MAX_AHEAD).contains(&self.data.prefetch) {
            bail!(
                "data.prefetch = {}: must be 1 to {MAX_AHEAD} batches",
                self.data.prefetch
            );
        }
        if self.data.threads > MAX_AHEAD {
            bail!(
                "data.threads = {}: must be 0 (as many as cores) to {MAX_AHEAD}",
                self.data.threads
            );
        }
        if !(0.0..=1.0).contains(&self.data.max_bad_share) {
            bail!(
                "data.max_bad_share = {}: must be between 0 and 1",
                self.data.max_bad_share
            );
        }
        if self.train.steps == 0 && self.train.epochs == 0 {
            bail!("train.epochs = 0: must be at least 1, or give train.steps");
        }
        if self.log.every_steps == 0 {
            bail!("log.every_steps = 0: must be at least 1");
        }
        if self.checkpoint.keep == 0 {
            bail!("checkpoint.keep = 0: must be at least 1");
        }
        Ok(())
    }

    /// Checks the settings of boxes, which a method without instances must leave alone.
    fn validate_boxes(&self) -> anyhow::Result<()> {
        let DataConfig { source, boxes, .. } = &self.data;
        if !self.method.name.has_instances() {
            let name = self.method.objective();
            if *boxes != DataConfig::default().boxes {
                bail!(
                    "data.boxes = {boxes:?}: has no effect with {name}, which has no instances; leave it out"
                );
            }
            if self.views.instances != InstanceConfig::default() {
                bail!(
                    "views.instances: has no effect with {name}, which has no instances; leave it out"
                );
            }
            return Ok(());
        }
        if boxes.is_empty() {
            bail!(
                "data.boxes = \"\": must be \"search\", \"random\", \"objects\" or a file of boxes"
            );
        }
        if self.data.box_source() == BoxSource::Objects && source != SCENES {
            bail!(
                "data.boxes = \"objects\": only the embedded scenes know their objects; give \"search\", \"random\" or \
                 a file of boxes for {source}"
            );
        }
        Ok(())
    }

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
