//! DenseCL: one training step, in the order of the paper's figure 2.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, seq::SliceRandom};

use crate::{
    augment::ViewGeometry,
    config::{InViewPositives, Matching, MethodConfig, ModelConfig, OptimConfig, Precision},
    device::failure,
    error::{Error, Result},
    loss::{InfoNce, Positives, in_view, info_nce, weighted},
    loss_scale::LossScale,
    matching::{best_match, centred, gather_cells, similarity},
    model::{Embeddings, Encoder, Tensors, follow},
    optim::{ParameterGradients, Sgd},
    queue::Queue,
    rng::{Purpose, stream},
};

/// The whole learner: two encoders, two queues, one optimizer.
#[derive(Debug, Clone)]
pub struct DenseCl {
    /// θq: learns by gradient.
    pub query: Encoder,
    /// θk: follows by momentum.
    pub key: Encoder,
    /// One global key per image.
    pub global_queue: Queue,
    /// One pooled dense key per image.
    pub dense_queue: Queue,
    /// SGD over the query encoder.
    pub optimizer: Sgd,
    /// The factor of the loss, where the precision wants one.
    pub loss_scale: Option<LossScale>,
    method: MethodConfig,
    precision: Precision,
    seed: u64,
}

/// Two augmented views of the same images, normalised: [B, 3, S, S] each, without a gradient graph.
#[derive(Debug, Clone)]
pub struct Views {
    /// For the query encoder.
    pub query: Tensor<4>,
    /// For the key encoder.
    pub key: Tensor<4>,
    /// The order in which the key encoder sees the images, a permutation of 0..B: with split BN its
    /// groups then hold other images than the query's. See [`key_order`].
    pub key_order: Vec<usize>,
    /// Where each image's query and key view lie in it, B pairs; only what knows true positives asks
    /// ([`MethodConfig::needs_geometry`]).
    pub geometry: Option<Vec<[ViewGeometry; 2]>>,
}

/// What changes from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSettings {
    /// Number of the step; decides random matches, nothing else.
    pub step: u64,
    /// Learning rate now.
    pub learning_rate: f64,
    /// λ now.
    pub lambda: f64,
}

/// What a step leaves behind, still on the device: nothing is read back inside a step.
#[derive(Debug, Clone)]
pub struct StepOutput {
    scalars: Tensor<1>,
    /// Whether the gradient overflowed and the learner is as it was, but for its loss scale.
    pub skipped: bool,
    /// For each micro-batch, the key cell that the features choose for each query cell [B, N]: by
    /// [`Matching`], and by the backbone's where the positives are the true ones.
    pub matches: Vec<Tensor<2, Int>>,
}

/// The figures of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepFigures {
    /// (1−λ)·global + λ·(dense + w·in-view).
    pub loss: f32,
    /// Global InfoNCE.
    pub loss_global: f32,
    /// Dense InfoNCE.
    pub loss_dense: f32,
    /// Share of images whose positive is nearer than every key of the global queue.
    pub accuracy_global: f32,
    /// Share of cells whose positive is nearer than every key of the dense queue.
    pub accuracy_dense: f32,
    /// Standard deviation of the global query's channels over the batch, times √dim: about 1 when
    /// queries spread over the sphere, 0 when they have collapsed to a point.
    pub feature_std: f32,
    /// The in-view loss, if it has a weight.
    pub in_view: Option<InViewFigures>,
    /// L2 norm of the gradient before clipping.
    pub grad_norm: f32,
}

/// The figures of the in-view loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InViewFigures {
    /// The loss, without its weight.
    pub loss: f32,
    /// Share of cells whose most similar cell of the key view is a positive.
    pub accuracy: f32,
}

impl DenseCl {
    /// A learner at step 0. Both encoders begin with the same weights.
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

    /// One step on a batch, given as one or more micro-batches whose gradients are averaged.
    ///
    /// With a loss scale it waits for the device, to see whether the gradient is finite; a step whose
    /// gradient is not leaves everything as it was, but for the scale.
    ///
    /// # Errors
    /// [`Error::NoGeometry`] when the settings need the views' geometry and it is not there; nothing has
    /// changed then.
    pub fn step(
        &mut self,
        micro_batches: Vec<Views>,
        settings: &StepSettings,
    ) -> Result<StepOutput> {
        let count = micro_batches.len();
        assert!(count > 0, "a step needs a batch");
        if self.method.needs_geometry() && micro_batches.iter().any(|b| b.geometry.is_none()) {
            return Err(Error::NoGeometry);
        }
        let in_view_weight = self.method.in_view_weight;
        let tau = self.method.temperature;
        let groups = self.method.bn_groups;
        let mut gradients = ParameterGradients::default();
        let mut keys = Vec::with_capacity(count);
        let mut matches = Vec::with_capacity(count);
        let mut scalars: Option<Tensor<1>> = None;
        let dtype = self.precision.dtype();
        let before = self.loss_scale.is_some().then(|| self.clone());
        let factor = self.loss_scale.map_or(1.0, |scale| scale.factor);

        // θk ← m·θk + (1−m)·θq
        follow(&mut self.key, &self.query, self.method.momentum);

        for (index, views) in micro_batches.into_iter().enumerate() {
            let draw = settings.step * count as u64 + index as u64;
            let q = self
                .query
                .forward_train(views.query.cast(dtype).autodiff(), groups);
            let k = self.encode_keys(views.key.cast(dtype), &views.key_order, groups);

            // c_i = argmax_j sim(f_i, f'_j), without a gradient; or the true cell, where there is one
            let geometry = views.geometry.as_deref().unwrap_or_default();
            let chosen = self.match_cells(&q, &k, draw);
            let matched = self.positives(chosen.clone(), geometry);
            let positives = gather_cells(k.dense.clone(), matched.cells.clone());

            let global = info_nce(
                q.global.clone(),
                k.global.clone(),
                self.global_queue.keys(),
                tau,
            );
            // MoCo v2 is λ = 0: the dense loss is then shown, but not part of the gradient.
            let dense_query = if settings.lambda > 0.0 {
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
            // Each cell against all key cells of its own picture: PixContrast's term, not in the paper.
            let in_view = (in_view_weight > 0.0).then(|| {
                let positives = self.in_view_positives(&matched, geometry);
                let tau = self.method.in_view_temperature;
                in_view(dense_query, k.dense, &positives, tau)
            });

            // L = (1−λ)·L_global + λ·(L_dense + w·L_in_view)
            let local = match &in_view {
                Some(in_view) => dense.loss.clone() + in_view.loss.clone() * in_view_weight,
                None => dense.loss.clone(),
            };
            let loss = if settings.lambda > 0.0 {
                weighted(global.loss.clone(), local, settings.lambda)
            } else {
                global.loss.clone()
            };
            let backward = (loss.clone() / (count as f64 / factor)).backward();
            gradients.accumulate(&self.query, &backward);

            let mut figures = vec![
                loss.inner(),
                global.loss.inner(),
                dense.loss.inner(),
                global.accuracy,
                dense.accuracy,
                spread(q.global.inner()),
            ];
            if let Some(in_view) = in_view {
                figures.extend([in_view.loss.inner(), in_view.accuracy]);
            }
            let figures = Tensor::cat(figures, 0) / count as f64;
            scalars = Some(match scalars {
                Some(sum) => sum + figures,
                None => figures,
            });
            keys.push((k.global, k.dense_pooled));
            matches.push(chosen);
        }

        if let (Some(scale), Some(before)) = (&mut self.loss_scale, before) {
            gradients.multiply(1.0 / scale.factor);
            let norm = gradients.norm();
            // A read that fails is told by that of the figures.
            let finite = norm.clone().is_none_or(|norm| is_finite(&norm));
            scale.update(finite);
            if !finite {
                let loss_scale = self.loss_scale;
                *self = Self {
                    loss_scale,
                    ..before
                };
                return Ok(StepOutput::new(scalars, norm, matches, true));
            }
        }
        let norm = self
            .optimizer
            .step(&mut self.query, gradients, settings.learning_rate);

        for (global, dense_pooled) in keys {
            self.global_queue.enqueue(global);
            self.dense_queue.enqueue(dense_pooled);
        }

        Ok(StepOutput::new(scalars, norm, matches, false))
    }

    /// The key encoder on images in the given order, its output put back in the batch's order.
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

    fn match_cells(&self, q: &Embeddings, k: &Embeddings, draw: u64) -> Tensor<2, Int> {
        match self.method.matching {
            // By features even where the positives are the true cells: it is their share of right matches that a
            // run shows.
            Matching::Backbone | Matching::Geometry => {
                best_match(similarity(q.backbone.clone().inner(), k.backbone.clone()))
            }
            Matching::Centred => best_match(similarity(
                centred(q.backbone.clone().inner()),
                centred(k.backbone.clone()),
            )),
            Matching::Dense => best_match(similarity(q.dense.clone().inner(), k.dense.clone())),
            Matching::Random => {
                let [b, _, n] = k.dense.dims();
                let mut rng = stream(self.seed, Purpose::Matching, draw);
                let cells: Vec<i32> = (0..b * n).map(|_| rng.random_range(0..n as i32)).collect();
                Tensor::from_data(TensorData::new(cells, [b, n]), &k.dense.device())
            }
        }
    }

    /// The positive of each query cell: the chosen cell, or the true one.
    fn positives(&self, chosen: Tensor<2, Int>, geometry: &[[ViewGeometry; 2]]) -> Matched {
        if self.method.matching != Matching::Geometry {
            return Matched {
                cells: chosen,
                valid: None,
            };
        }
        let [b, n] = chosen.dims();
        assert_eq!(geometry.len(), b, "one pair of views for each image");
        let truth: Vec<Option<usize>> = geometry
            .iter()
            .flat_map(|[query, key]| query.true_cells(key, n.isqrt()))
            .collect();
        // Any cell where there is none: it is left out.
        let cells = truth.iter().map(|cell| cell.unwrap_or(0) as i32).collect();
        let valid = (0..truth.len()).filter(|&i| truth[i].is_some());
        Matched {
            valid: Some(valid.map(|i| i as i32).collect()),
            cells: Tensor::from_data(TensorData::new::<i32, _>(cells, [b, n]), &chosen.device()),
        }
    }

    fn in_view_positives(&self, matched: &Matched, geometry: &[[ViewGeometry; 2]]) -> Positives {
        let device = matched.cells.device();
        let [_, n] = matched.cells.dims();
        match self.method.in_view_positives {
            InViewPositives::Match => Positives::One {
                cells: matched.cells.clone(),
                valid: matched.mask(),
            },
            InViewPositives::Near => Positives::near(geometry, n.isqrt(), &device),
        }
    }
}

/// The positive of each query cell of a micro-batch.
struct Matched {
    /// Its key cell [B, N].
    cells: Tensor<2, Int>,
    /// Numbers in 0..B·N of the query cells that have one; `None` = all of them.
    valid: Option<Vec<i32>>,
}

impl Matched {
    /// InfoNCE over the query cells that have a positive; rows [B·N, D].
    fn info_nce(
        &self,
        query: Tensor<2>,
        positive: Tensor<2>,
        queue: Tensor<2>,
        temperature: f64,
    ) -> InfoNce {
        let Some(valid) = &self.valid else {
            return info_nce(query, positive, queue, temperature);
        };
        if valid.is_empty() {
            return InfoNce::none(&query.device());
        }
        let rows = TensorData::new(valid.clone(), [valid.len()]);
        let taken = |x: Tensor<2>| {
            let rows = Tensor::<1, Int>::from_data(rows.clone(), &x.device());
            x.select(0, rows)
        };
        info_nce(taken(query), taken(positive), queue, temperature)
    }

    /// 1 for a query cell that has a positive, else 0 [B, N].
    fn mask(&self) -> Tensor<2> {
        let [b, n] = self.cells.dims();
        let device = self.cells.device();
        let Some(valid) = &self.valid else {
            return Tensor::ones([b, n], &device);
        };
        let mut mask = vec![0.0f32; b * n];
        valid.iter().for_each(|&i| mask[i as usize] = 1.0);
        Tensor::from_data(TensorData::new(mask, [b, n]), &device)
    }
}

/// [B, D, N] → [B·N, D].
fn per_cell(dense: Tensor<3>) -> Tensor<2> {
    let [b, d, n] = dense.dims();
    dense.swap_dims(1, 2).reshape([b * n, d])
}

/// How far unit vectors [B, D] spread: 0 for a single point, about 1 over the whole sphere.
fn spread(vectors: Tensor<2>) -> Tensor<1> {
    let [b, d] = vectors.dims();
    if b < 2 {
        return Tensor::zeros([1], &vectors.device());
    }
    vectors.var(0).sqrt().mean() * (d as f64).sqrt()
}

/// The shuffle of a batch of `n` keys: a permutation that depends on `(seed, draw)` alone.
pub fn key_order(n: usize, seed: u64, draw: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut stream(seed, Purpose::Shuffle, draw));
    order
}

/// Whether one element is neither NaN nor infinite; a device that does not answer does not say.
fn is_finite(value: &Tensor<1>) -> bool {
    let read = value.try_to_vec_as::<f32>();
    read.map_or(true, |values| values.iter().all(|value| value.is_finite()))
}

impl StepOutput {
    fn new(
        scalars: Option<Tensor<1>>,
        norm: Option<Tensor<1>>,
        matches: Vec<Tensor<2, Int>>,
        skipped: bool,
    ) -> Self {
        let scalars = scalars.expect("at least one micro-batch");
        let norm = norm.unwrap_or_else(|| Tensor::zeros([1], &scalars.device()));
        Self {
            scalars: Tensor::cat(vec![scalars, norm], 0),
            skipped,
            matches,
        }
    }

    /// Reads the figures back; waits for the device.
    ///
    /// # Errors
    /// When the device failed (lost, out of memory).
    pub fn figures(&self) -> crate::Result<StepFigures> {
        let values: Vec<f32> = self
            .scalars
            .try_to_vec_as()
            .map_err(|e| failure("during a step", e))?;
        let [
            loss,
            loss_global,
            loss_dense,
            accuracy_global,
            accuracy_dense,
            feature_std,
            ref in_view @ ..,
            grad_norm,
        ] = values[..]
        else {
            unreachable!("a step puts its figures in this order")
        };
        Ok(StepFigures {
            loss,
            loss_global,
            loss_dense,
            accuracy_global,
            accuracy_dense,
            feature_std,
            in_view: match *in_view {
                [loss, accuracy] => Some(InViewFigures { loss, accuracy }),
                _ => None,
            },
            grad_norm,
        })
    }
}
