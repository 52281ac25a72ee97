//! Operations on the parameters of a network: the optimizer's step, the momentum encoder, norms.
//!
//! Each is defined for one tensor and for all tensors of a network. On the CPU the second is a loop over the first. On a
//! GPU a network has hundreds of small tensors, and a launch for each would cost more than the arithmetic, so all tensors
//! are kept in one piece of memory and changed by one kernel.

use burn::tensor::Tensor;

/// Settings of one SGD step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdSettings {
    /// Learning rate.
    pub learning_rate: f64,
    /// Momentum μ.
    pub momentum: f64,
    /// Weight decay w.
    pub weight_decay: f64,
}

/// Tensors of parameters, flattened and outside any gradient graph.
pub type Flat = Vec<Tensor<1>>;

/// Parameters after an SGD step.
#[derive(Debug, Clone)]
pub struct Moved {
    /// θ.
    pub theta: Flat,
    /// v.
    pub velocity: Flat,
    /// Σ g² over all gradients, one element; `None` if there is none, or it was not asked for.
    pub squares: Option<Tensor<1>>,
}

/// Operations on parameters, velocities and gradients. All tensors of a call are on one device and in f32.
pub trait Updates: Sync {
    /// One SGD step for parameters θ with velocity v and gradient g: v ← μ·v + (g + w·θ), then θ ← θ − lr·v.
    /// Returns (θ, v), outside any gradient graph. A velocity or gradient of `None` counts as 0.
    fn sgd(
        &self,
        theta: Tensor<1>,
        velocity: Option<Tensor<1>>,
        gradient: Option<Tensor<1>>,
        settings: SgdSettings,
    ) -> (Tensor<1>, Tensor<1>);

    /// The update of the momentum encoder: m·key + (1−m)·query, outside any gradient graph.
    fn follow(&self, key: Tensor<1>, query: Tensor<1>, m: f64) -> Tensor<1>;

    /// Σ x² as a tensor of one element.
    fn sum_of_squares(&self, x: Tensor<1>) -> Tensor<1>;

    /// The same tensors, where the device's kernels for all tensors of a network want them.
    fn gather(&self, tensors: Flat) -> Flat {
        tensors
    }

    /// [`sgd`](Self::sgd) for each parameter. With `wants_squares` also the squared norm of all gradients.
    fn sgd_all(
        &self,
        theta: Flat,
        velocity: Vec<Option<Tensor<1>>>,
        gradient: Vec<Option<Tensor<1>>>,
        settings: SgdSettings,
        wants_squares: bool,
    ) -> Moved {
        let squares = wants_squares
            .then(|| self.sum_of_squares_all(gradient.iter().flatten().cloned().collect()))
            .flatten();
        let each = theta.into_iter().zip(velocity).zip(gradient);
        let each =
            each.map(|((theta, velocity), gradient)| self.sgd(theta, velocity, gradient, settings));
        let (theta, velocity) = each.unzip();
        Moved {
            theta,
            velocity,
            squares,
        }
    }

    /// [`follow`](Self::follow) for each parameter.
    fn follow_all(&self, keys: Flat, queries: Flat, m: f64) -> Flat {
        let pairs = keys.into_iter().zip(queries);
        pairs
            .map(|(key, query)| self.follow(key, query, m))
            .collect()
    }

    /// Σ x² over all tensors, one element; `None` if there is none.
    fn sum_of_squares_all(&self, tensors: Flat) -> Option<Tensor<1>> {
        let squares = tensors.into_iter().map(|x| self.sum_of_squares(x));
        squares.reduce(|a, b| a + b)
    }

    /// a + b for each pair.
    fn add_all(&self, a: Flat, b: Flat) -> Flat {
        a.into_iter().zip(b).map(|(a, b)| a + b).collect()
    }

    /// Each tensor times `factor`, which has one element.
    fn scale_all(&self, tensors: Flat, factor: &Tensor<1>) -> Flat {
        let scaled = tensors.into_iter().map(|x| x * factor.clone());
        scaled.collect()
    }
}
