//! A tensor in host memory, between a file and a device.

use half::f16;

/// A tensor in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values in row-major order.
    pub values: Vec<f32>,
}

impl Stored {
    /// The values as bytes, little-endian.
    pub fn le_bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Whether the tensor may be stored as f16: it has at least two dimensions, and every value is within f16's
    /// range. Tensors of batch normalisations and biases stay f32: they are small, and a variance below 6e-8
    /// would become 0.
    pub(crate) fn fits_half(&self) -> bool {
        let limit = f32::from(f16::MAX);
        self.shape.len() > 1 && self.values.iter().all(|value| value.abs() <= limit)
    }
}
