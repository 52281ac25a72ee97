//! The queue of negatives: a first-in, first-out dictionary of keys (MoCo, He et al. 2020).
//!
//! DenseCL keeps two of the same type, one of global keys and one of pooled dense keys.

use burn::tensor::{Device, Tensor, TensorData};

use crate::rng::{Purpose, normal_pair, stream};

/// K keys of dimension D and unit length. New keys overwrite the oldest.
#[derive(Debug, Clone)]
pub struct Queue {
    keys: Tensor<2>,
    position: usize,
}

impl Queue {
    /// A queue of `len` random unit vectors of dimension `dim`. Queues of one run have different numbers `which`,
    /// so that their vectors differ.
    ///
    /// # Panics
    /// When `len` or `dim` is 0.
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

    /// A queue in a given state: the keys [K, D] and the row that the next key overwrites.
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

    /// The row that the next key overwrites.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The number of keys, K.
    pub fn len(&self) -> usize {
        self.keys.dims()[0]
    }

    /// Always false, because a queue has at least one key.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Overwrites the oldest keys by `keys` [B, D] in order, wrapping around at the end.
    ///
    /// # Panics
    /// When B > K.
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
