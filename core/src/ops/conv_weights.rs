//! The weights of a convolution, and what a device has made of them for its kernels.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use burn::tensor::Tensor;

/// Weights [out, in, k, k].
///
/// Kernels may want them in another form. It is made when it is first asked for and kept until the weights
/// change: for all pictures in inference, for one step in training. Copies share it.
#[derive(Debug, Clone)]
pub struct ConvWeights {
    tensor: Tensor<4>,
    prepared: Arc<OnceLock<Arc<dyn Any + Send + Sync>>>,
}

impl ConvWeights {
    /// Of a tensor [out, in, k, k].
    pub fn new(tensor: Tensor<4>) -> Self {
        Self {
            tensor,
            prepared: Arc::default(),
        }
    }

    /// [out, in, k, k].
    pub fn tensor(&self) -> &Tensor<4> {
        &self.tensor
    }

    /// The same, to be replaced: what was made of it is forgotten.
    pub fn change(&mut self) -> &mut Tensor<4> {
        self.prepared = Arc::default();
        &mut self.tensor
    }

    #[allow(dead_code, reason = "only devices with kernels of ours ask for it")]
    /// What `make` makes of the tensor, made once. A network lives on one device and moves over its maps in one
    /// way, so there is one form.
    pub(super) fn prepared<T: Any + Send + Sync>(
        &self,
        make: impl FnOnce(&Tensor<4>) -> T,
    ) -> Arc<T> {
        let made = self.prepared.get_or_init(|| Arc::new(make(&self.tensor)));
        Arc::clone(made)
            .downcast()
            .expect("one device has one form of weights")
    }
}
