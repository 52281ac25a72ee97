//! 3SAT (Fang et al. 2025): one training step. It is BYOL's, with a second loss on an attacked picture.
//!
//! ```text
//! x₁, x₂ = two views of an image     x = the image itself, unaugmented
//! p(·) = prediction of the online network     z'(·) = projection of the target network, no gradient     BYOL
//!
//! L_BYOL = 2 − 2·cos(p(x₁), z'(x₂)) + 2 − 2·cos(p(x₂), z'(x₁))
//! δ = argmax  2 − 2·cos(p(x + δ), z'(x))     ‖δ‖∞ ≤ ε, x + δ in [0, 1]: PGD                          eq. 6
//! L_AT = 2 − 2·cos(p(x + δ), z'(x))
//! s(t) = max(0, (t − W)/(T − W))             no attack in the first W steps of T
//!
//! L = L_BYOL + s(t)·L_AT                                                                            eq. 5
//! θ ← optimizer(θ, ∇L)    ξ ← τ·ξ + (1−τ)·θ                                                         BYOL
//! ```
//!
//! The attack works on pixels in [0, 1] and goes through the normalisation of the network's input. It normalises by the
//! statistics of the batch, as training does, and leaves the running statistics alone; there is one batch normalisation
//! for views and attacked pictures. The authors' code adds 2 − 2·cos(p(x), z'(x₁)) and 2 − 2·cos(p(x), z'(x₂)) to L;
//! the setting `unaugmented_terms` does so too.

use burn::tensor::{Device, Tensor};

use super::{
    Byol, Figure, Method, MicroBatch, Panel, Shows, StateVisitor, StepOutput, StepSettings,
    ViewSpec,
    byol::{MicroFigures, Pass, regression_loss},
    figures::feature_std,
};
use crate::{
    attack::{Perturbed, perturb, random_start},
    augment::{denormalize, normalize},
    config::{MethodConfig, ModelConfig, OptimConfig},
    error::Result,
    loss_scale::LossScale,
    matching::l2_normalize,
    model::{Encoder, Tensors},
    optim::ParameterGradients,
    rng::{Purpose, stream},
    world::World,
};

/// The whole learner.
#[derive(Debug, Clone)]
pub struct ThreeSat {
    /// Both networks and the optimizer, which are BYOL's.
    pub byol: Byol,
    method: MethodConfig,
    seed: u64,
}

/// What a step measures; `loss_adversarial` and `loss_before_attack` only where there is an attack.
const FIGURES: [Figure; 10] = [
    Figure::of("loss", "loss/total", Panel::Loss, "total"),
    Figure::of("loss_byol", "loss/byol", Panel::Loss, "BYOL"),
    Figure::of(
        "loss_adversarial",
        "loss/adversarial",
        Panel::Loss,
        "adversarial",
    ),
    Figure::of(
        "loss_before_attack",
        "loss/before_attack",
        Panel::Hidden,
        "",
    ),
    Figure::of(
        "adversarial_weight",
        "optim/adversarial_weight",
        Panel::Hidden,
        "",
    ),
    Figure::of("cosine", "features/cosine", Panel::Hidden, ""),
    Figure::of("feature_std", "features/std", Panel::Spread, "online"),
    Figure::of("target_std", "features/target_std", Panel::Spread, "target"),
    Figure::of("grad_norm", "optim/grad_norm", Panel::Hidden, ""),
    Figure::of("momentum", "optim/momentum", Panel::Hidden, ""),
];

/// The number of the unaugmented picture among the views.
const WHOLE: usize = 2;

impl ThreeSat {
    /// A learner at step 0, whose networks are those of [`Byol::new`].
    pub fn new(
        model: &ModelConfig,
        method: &MethodConfig,
        optim: &OptimConfig,
        seed: u64,
        device: &Device,
    ) -> Self {
        Self {
            byol: Byol::new(model, method, optim, seed, device),
            method: method.clone(),
            seed,
        }
    }

    /// The figures of every step.
    pub(super) fn figures_of_a_step() -> Vec<Figure> {
        FIGURES.to_vec()
    }

    /// s(t), in [0, 1].
    pub fn adversarial_weight(&self, settings: &StepSettings) -> f64 {
        let progress = settings.step as f64 / settings.total_steps.max(1) as f64;
        let warmup = self.method.adversarial_warmup;
        ((progress - warmup) / (1.0 - warmup)).clamp(0.0, 1.0)
    }

    /// δ for pixels [B, 3, H, W] in [0, 1] with their targets [B, D], from this start, by the online network as it is.
    /// Nothing of the learner changes, its running statistics included.
    pub fn attack(&self, pixels: &Tensor<4>, target: &Tensor<2>, start: Tensor<4>) -> Perturbed {
        attack(&self.byol, &self.method, pixels, target, start)
    }
}

/// As [`ThreeSat::attack`].
fn attack(
    byol: &Byol,
    method: &MethodConfig,
    pixels: &Tensor<4>,
    target: &Tensor<2>,
    start: Tensor<4>,
) -> Perturbed {
    // A copy of handles: what its forward passes do to its running statistics is gone with it.
    let mut online = byol.online.clone().constant();
    // The loss scale keeps f16 from rounding small gradients to 0, which has no sign.
    let scale = byol.scale();
    let found = perturb(&method.attack(), pixels, start, |pixels| {
        let images = byol.in_precision(normalize(pixels));
        let [_, prediction] = online.forward_train(images, method.bn_groups);
        regression_loss(prediction, target.clone()) * scale
    });
    Perturbed {
        first_loss: found.first_loss / scale,
        ..found
    }
}

/// The gradients of a micro-batch's loss, and its figures; `weight` is s(t), and `start` makes the start of an attack.
fn differentiate(
    byol: &mut Byol,
    method: &MethodConfig,
    batch: &MicroBatch,
    pass: &mut Pass,
    weight: f64,
    start: impl FnOnce(&Tensor<4>) -> Tensor<4>,
) -> (ParameterGradients, MicroFigures) {
    let mut gradients = ParameterGradients::default();
    let views = [0, 1].map(|number| byol.view(batch, number));
    let targets = views.clone().map(|view| byol.project(view, pass));
    let target_std = feature_std(l2_normalize(targets[0].clone(), 1));
    let attacked = weight > 0.0;
    let target_of_whole = attacked.then(|| byol.project(byol.view(batch, WHOLE), pass));

    // The terms share no activations: each is differentiated by itself, and what one keeps for its backward pass is
    // gone before the next forward pass.
    let terms = byol.both_terms(views, targets.clone(), pass, &mut gradients);
    let mut loss = terms.loss.clone();
    if method.unaugmented_terms {
        let [_, prediction] = byol.predict(byol.view(batch, WHOLE), pass);
        let [first, second] = targets.map(|target| regression_loss(prediction.clone(), target));
        let both = first + second;
        let backward = (both.clone() / pass.divisor).backward();
        gradients.accumulate(&byol.online, &backward);
        loss = loss + both.inner();
    }
    let mut of_attack = Vec::new();
    if let Some(target) = target_of_whole {
        let pixels = denormalize(batch.views[WHOLE].pixels.clone());
        let start = start(&pixels);
        let Perturbed { delta, first_loss } = attack(byol, method, &pixels, &target, start);
        let images = byol.in_precision(normalize(pixels + delta));
        let [_, prediction] = byol.predict(images, pass);
        let adversarial = regression_loss(prediction, target);
        let backward = (adversarial.clone() * (weight / pass.divisor)).backward();
        gradients.accumulate(&byol.online, &backward);
        let adversarial = adversarial.inner();
        loss = loss + adversarial.clone() * weight;
        of_attack = vec![
            ("loss_adversarial", adversarial),
            ("loss_before_attack", first_loss),
        ];
    }
    let figures = vec![
        ("loss", loss),
        ("loss_byol", terms.loss.clone()),
        ("cosine", terms.cosine()),
        ("feature_std", terms.spread),
        ("target_std", target_std),
    ];
    (gradients, [figures, of_attack].concat())
}

impl Method for ThreeSat {
    fn name(&self) -> &'static str {
        "3sat"
    }

    fn views(&self) -> Vec<ViewSpec> {
        let mut views = self.byol.views();
        views.push(ViewSpec {
            name: "unaugmented",
            size: None,
            shows: Shows::Whole,
        });
        views
    }

    fn figures(&self) -> Vec<Figure> {
        Self::figures_of_a_step()
    }

    fn visit_state(&mut self, visitor: &mut dyn StateVisitor) -> Result<()> {
        self.byol.visit_state(visitor)
    }

    fn encoder(&self) -> &Encoder {
        self.byol.encoder()
    }

    fn begin_with(&mut self, encoder: Encoder) {
        self.byol.begin_with(encoder);
    }

    fn loss_scale(&self) -> Option<LossScale> {
        self.byol.loss_scale
    }

    /// With a loss scale it waits for the device, to see whether the gradient is finite; a step whose gradient is not
    /// leaves everything as it was, but for the scale.
    fn step(
        &mut self,
        micro_batches: Vec<MicroBatch>,
        settings: &StepSettings,
        world: &mut dyn World,
    ) -> Result<StepOutput> {
        let weight = self.adversarial_weight(settings);
        let known = vec![("adversarial_weight", weight)];
        let Self { byol, method, seed } = self;
        byol.step_by(
            micro_batches,
            settings,
            world,
            known,
            |byol, batch, pass| {
                let draw = settings.draw(pass.index, pass.count);
                let start = |pixels: &Tensor<4>| {
                    let mut rng = stream(*seed, Purpose::Attack, draw);
                    random_start(&method.attack(), pixels.dims(), &mut rng, &pixels.device())
                };
                differentiate(byol, method, batch, pass, weight, start)
            },
        )
    }
}
