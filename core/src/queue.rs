//! The dictionary of negatives: a first-in, first-out queue of keys (He et al. 2020).
//!
//! DenseCL keeps two of the same type, one of global keys and one of pooled dense keys.

use burn::tensor::{Device, Tensor, TensorData};

use crate::rng::{Purpose, normal_pair, stream};

/// K unit-length keys of dimension D, oldest overwritten first.
#[derive(Debug, Clone)]
pub struct Queue {
    keys: Tensor<2>,
    position: usize,
}

impl Queue {
    /// A queue filled with random unit vectors; `which` tells the queues of one run apart.
    pub fn new(len: usize, dim: usize, seed: u64, which: u64, device: &Device) -> Self {
        assert!(len > 0 && dim > 0, "an empty queue");
        let mut rng = stream(seed, Purpose::Queue, which);
        let mut values = Vec::with_capacity(len * dim);
        for _ in 0..len {
            let key: Vec<f64> = std::iter::repeat_with(|| normal_pair(&mut rng))
                .flatten()
                .take(dim)
                .collect();
            let norm = key.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
            values.extend(key.iter().map(|x| (x / norm) as f32));
        }
        let keys = Tensor::from_data(TensorData::new(values, [len, dim]), &device.clone().inner());
        Self { keys, position: 0 }
    }

    /// A queue in a given state: keys [K, D] and the place of the next key.
    ///
    /// # Panics
    /// When `position` is not below K.
    pub fn from_parts(keys: Tensor<2>, position: usize) -> Self {
        assert!(
            position < keys.dims()[0],
            "position {position} outside the queue"
        );
        Self {
            keys: keys.inner(),
            position,
        }
    }

    /// The keys [K, D], outside any gradient graph.
    pub fn keys(&self) -> Tensor<2> {
        self.keys.clone()
    }

    /// Where the next key goes.
    pub fn position(&self) -> usize {
        self.position
    }

    /// K.
    pub fn len(&self) -> usize {
        self.keys.dims()[0]
    }

    /// Never: a queue has at least one key.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Replaces the oldest keys by `keys` [B, D], B ≤ K, in order; wraps around at the end.
    pub fn enqueue(&mut self, keys: Tensor<2>) {
        let [batch, dim] = keys.dims();
        let len = self.len();
        assert!(batch <= len, "{batch} keys into a queue of {len}");
        let keys = keys.inner();
        let before_end = batch.min(len - self.position);
        let (start, end) = (self.position, self.position + before_end);
        let head = keys.clone().slice([0..before_end, 0..dim]);
        self.keys = self.keys.clone().slice_assign([start..end, 0..dim], head);
        if before_end < batch {
            let rest = batch - before_end;
            let tail = keys.slice([before_end..batch, 0..dim]);
            self.keys = self.keys.clone().slice_assign([0..rest, 0..dim], tail);
        }
        self.position = (self.position + batch) % len;
    }
}
