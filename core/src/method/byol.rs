//! BYOL (Grill et al. 2020): one training step, in the order of the paper's algorithm 1.
//!
//! ```text
//! v, v' = two views of an image
//! z = g(pool(f(v; θ)))   p = q(z)        online: encoder, projector, predictor      §3.1
//! z' = g(pool(f(v'; ξ)))                 target: encoder and projector, no gradient
//!
//! L(v, v') = 2 − 2·cos(p, z')                                            eq. 2
//! L = L(v, v') + L(v', v)                both views pass through both networks
//!
//! θ ← optimizer(θ, ∇L)                                                   eq. 3
//! ξ ← τ·ξ + (1−τ)·θ                      τ(t) = 1 − (1−τ₀)·(cos(π·t/T) + 1)/2   eq. 4, §3.2
//! ```
//!
//! There are no negatives and no queue.

mod step;

use burn::tensor::{Device, FloatDType, Tensor};

pub(super) use self::step::{MicroFigures, Pass};
use super::{
    Figure, Method, MicroBatch, Panel, StateVisitor, StepOutput, StepSettings, ViewSpec,
    figures::feature_std, projector::Projector,
};
use crate::{
    config::{MethodConfig, ModelConfig, OptimConfig, Precision},
    error::Result,
    loss_scale::LossScale,
    matching::l2_normalize,
    model::{Encoder, Heads, Init, TensorVisitor, Tensors, head::pool},
    optim::{ParameterGradients, Sgd},
    schedule,
    world::World,
};

/// The whole learner: two networks, one optimizer.
#[derive(Debug, Clone)]
pub struct Byol {
    /// θ: learns by gradient.
    pub online: Online,
    /// ξ: follows by momentum.
    pub target: Branch,
    /// The optimizer of the online network.
    pub optimizer: Sgd,
    /// The factor of the loss, where the precision wants one.
    pub loss_scale: Option<LossScale>,
    method: MethodConfig,
    precision: Precision,
}

/// Encoder and projector: the target network, and the online network without its predictor.
#[derive(Debug, Clone)]
pub struct Branch {
    /// f: a backbone without heads.
    pub encoder: Encoder,
    /// g.
    pub projector: Projector,
}

/// The online network.
#[derive(Debug, Clone)]
pub struct Online {
    /// f and g, which the target network follows.
    pub branch: Branch,
    /// q.
    pub predictor: Projector,
}

/// What every step measures.
const FIGURES: [Figure; 6] = [
    Figure::of("loss", "loss/total", Panel::Loss, "total"),
    Figure::of("cosine", "features/cosine", Panel::Hidden, ""),
    Figure::of("feature_std", "features/std", Panel::Spread, "online"),
    Figure::of("target_std", "features/target_std", Panel::Spread, "target"),
    Figure::of("grad_norm", "optim/grad_norm", Panel::Hidden, ""),
    Figure::of("momentum", "optim/momentum", Panel::Hidden, ""),
];

impl Branch {
    /// Images [B, 3, H, W], normalised, to projections [B, D] in f32, not normalised; batch normalisation by
    /// the batch, in this many groups; the running statistics follow. The backbone computes in the precision of
    /// the images.
    ///
    /// # Panics
    /// When `groups` does not divide B.
    pub fn forward_train(&mut self, images: Tensor<4>, groups: usize) -> Tensor<2> {
        let features = self.encoder.backbone.forward_train(images, groups);
        let pooled = pool(features.cast(FloatDType::F32));
        self.projector.forward_train(pooled, groups)
    }
}

impl Tensors for Branch {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.encoder.visit(prefix, visitor);
        let prefix = format!("{prefix}projector.");
        self.projector.visit(&prefix, visitor);
    }
}

impl Tensors for Online {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.branch.visit(prefix, visitor);
        let prefix = format!("{prefix}predictor.");
        self.predictor.visit(&prefix, visitor);
    }
}

/// 2 − 2·cos(p, z), the mean over the batch, one element: predictions p and targets z, both [B, D] of any
/// length. No gradient flows to z.
pub fn regression_loss(prediction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let target = l2_normalize(target.inner(), 1);
    let target = if prediction.is_autodiff() {
        target.autodiff()
    } else {
        target
    };
    let cosine = (l2_normalize(prediction, 1) * target).sum_dim(1).mean();
    cosine * -2.0 + 2.0
}

impl Online {
    /// Images [B, 3, H, W], normalised, to z and p [B, D], as by [`Branch::forward_train`].
    ///
    /// # Panics
    /// When `groups` does not divide B.
    pub fn forward_train(&mut self, images: Tensor<4>, groups: usize) -> [Tensor<2>; 2] {
        let projection = self.branch.forward_train(images, groups);
        let prediction = self.predictor.forward_train(projection.clone(), groups);
        [projection, prediction]
    }
}

/// L of a micro-batch and what is measured beside it.
pub(super) struct BothTerms {
    pub(super) loss: Tensor<1>,
    /// The spread of the projections of the first view.
    pub(super) spread: Tensor<1>,
}

impl BothTerms {
    /// The mean cosine over both terms: L = 4 − 4·cos.
    pub(super) fn cosine(&self) -> Tensor<1> {
        self.loss.clone() / -4.0 + 1.0
    }
}

impl Byol {
    /// A learner at step 0. Both networks begin with the same weights; the authors draw them apart, and saw no
    /// difference.
    pub fn new(
        model: &ModelConfig,
        method: &MethodConfig,
        optim: &OptimConfig,
        seed: u64,
        device: &Device,
    ) -> Self {
        let (online, target) = Self::networks(model, method, seed, device);
        Self {
            online: online.trainable(),
            target,
            optimizer: Sgd::new(optim),
            loss_scale: (optim.precision == Precision::F16).then(LossScale::default),
            method: method.clone(),
            precision: optim.precision,
        }
    }

    /// The online and the target network of [`Self::new`], without a gradient graph.
    pub(super) fn networks(
        model: &ModelConfig,
        method: &MethodConfig,
        seed: u64,
        device: &Device,
    ) -> (Online, Branch) {
        let device = device.clone().inner();
        let init = Init::new(seed, &device);
        let encoder = Encoder::with_heads(model, Heads::NONE, seed, &device);
        let [hidden, dim] = [method.projector_hidden, method.projector_dim];
        let channels = encoder.backbone.channels();
        let projector = Projector::new(&init, "projector", [channels, hidden, dim]);
        let predictor = Projector::new(&init, "predictor", [dim, hidden, dim]);
        let target = Branch { encoder, projector };
        let online = Online {
            branch: target.clone(),
            predictor,
        };
        (online, target)
    }

    /// The figures of every step.
    pub(super) fn figures_of_a_step() -> Vec<Figure> {
        FIGURES.to_vec()
    }

    /// View `number` of a micro-batch, in the precision of the networks.
    pub(super) fn view(&self, batch: &MicroBatch, number: usize) -> Tensor<4> {
        self.in_precision(batch.views[number].pixels.clone())
    }

    /// Images in the precision of the networks. A gradient flows through.
    pub(super) fn in_precision(&self, images: Tensor<4>) -> Tensor<4> {
        images.cast(self.precision.dtype())
    }

    /// z' of a view.
    pub(super) fn project(&mut self, view: Tensor<4>, pass: &mut Pass) -> Tensor<2> {
        let target = self.target.forward_train(view, self.method.bn_groups);
        pass.of_target.passed(&mut self.target);
        target
    }

    /// z and p of a view, in the gradient graph.
    pub(super) fn predict(&mut self, view: Tensor<4>, pass: &mut Pass) -> [Tensor<2>; 2] {
        let groups = self.method.bn_groups;
        let both = self.online.forward_train(view.autodiff(), groups);
        pass.of_online.passed(&mut self.online);
        both
    }

    /// L of two views with their z', whose gradients are added to `gradients`.
    pub(super) fn both_terms(
        &mut self,
        views: [Tensor<4>; 2],
        targets: [Tensor<2>; 2],
        pass: &mut Pass,
        gradients: &mut ParameterGradients,
    ) -> BothTerms {
        // The two terms share no activations, so each is differentiated by itself, and what one keeps for its
        // backward pass is gone before the other's forward pass.
        let [first, second] = views;
        let [of_first, of_second] = targets;
        let mut losses = Vec::with_capacity(2);
        let mut spread = None;
        for (view, target) in [(first, of_second), (second, of_first)] {
            let [projection, prediction] = self.predict(view, pass);
            spread.get_or_insert_with(|| feature_std(l2_normalize(projection.inner(), 1)));
            let loss = regression_loss(prediction, target);
            let backward = (loss.clone() / pass.divisor).backward();
            gradients.accumulate(&self.online, &backward);
            losses.push(loss.inner());
        }
        BothTerms {
            loss: losses.into_iter().reduce(|a, b| a + b).expect("two terms"),
            spread: spread.expect("two terms"),
        }
    }

    /// The gradients of L of a micro-batch, and its figures.
    fn differentiate(
        &mut self,
        batch: &MicroBatch,
        pass: &mut Pass,
    ) -> (ParameterGradients, MicroFigures) {
        let mut gradients = ParameterGradients::default();
        let views = [0, 1].map(|number| self.view(batch, number));
        let targets = views.clone().map(|view| self.project(view, pass));
        let target_std = feature_std(l2_normalize(targets[0].clone(), 1));
        let terms = self.both_terms(views, targets, pass, &mut gradients);
        let figures = vec![
            ("loss", terms.loss.clone()),
            ("cosine", terms.cosine()),
            ("feature_std", terms.spread),
            ("target_std", target_std),
        ];
        (gradients, figures)
    }
}

/// The backbone alone: heads of another method have no place in this one.
pub(super) fn without_heads(encoder: Encoder) -> Encoder {
    Encoder {
        global_head: None,
        dense_head: None,
        ..encoder
    }
}

/// τ at a step.
pub(super) fn momentum(method: &MethodConfig, settings: &StepSettings) -> f64 {
    schedule::momentum(
        method.momentum,
        method.momentum_schedule,
        settings.step,
        settings.total_steps,
    )
}

impl Method for Byol {
    fn name(&self) -> &'static str {
        "byol"
    }

    fn views(&self) -> Vec<ViewSpec> {
        ["first", "second"].map(ViewSpec::usual).to_vec()
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
        &self.online.branch.encoder
    }

    fn begin_with(&mut self, encoder: Encoder) {
        let encoder = without_heads(encoder);
        self.online.branch.encoder = encoder.clone().trainable();
        self.target.encoder = encoder.inference();
    }

    fn loss_scale(&self) -> Option<LossScale> {
        self.loss_scale
    }

    /// With a loss scale it waits for the device, to see whether the gradient is finite; a step whose gradient
    /// is not leaves everything as it was, but for the scale.
    fn step(
        &mut self,
        micro_batches: Vec<MicroBatch>,
        settings: &StepSettings,
        world: &mut dyn World,
    ) -> Result<StepOutput> {
        self.step_by(
            micro_batches,
            settings,
            world,
            Vec::new(),
            Self::differentiate,
        )
    }
}
