//! What a step of each method holds in memory besides its backbone and its views: see [`crate::memory`].

use crate::{
    config::{MethodConfig, MethodName, ModelConfig},
    loss::SIMILARITIES,
    network::{Network, backbone_parameters, encoder_parameters},
    ops::Footprint,
};

/// Arrays of the size of the logits that exist together in InfoNCE: similarities, differences and weights.
const LOGITS: f64 = 3.0;
/// Arrays of the size of the similarities that exist together in the in-view loss: similarities, positives, the
/// terms of both sums, and the gradient.
const IN_VIEW: f64 = 6.0;
/// Copies of a projector's hidden layer that are kept: its sums, those normalised, and behind the ReLU.
const HIDDEN: f64 = 3.0;

/// What of a step depends on its method, in numbers of 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MethodMemory {
    /// Backward passes for each micro-batch; every one leaves a gradient.
    pub(crate) passes: usize,
    /// Parameters of the network that learns by gradient.
    pub(crate) learned: f64,
    /// Those of the network that follows it.
    pub(crate) followed: f64,
    /// Both queues.
    pub(crate) queues: f64,
    /// What the heads keep for their backward pass.
    pub(crate) heads: f64,
    /// What the loss holds for a moment.
    pub(crate) loss: f64,
    /// The largest tensor of heads and loss.
    pub(crate) largest: f64,
    /// Pixels of the instances of an image that go through a network together; 0 where there are none.
    pub(crate) instances: f64,
    /// Views of each image that have the usual size.
    pub(crate) views: f64,
    /// Arrays of the size of such a view of a micro-batch that the loss holds beside the views.
    pub(crate) beside: f64,
}

impl MethodMemory {
    /// For micro-batches of so many images, so many cells in the grid of a view, and so many keys in each queue.
    pub(crate) fn of(
        method: &MethodConfig,
        model: &ModelConfig,
        footprint: &Footprint,
        micro: f64,
        cells: f64,
        queue: usize,
    ) -> Self {
        match method.name {
            MethodName::DenseCl => {
                let in_view = method.in_view_weight > 0.0;
                Self::of_densecl(model, footprint, micro, cells, queue, in_view)
            }
            MethodName::Byol => Self::of_byol(model, method, micro),
            MethodName::UniVip => Self::of_univip(model, method, micro),
            MethodName::ThreeSat => Self::of_three_sat(model, method, micro),
        }
    }

    fn of_densecl(
        model: &ModelConfig,
        footprint: &Footprint,
        micro: f64,
        cells: f64,
        queue: usize,
        in_view: bool,
    ) -> Self {
        let channels = Network::new(model).channels() as f64;
        let dim = model.dim as f64;
        let parameters = encoder_parameters(model) as f64;
        let queues = 2.0 * queue as f64 * dim;
        let logits = (micro * cells * queue as f64).min(footprint.logits as f64);
        let similarity = micro * cells * cells;
        let at_once = similarity.min(SIMILARITIES as f64);
        let in_view = if in_view { IN_VIEW * at_once } else { 0.0 };
        Self {
            passes: 1,
            learned: parameters,
            followed: parameters,
            queues,
            // Backbone features on the dense grid, the outputs of both layers of the dense head, and its unit
            // vectors.
            heads: micro * cells * (3.0 * channels + 3.0 * dim),
            loss: (LOGITS * logits).max(similarity).max(in_view),
            largest: logits.max(similarity).max(queues / 2.0),
            instances: 0.0,
            views: 2.0,
            beside: 0.0,
        }
    }

    /// The two views go through the online network one after the other, each with its own backward pass, so
    /// what is kept is that of one view.
    fn of_byol(model: &ModelConfig, method: &MethodConfig, micro: f64) -> Self {
        let network = Network::new(model);
        let channels = network.channels();
        let [hidden, dim] = [method.projector_hidden, method.projector_dim];
        let followed =
            backbone_parameters(&network) + projector_parameters([channels, hidden, dim]);
        let learned = followed + projector_parameters([dim, hidden, dim]);
        let layers = channels as f64 + 2.0 * (HIDDEN * hidden as f64 + 2.0 * dim as f64);
        Self {
            passes: 2,
            learned: learned as f64,
            followed: followed as f64,
            queues: 0.0,
            heads: micro * layers,
            loss: 0.0,
            largest: hidden as f64 * channels.max(dim) as f64,
            instances: 0.0,
            views: 2.0,
            beside: 0.0,
        }
    }

    /// BYOL's, with a layer for the instances, which go through the heads K at a time.
    fn of_univip(model: &ModelConfig, method: &MethodConfig, micro: f64) -> Self {
        let byol = Self::of_byol(model, method, micro);
        let (count, dim) = (method.instances as f64, method.projector_dim as f64);
        let layer = count * dim * dim;
        Self {
            passes: 3,
            learned: byol.learned + layer + dim,
            heads: byol.heads * count + micro * count * dim,
            loss: micro * count * count,
            largest: byol.largest.max(layer),
            instances: count * f64::from(method.instance_size).powi(2),
            ..byol
        }
    }

    /// BYOL's, with a third view; an attack keeps what a pass does, and no gradient of the parameters.
    fn of_three_sat(model: &ModelConfig, method: &MethodConfig, micro: f64) -> Self {
        Self {
            passes: if method.unaugmented_terms { 4 } else { 3 },
            views: 3.0,
            beside: ATTACK,
            ..Self::of_byol(model, method, micro)
        }
    }
}

/// What an attack holds: pixels, both ends of the range, the perturbation, its gradient, and the attacked pixels.
const ATTACK: f64 = 6.0;

/// Parameters of a projector: two linear layers, the first with a bias, and batch normalisation between them.
fn projector_parameters([input, hidden, output]: [usize; 3]) -> usize {
    hidden * (input + 3 + output)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{
        config::{Backbone, OptimConfig},
        method::{Byol, ThreeSat, UniVip},
        model::{Kind, NamedTensor, Tensors},
    };

    #[test]
    fn the_parameters_of_byol_univip_and_3sat_are_those_of_the_networks_that_are_built() {
        let model = ModelConfig {
            backbone: Backbone::ResNet18,
            width: 4,
            ..ModelConfig::default()
        };
        let method = MethodConfig {
            name: MethodName::Byol,
            projector_hidden: 24,
            projector_dim: 8,
            ..MethodConfig::default()
        };
        let optim = OptimConfig::default();
        let learner = Byol::new(&model, &method, &optim, 0, &Device::flex());
        let count = |tensors: Vec<NamedTensor>| -> f64 {
            let parameters = tensors.iter().filter(|t| t.kind == Kind::Parameter);
            parameters
                .map(|tensor| tensor.shape.iter().product::<usize>() as f64)
                .sum()
        };
        let own = MethodMemory::of_byol(&model, &method, 1.0);
        assert_eq!(own.learned, count(learner.online.named()));
        assert_eq!(own.followed, count(learner.target.named()));
        // Of an image: the backbone's vector, and of projector and predictor the hidden layer three times and the
        // output twice.
        let channels = Network::new(&model).channels() as f64;
        assert_eq!(own.heads, channels + 2.0 * (3.0 * 24.0 + 2.0 * 8.0));

        let method = MethodConfig {
            name: MethodName::UniVip,
            instances: 3,
            ..method
        };
        let learner = UniVip::new(&model, &method, &optim, 0, &Device::flex());
        let own = MethodMemory::of_univip(&model, &method, 1.0);
        assert_eq!(own.learned, count(learner.online.named()));
        assert_eq!(own.followed, count(learner.target.named()));

        let method = MethodConfig {
            name: MethodName::ThreeSat,
            ..method
        };
        let learner = ThreeSat::new(&model, &method, &optim, 0, &Device::flex());
        let own = MethodMemory::of_three_sat(&model, &method, 1.0);
        assert_eq!(own.learned, count(learner.byol.online.named()));
        assert_eq!(own.followed, count(learner.byol.target.named()));
    }

    #[test]
    fn the_loss_of_densecl_holds_its_largest_arrays_and_the_queues_both() {
        let (micro, cells) = (4.0, 49.0);
        let model = ModelConfig::default();
        let of = |in_view_weight, queue| {
            let method = MethodConfig {
                name: MethodName::DenseCl,
                in_view_weight,
                ..MethodConfig::default()
            };
            let footprint = Footprint {
                to_relu: 0,
                without: 0,
                pooled_from: 0,
                logits: 1 << 20,
            };
            MethodMemory::of(&method, &model, &footprint, micro, cells, queue)
        };
        let similarities = micro * cells * cells;
        assert_eq!(of(0.0, 0).loss, similarities);
        assert_eq!(of(1.0, 0).loss, IN_VIEW * similarities);
        // The logits of as many keys as a view has cells are as many as the similarities.
        assert_eq!(of(0.0, 49).loss, LOGITS * similarities);
        assert_eq!(of(0.0, 1 << 16).loss, LOGITS * f64::from(1 << 20));
        assert_eq!(of(0.0, 100).queues, 2.0 * 100.0 * model.dim as f64);
    }
}
