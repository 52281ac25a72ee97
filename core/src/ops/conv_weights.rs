//! The weights of a convolution, with the form that the kernels of a device have made of them.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use burn::tensor::Tensor;

/// Weights [out, in, k, k].
///
/// Kernels may need them in another form, such as a packed one. It is made at the first use and kept until the
/// weights change: for all pictures in inference, for one step in training. Clones share it.
#[derive(Debug, Clone)]
pub struct ConvWeights {
    tensor: Tensor<4>,
    prepared: Arc<[OnceLock<Made>; 2]>,
}

type Made = Arc<dyn Any + Send + Sync>;

impl ConvWeights {
    /// The weights of a tensor [out, in, k, k].
    pub fn new(tensor: Tensor<4>) -> Self {
        Self {
            tensor,
            prepared: Arc::default(),
        }
    }

    /// The tensor [out, in, k, k].
    pub fn tensor(&self) -> &Tensor<4> {
        &self.tensor
    }

    /// The tensor for modification. The form made for kernels is dropped.
    pub fn change(&mut self) -> &mut Tensor<4> {
        self.prepared = Arc::default();
        &mut self.tensor
    }

    #[allow(dead_code, reason = "only devices with kernels of ours ask for it")]
    /// The form that `make` makes of the tensor; later calls return the first result, because a convolution stays on one
    /// device and always has the same stride and dilation. `kind`, 0 or 1, tells two forms of a device apart.
    pub(super) fn prepared<T: Any + Send + Sync>(
        &self,
        kind: usize,
        make: impl FnOnce(&Tensor<4>) -> T,
    ) -> Arc<T> {
        let kept = &self.prepared[kind];
        let made = kept.get_or_init(|| Arc::new(make(&self.tensor)));
        Arc::clone(made).downcast().expect("each kind has one type")
    }

    /// The form that was made for kernels, if there is one.
    #[cfg(test)]
    pub(super) fn made(&self) -> Option<Made> {
        self.prepared.iter().find_map(OnceLock::get).cloned()
    }
}
