//! The range of every setting, and which settings go together.

use anyhow::bail;
use densecl::augment::InstanceConfig;
use densecl::config::Matching;
use densecl::device::DeviceRequest;
use densecl::ops::choice::Mode;

use super::{BoxSource, DataConfig, MAX_AHEAD, RunConfig, SCENES};

impl RunConfig {
    /// Checks the range of every setting, and combinations of settings.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is permitted.
    pub fn validate(&self) -> anyhow::Result<()> {
        DeviceRequest::list(&self.train.device)?;
        self.train
            .kernels
            .parse::<Mode>()
            .map_err(|e| anyhow::anyhow!("train.kernels: {e}"))?;
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
        self.validate_cut()?;
        let batch = self.train.batch_size;
        // 0 leaves the number to the ranks and the memory; it is at least 1.
        let accumulate = self.optim.accumulate.max(1);
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

    /// Checks the setting of pictures that are cut from scenes.
    fn validate_cut(&self) -> anyhow::Result<()> {
        let DataConfig {
            source,
            cut_objects: side,
            ..
        } = &self.data;
        if *side == 0 {
            return Ok(());
        }
        if source != SCENES {
            bail!(
                "data.cut_objects = {side}: only the embedded scenes know their objects; set it to 0 for {source}"
            );
        }
        if !(16..=self.scenes.size).contains(side) {
            bail!(
                "data.cut_objects = {side}: must be 0 (whole scenes), or 16 to scenes.size = {} pixels",
                self.scenes.size
            );
        }
        if self.method.name.has_instances() && self.data.box_source() == BoxSource::Objects {
            bail!(
                "data.boxes = \"objects\": these are boxes of whole scenes; set data.cut_objects to 0, or choose other \
                 boxes"
            );
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

    /// Checks that this many ranks can share the micro-batches so that the results do not depend on their number: each
    /// takes the same power of two of them. One rank alone takes any number.
    ///
    /// # Errors
    /// One line with a value that fits.
    pub fn ensure_divides(&self, ranks: usize) -> anyhow::Result<()> {
        let accumulate = self.optim.accumulate;
        let (batch, groups) = (self.train.batch_size, self.method.bn_groups);
        let fits = |parts: &usize| batch.is_multiple_of(parts * groups);
        if ranks == 1 || (shared_by(accumulate, ranks) && fits(&accumulate)) {
            return Ok(());
        }
        let doubled = std::iter::successors(Some(ranks), |parts| Some(2 * parts));
        let ways: Vec<usize> = doubled
            .take_while(|&parts| parts <= batch)
            .filter(fits)
            .collect();
        let above = ways.iter().find(|&&parts| parts >= accumulate);
        let Some(parts) = above.or(ways.last()) else {
            bail!(
                "{ranks} ranks cannot share a step of train.batch_size = {batch} with method.bn_groups = {groups}: the \
                 batch must be a multiple of {}",
                ranks * groups
            );
        };
        bail!(
            "optim.accumulate = {accumulate}: {ranks} ranks share the parts of a batch, each the same power of two of \
             them; set it to {parts}, or to 0, which chooses it"
        )
    }

    /// The numbers of ranks, up to `optim.accumulate`, that [`Self::ensure_divides`] permits.
    pub fn ranks_that_fit(&self) -> Vec<usize> {
        let accumulate = self.optim.accumulate;
        let several = (2..=accumulate).filter(|&ranks| shared_by(accumulate, ranks));
        std::iter::once(1).chain(several).collect()
    }
}

/// Whether `ranks` take the same power of two of `parts` parts.
fn shared_by(parts: usize, ranks: usize) -> bool {
    parts.is_multiple_of(ranks) && (parts / ranks).is_power_of_two()
}
