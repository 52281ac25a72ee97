//! UniVIP (Li et al. 2022): one training step. It stands on BYOL's two networks and compares, besides two scenes of an
//! image, K instances that both scenes show.
//!
//! ```text
//! s₁, s₂ = two overlapping views of an image; x₁ … x_K = boxes in their overlap, each under two augmentations
//! f = online network with predictor    g = target network, no gradient            BYOL
//! f_i = f(s_i)   g_i = g(s_i)   o_m = f(x_m, first augmentation)   t_n = g(x_n, second augmentation)
//!
//! L_scene          = −cos(f₁, g₂) − cos(f₂, g₁)                                   scene–scene, §3.1
//! L_scene-instance = −cos(I, g₁) − cos(I, g₂)    I = linear(o₁ ‖ … ‖ o_K)         scene–instance, §3.2
//! L_instance       = −Σ_mn cos(o_m, t_n)·Y_mn                                     instance–instance, §3.3
//! Y = optimal transport   cost 1 − cos(o_m, t_n)
//!                         weights a_m = max(o_m·(g₁ + g₂)/2, 0)   b_n = max(t_n·(f₁ + f₂)/2, 0)
//!
//! L = L_scene + L_scene-instance + L_instance
//! θ ← optimizer(θ, ∇L)    ξ ← τ·ξ + (1−τ)·θ                                       BYOL
//! ```
//!
//! Choices where the paper is silent: o, t, f and g are unit vectors in the weights, as they are in the losses; weights are
//! divided by their sum, because a plan needs marginals that sum alike ([`crate::loss::marginal`]); Y is a constant.

mod losses;

use burn::tensor::{Device, Tensor};

pub use self::losses::{instance_loss, instance_plan, scene_instance_loss, scene_loss};
use super::{
    Branch, Byol, Figure, Method, MicroBatch, Online, Panel, Shows, StateVisitor, StepOutput,
    StepSettings, ViewSpec,
    byol::{momentum, without_heads},
    figures::{FigureSums, feature_std},
};
use crate::{
    config::{MethodConfig, ModelConfig, OptimConfig, Precision},
    error::Result,
    loss::Transport,
    loss_scale::LossScale,
    matching::l2_normalize,
    model::{Encoder, Init, Linear, RunningStatistics, TensorVisitor, Tensors, follow},
    optim::{ParameterGradients, Sgd},
    world::{Share, World},
};

/// The whole learner.
#[derive(Debug, Clone)]
pub struct UniVip {
    /// θ: learns by gradient.
    pub online: WithInstances,
    /// ξ: follows by momentum.
    pub target: Branch,
    /// The optimizer of the online network.
    pub optimizer: Sgd,
    /// The factor of the loss, where the precision wants one.
    pub loss_scale: Option<LossScale>,
    method: MethodConfig,
    precision: Precision,
}

/// BYOL's online network, and the layer that makes one vector of the instances of an image.
#[derive(Debug, Clone)]
pub struct WithInstances {
    /// f: encoder, projector, predictor.
    pub network: Online,
    /// From the K vectors of an image, one after the other, to I: K·D → D, with a bias.
    pub instances: Linear,
}

/// What every step measures.
const FIGURES: [Figure; 9] = [
    Figure::of("loss", "loss/total", Panel::Loss, "total"),
    Figure::of("loss_scene", "loss/scene", Panel::Loss, "scene"),
    Figure::of(
        "loss_scene_instance",
        "loss/scene_instance",
        Panel::Loss,
        "scene-instance",
    ),
    Figure::of("loss_instance", "loss/instance", Panel::Loss, "instance"),
    Figure::of(
        "transport_residual",
        "transport/residual",
        Panel::Hidden,
        "",
    ),
    Figure::of("feature_std", "features/std", Panel::Spread, "online"),
    Figure::of("target_std", "features/target_std", Panel::Spread, "target"),
    Figure::of("grad_norm", "optim/grad_norm", Panel::Hidden, ""),
    Figure::of("momentum", "optim/momentum", Panel::Hidden, ""),
];

impl Tensors for WithInstances {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.network.visit(prefix, visitor);
        let prefix = format!("{prefix}instances.");
        self.instances.visit(&prefix, visitor);
    }
}

impl WithInstances {
    /// I [B, D] from the instances' vectors [B, K, D].
    pub fn join(&self, vectors: Tensor<3>) -> Tensor<2> {
        let [b, k, d] = vectors.dims();
        self.instances.forward(vectors.reshape([b, k * d]))
    }
}

impl UniVip {
    /// A learner at step 0, whose networks are those of [`Byol::new`].
    pub fn new(
        model: &ModelConfig,
        method: &MethodConfig,
        optim: &OptimConfig,
        seed: u64,
        device: &Device,
    ) -> Self {
        let (network, target) = Byol::networks(model, method, seed, device);
        let device = device.clone().inner();
        let dim = method.projector_dim;
        let sizes = [method.instances * dim, dim];
        let online = WithInstances {
            network,
            instances: Linear::new(&Init::new(seed, &device), "instances", sizes),
        };
        Self {
            online: online.trainable(),
            target,
            optimizer: Sgd::new(optim),
            loss_scale: (optim.precision == Precision::F16).then(LossScale::default),
            method: method.clone(),
            precision: optim.precision,
        }
    }

    /// The figures of every step.
    pub(super) fn figures_of_a_step() -> Vec<Figure> {
        FIGURES.to_vec()
    }

    /// The vectors of the instances [K·B, D], ordered by instance, as [B, K, D].
    fn by_image(&self, vectors: Tensor<2>) -> Tensor<3> {
        let [rows, dim] = vectors.dims();
        let count = self.method.instances;
        vectors.reshape([count, rows / count, dim]).swap_dims(0, 1)
    }

    /// The pixels of both scenes [B, 3, S, S], and of the instances under either augmentation [K·B, 3, s, s]: instance k of
    /// image b is row k·B + b, so all instances of an image are in its group of batch normalisation.
    fn pixels(&self, batch: &MicroBatch) -> ([Tensor<4>; 2], [Tensor<4>; 2]) {
        let dtype = self.precision.dtype();
        let count = self.method.instances;
        let view = |number: usize| batch.views[number].pixels.clone().cast(dtype);
        let together = |first: usize| Tensor::cat((first..first + count).map(view).collect(), 0);
        ([0, 1].map(view), [2, 2 + count].map(together))
    }

    /// The plans Y of a batch [B, K, K] and their residual, by the networks as they are; for looking at them.
    ///
    /// # Panics
    /// When the batch has not the views of [`Method::views`].
    pub fn plans(&self, batch: &MicroBatch) -> Transport {
        let groups = self.method.bn_groups;
        let mut online = self.online.network.clone().inference();
        let mut target = self.target.clone();
        let (scenes, [instances, other_instances]) = self.pixels(batch);
        let mut follow = |pixels| target.forward_train(pixels, groups);
        let target_scenes = scenes.clone().map(&mut follow);
        let target_instances = self.by_image(follow(other_instances));
        let mut predict = |pixels| {
            let projection = online.branch.forward_train(pixels, groups);
            online.predictor.forward_train(projection, groups)
        };
        let online_scenes = scenes.map(&mut predict);
        let online_instances = self.by_image(predict(instances));
        instance_plan(
            [online_instances, target_instances],
            online_scenes,
            target_scenes,
            self.method.transport_epsilon,
            self.method.transport_iterations,
        )
    }

    /// The gradients of a micro-batch, times `factor`, and its figures.
    fn differentiate(
        &mut self,
        batch: &MicroBatch,
        [of_online, of_target]: [&mut RunningStatistics; 2],
        factor: f64,
    ) -> (ParameterGradients, Vec<(&'static str, Tensor<1>)>) {
        let groups = self.method.bn_groups;
        let mut gradients = ParameterGradients::default();
        let (scenes, [instances, other_instances]) = self.pixels(batch);
        let mut follow = |pixels| {
            let target = self.target.forward_train(pixels, groups);
            of_target.passed(&mut self.target);
            target
        };
        let targets = scenes.clone().map(&mut follow);
        let target_std = feature_std(l2_normalize(targets[0].clone(), 1));
        let target_instances = follow(other_instances);
        let target_instances = self.by_image(target_instances);

        // The scenes and the instances share no activations, because the plan is a constant: each is differentiated by
        // itself, and what one keeps for its backward pass is gone before the next forward pass.
        let mut spread = None;
        let mut scene_losses = Vec::with_capacity(2);
        let [first, second] = scenes;
        let [of_first, of_second] = targets.clone();
        let online_scenes = [(first, of_second), (second, of_first)].map(|(scene, target)| {
            let Online { branch, predictor } = &mut self.online.network;
            let projection = branch.forward_train(scene.autodiff(), groups);
            spread.get_or_insert_with(|| feature_std(l2_normalize(projection.clone().inner(), 1)));
            let prediction = predictor.forward_train(projection, groups);
            of_online.passed(&mut self.online);
            let loss = scene_loss(prediction.clone(), target);
            gradients.accumulate(&self.online, &(loss.clone() * factor).backward());
            scene_losses.push(loss.inner());
            prediction.inner()
        });

        let Online { branch, predictor } = &mut self.online.network;
        let projections = branch.forward_train(instances.autodiff(), groups);
        let online_instances = predictor.forward_train(projections, groups);
        of_online.passed(&mut self.online);
        let online_instances = self.by_image(online_instances);
        let Transport { plan, residual } = instance_plan(
            [online_instances.clone(), target_instances.clone()],
            online_scenes,
            targets.clone(),
            self.method.transport_epsilon,
            self.method.transport_iterations,
        );
        let joined = self.online.join(online_instances.clone());
        let scene_instance = scene_instance_loss(joined, targets);
        let instance = instance_loss(online_instances, target_instances, plan);
        let loss = scene_instance.clone() + instance.clone();
        gradients.accumulate(&self.online, &(loss * factor).backward());

        let scene = scene_losses.into_iter().reduce(|a, b| a + b);
        let scene = scene.expect("two terms");
        let [scene_instance, instance] = [scene_instance, instance].map(Tensor::inner);
        let figures = vec![
            (
                "loss",
                scene.clone() + scene_instance.clone() + instance.clone(),
            ),
            ("loss_scene", scene),
            ("loss_scene_instance", scene_instance),
            ("loss_instance", instance),
            ("transport_residual", residual),
            ("feature_std", spread.expect("two terms")),
            ("target_std", target_std),
        ];
        (gradients, figures)
    }
}

impl Method for UniVip {
    fn name(&self) -> &'static str {
        "univip"
    }

    /// Both scenes, the instances under the first augmentation, the instances under the second.
    fn views(&self) -> Vec<ViewSpec> {
        let mut views = ["first", "second"].map(ViewSpec::usual).to_vec();
        for (like, name) in ["instance", "other instance"].into_iter().enumerate() {
            views.extend((0..self.method.instances).map(|number| ViewSpec {
                name,
                size: Some(self.method.instance_size),
                shows: Shows::Instance { number, like },
            }));
        }
        views
    }

    fn figures(&self) -> Vec<Figure> {
        Self::figures_of_a_step()
    }

    fn visit_state(&mut self, visitor: &mut dyn StateVisitor) -> Result<()> {
        visitor.network("online", &mut self.online)?;
        visitor.network("target", &mut self.target)?;
        visitor.velocity("velocity", &mut self.optimizer, &self.online)?;
        match &mut self.loss_scale {
            Some(scale) => visitor.loss_scale(scale),
            None => Ok(()),
        }
    }

    fn encoder(&self) -> &Encoder {
        &self.online.network.branch.encoder
    }

    fn begin_with(&mut self, encoder: Encoder) {
        let encoder = without_heads(encoder);
        self.online.network.branch.encoder = encoder.clone().trainable();
        self.target.encoder = encoder.inference();
    }

    fn loss_scale(&self) -> Option<LossScale> {
        self.loss_scale
    }

    /// With a loss scale it waits for the device, to see whether the gradient is finite; a step whose gradient is not
    /// leaves everything as it was, but for the scale.
    fn step(
        &mut self,
        micro_batches: Vec<MicroBatch>,
        settings: &StepSettings,
        world: &mut dyn World,
    ) -> Result<StepOutput> {
        assert!(!micro_batches.is_empty(), "a step needs a batch");
        let Share { count, .. } = Share::of(world, micro_batches.len());
        let momentum = momentum(&self.method, settings);
        let mut gradients = ParameterGradients::default();
        let mut sums = FigureSums::default();
        // What an overflow has to undo. A tensor is a handle: only what changes is held twice.
        let before = (self.loss_scale).map(|_| (self.online.clone(), self.target.clone()));
        let factor = self.loss_scale.map_or(1.0, |scale| scale.factor) / count as f64;
        let mut of_online = RunningStatistics::begin(&mut self.online, world);
        let mut of_target = RunningStatistics::begin(&mut self.target, world);
        for batch in micro_batches {
            let (own, figures) =
                self.differentiate(&batch, [&mut of_online, &mut of_target], factor);
            gradients.add(own);
            sums.add(figures);
        }

        // Adds what the other ranks computed.
        gradients.sum_over(world)?;
        sums.gather(world)?;
        of_online.finish(&mut self.online, world)?;
        of_target.finish(&mut self.target, world)?;

        let known = vec![("momentum", momentum)];
        if let Some(scale) = &mut self.loss_scale
            && !scale.unscale(&mut gradients)
        {
            (self.online, self.target) = before.expect("kept where there is a scale");
            return Ok(sums.output(gradients.norm(), known, Vec::new(), true));
        }
        let rate = settings.learning_rate;
        let norm = self.optimizer.step(&mut self.online, gradients, rate);

        // ξ ← τ·ξ + (1−τ)·θ
        follow(&mut self.target, &self.online.network.branch, momentum);

        Ok(sums.output(norm, known, Vec::new(), false))
    }
}
