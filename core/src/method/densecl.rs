//! DenseCL: one training step, in the order of the paper's figure 2.

mod positives;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::seq::SliceRandom;

use self::positives::{has_geometry, pairs, per_cell};
use super::{
    Figure, Method, MicroBatch, Panel, StateVisitor, StepOutput, StepSettings, ViewSpec,
    figures::{FigureSums, feature_std},
};
use crate::{
    config::{MethodConfig, ModelConfig, OptimConfig, Precision},
    error::{Error, Result},
    loss::{self, in_view, info_nce, weighted},
    loss_scale::LossScale,
    matching::gather_cells,
    model::{Embeddings, Encoder, RunningStatistics, Tensors, follow},
    optim::{ParameterGradients, Sgd},
    queue::Queue,
    rng::{Purpose, stream},
    schedule,
    world::{Share, World, gather},
};

/// The state of DenseCL training: two encoders, two queues, one optimizer.
#[derive(Debug, Clone)]
pub struct DenseCl {
    /// The query encoder θq, trained by SGD.
    pub query: Encoder,
    /// The key encoder θk, a moving average of θq.
    pub key: Encoder,
    /// Negatives of the global loss: one global key per image, [K, dim].
    pub global_queue: Queue,
    /// Negatives of the dense loss: per image the mean of its dense keys, [K, dim].
    pub dense_queue: Queue,
    /// SGD on the parameters of the query encoder.
    pub optimizer: Sgd,
    /// The dynamic loss scale; `None` unless the precision is f16.
    pub loss_scale: Option<LossScale>,
    method: MethodConfig,
    precision: Precision,
    seed: u64,
}

/// Indices of the views in a micro-batch.
const QUERY: usize = 0;
const KEY: usize = 1;

/// The figures of every step.
const FIGURES: [Figure; 9] = [
    Figure::of("loss", "loss/total", Panel::Loss, "total"),
    Figure::of("loss_global", "loss/global", Panel::Loss, "global"),
    Figure::of("loss_dense", "loss/dense", Panel::Loss, "dense"),
    Figure::of(
        "accuracy_global",
        "accuracy/global",
        Panel::Accuracy,
        "global",
    ),
    Figure::of("accuracy_dense", "accuracy/dense", Panel::Accuracy, "dense"),
    Figure::of("feature_std", "features/std", Panel::Spread, "embeddings"),
    Figure::of("grad_norm", "optim/grad_norm", Panel::Hidden, ""),
    Figure::of("lambda", "", Panel::Hidden, ""),
    Figure::of("chance_loss", "", Panel::LossReference, "chance"),
];
/// Further figures, of steps with an in-view loss.
const IN_VIEW_FIGURES: [Figure; 2] = [
    Figure::of("loss_in_view", "loss/in_view", Panel::Loss, "in view"),
    Figure::of(
        "accuracy_in_view",
        "accuracy/in_view",
        Panel::Accuracy,
        "in view",
    ),
];

impl DenseCl {
    /// The state at step 0: both encoders have the same random weights, and the queues hold random unit
    /// vectors. It is a function of the settings and `seed`.
    pub fn new(
        model: &ModelConfig,
        method: &MethodConfig,
        optim: &OptimConfig,
        queue_len: usize,
        seed: u64,
        device: &Device,
    ) -> Self {
        let encoder = Encoder::new(model, seed, device);
        Self {
            query: encoder.clone().trainable(),
            key: encoder,
            global_queue: Queue::new(queue_len, model.dim, seed, 0, device),
            dense_queue: Queue::new(queue_len, model.dim, seed, 1, device),
            optimizer: Sgd::new(optim),
            loss_scale: (optim.precision == Precision::F16).then(LossScale::default),
            method: method.clone(),
            precision: optim.precision,
            seed,
        }
    }

    /// [`Method::step`] with a given order of the keys: `key_orders` has for each of the rank's micro-batches a
    /// permutation of 0..B, in which the key encoder receives its images. With split batch normalisation, a key is then
    /// normalised with other images than its query (shuffling BN: He et al. 2020, section 3.3).
    ///
    /// With a loss scale (f16), the step waits for the device, because it has to read whether the gradient is
    /// finite. If it is not, the step changes nothing but the loss scale.
    ///
    /// # Errors
    /// As [`Method::step`].
    pub fn step_in_order(
        &mut self,
        micro_batches: Vec<MicroBatch>,
        key_orders: &[Vec<usize>],
        settings: &StepSettings,
        world: &mut dyn World,
    ) -> Result<StepOutput> {
        let own = micro_batches.len();
        assert!(own > 0, "a step needs a batch");
        assert_eq!(key_orders.len(), own, "an order for each micro-batch");
        let Share { first, count } = Share::of(world, own);
        if self.method.needs_geometry() && !micro_batches.iter().all(has_geometry) {
            return Err(Error::NoGeometry);
        }
        let lambda = self.lambda(settings.step);
        let in_view_weight = self.method.in_view_weight;
        let tau = self.method.temperature;
        let groups = self.method.bn_groups;
        let mut gradients = ParameterGradients::default();
        let mut keys = Vec::with_capacity(own);
        let mut dense_keys = Vec::with_capacity(own);
        let mut matches = Vec::with_capacity(own);
        let mut sums = FigureSums::default();
        let dtype = self.precision.dtype();
        // Both encoders are restored if the gradient overflows. Tensors are reference-counted handles, so these
        // copies cost memory only for parameters that the step replaces.
        let before = (self.loss_scale).map(|_| (self.query.clone(), self.key.clone()));
        let factor = self.loss_scale.map_or(1.0, |scale| scale.factor);

        // θk ← m·θk + (1−m)·θq
        let momentum = schedule::momentum(
            self.method.momentum,
            self.method.momentum_schedule,
            settings.step,
            settings.total_steps,
        );
        follow(&mut self.key, &self.query, momentum);

        let mut of_query = RunningStatistics::begin(&mut self.query, world);
        let mut of_key = RunningStatistics::begin(&mut self.key, world);
        for (index, batch) in micro_batches.into_iter().enumerate() {
            let draw = settings.draw(first + index, count);
            let [query, key] =
                [QUERY, KEY].map(|view| batch.views[view].pixels.clone().cast(dtype));
            let q = self.query.forward_train(query.autodiff(), groups);
            let k = self.encode_keys(key, &key_orders[index], groups);
            of_query.passed(&mut self.query);
            of_key.passed(&mut self.key);

            // c_i = argmax_j sim(f_i, f'_j), without a gradient; with matching = "geometry" the true cell
            let geometry = pairs(&batch);
            let chosen = self.match_cells(&q, &k, draw);
            let matched = self.positives(chosen.clone(), &geometry);
            let positives = gather_cells(k.dense.clone(), matched.cells.clone());

            let global = info_nce(
                q.global.clone(),
                k.global.clone(),
                self.global_queue.keys(),
                tau,
            );
            // λ = 0 is MoCo v2: the dense loss is only logged, so its query needs no gradient graph.
            let dense_query = if lambda > 0.0 {
                q.dense
            } else {
                q.dense.inner()
            };
            let dense = matched.info_nce(
                per_cell(dense_query.clone()),
                per_cell(positives),
                self.dense_queue.keys(),
                tau,
            );
            // Not in the paper: InfoNCE of each query cell against all key cells of its own image (PixContrast).
            let in_view = (in_view_weight > 0.0).then(|| {
                let positives = self.in_view_positives(&matched, &geometry);
                let tau = self.method.in_view_temperature;
                in_view(dense_query, k.dense, &positives, tau)
            });

            // L = (1−λ)·L_global + λ·(L_dense + w·L_in_view)
            let local = match &in_view {
                Some(in_view) => dense.loss.clone() + in_view.loss.clone() * in_view_weight,
                None => dense.loss.clone(),
            };
            let loss = if lambda > 0.0 {
                weighted(global.loss.clone(), local, lambda)
            } else {
                global.loss.clone()
            };
            let backward = (loss.clone() / (count as f64 / factor)).backward();
            gradients.accumulate(&self.query, &backward);

            let mut figures = vec![
                ("loss", loss.inner()),
                ("loss_global", global.loss.inner()),
                ("loss_dense", dense.loss.inner()),
                ("accuracy_global", global.accuracy),
                ("accuracy_dense", dense.accuracy),
                ("feature_std", feature_std(q.global.inner())),
            ];
            if let Some(in_view) = in_view {
                figures.push(("loss_in_view", in_view.loss.inner()));
                figures.push(("accuracy_in_view", in_view.accuracy));
            }
            sums.add(figures);
            keys.push(k.global);
            dense_keys.push(k.dense_pooled);
            matches.push(chosen);
        }

        // Adds what the other ranks computed.
        gradients.sum_over(world)?;
        sums.gather(world)?;
        of_query.finish(&mut self.query, world)?;
        of_key.finish(&mut self.key, world)?;
        let keys = gather(world, keys)?;
        let dense_keys = gather(world, dense_keys)?;

        let known = vec![
            ("lambda", lambda),
            ("chance_loss", loss::chance(self.global_queue.len())),
        ];
        if let Some(scale) = &mut self.loss_scale
            && !scale.unscale(&mut gradients)
        {
            (self.query, self.key) = before.expect("kept where there is a scale");
            return Ok(sums.output(gradients.norm(), known, matches, true));
        }
        let norm = self
            .optimizer
            .step(&mut self.query, gradients, settings.learning_rate);

        for (global, dense_pooled) in keys.into_iter().zip(dense_keys) {
            self.global_queue.enqueue(global);
            self.dense_queue.enqueue(dense_pooled);
        }

        Ok(sums.output(norm, known, matches, false))
    }

    /// The figures of a step with these settings, in order.
    pub(super) fn figures_with(method: &MethodConfig) -> Vec<Figure> {
        let in_view: &[Figure] = if method.in_view_weight > 0.0 {
            &IN_VIEW_FIGURES
        } else {
            &[]
        };
        [&FIGURES, in_view].concat()
    }

    /// λ at a step.
    fn lambda(&self, step: u64) -> f64 {
        schedule::lambda(self.method.lambda, self.method.lambda_warmup_steps, step)
    }

    /// Encodes the images in the given order and restores the order of the batch in the output.
    fn encode_keys(&mut self, images: Tensor<4>, order: &[usize], groups: usize) -> Embeddings {
        let mut back = vec![0; order.len()];
        for (to, &from) in order.iter().enumerate() {
            back[from] = to;
        }
        let device = images.device();
        let indices = |order: &[usize]| {
            let order: Vec<i32> = order.iter().map(|&i| i as i32).collect();
            let count = order.len();
            Tensor::<1, Int>::from_data(TensorData::new(order, [count]), &device)
        };
        let k = self
            .key
            .forward_train(images.select(0, indices(order)), groups);
        let back = indices(&back);
        Embeddings {
            global: k.global.select(0, back.clone()),
            dense: k.dense.select(0, back.clone()),
            dense_pooled: k.dense_pooled.select(0, back.clone()),
            backbone: k.backbone.select(0, back),
        }
    }
}

impl Method for DenseCl {
    fn name(&self) -> &'static str {
        "densecl"
    }

    fn published_name(&self) -> &'static str {
        if self.method.lambda == 0.0 {
            "mocov2"
        } else {
            self.name()
        }
    }

    fn views(&self) -> Vec<ViewSpec> {
        ["query", "key"].map(ViewSpec::usual).to_vec()
    }

    fn figures(&self) -> Vec<Figure> {
        Self::figures_with(&self.method)
    }

    fn begin_with(&mut self, encoder: Encoder) {
        self.query = encoder.clone().trainable();
        self.key = encoder.inference();
    }

    fn visit_state(&mut self, visitor: &mut dyn StateVisitor) -> Result<()> {
        visitor.network("query", &mut self.query)?;
        visitor.network("key", &mut self.key)?;
        visitor.velocity("velocity", &mut self.optimizer, &self.query)?;
        visitor.queue("queue.global", &mut self.global_queue)?;
        visitor.queue("queue.dense", &mut self.dense_queue)?;
        match &mut self.loss_scale {
            Some(scale) => visitor.loss_scale(scale),
            None => Ok(()),
        }
    }

    fn encoder(&self) -> &Encoder {
        &self.query
    }

    fn loss_scale(&self) -> Option<LossScale> {
        self.loss_scale
    }

    fn step(
        &mut self,
        micro_batches: Vec<MicroBatch>,
        settings: &StepSettings,
        world: &mut dyn World,
    ) -> Result<StepOutput> {
        let Share { first, count } = Share::of(world, micro_batches.len());
        let orders = micro_batches.iter().enumerate().map(|(index, batch)| {
            let [images, ..] = batch.views[KEY].pixels.dims();
            if self.method.shuffle_keys {
                key_order(images, self.seed, settings.draw(first + index, count))
            } else {
                (0..images).collect()
            }
        });
        let orders: Vec<Vec<usize>> = orders.collect();
        self.step_in_order(micro_batches, &orders, settings, world)
    }
}

/// The order in which the key encoder receives `n` images: a random permutation, a function of `(seed, draw)`.
pub fn key_order(n: usize, seed: u64, draw: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut stream(seed, Purpose::Shuffle, draw));
    order
}
