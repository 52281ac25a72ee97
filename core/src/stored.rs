//! The numbers of a tensor on its way between a file and a device.

use half::f16;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row major.
    pub values: Vec<f32>,
}

impl Stored {
    /// The values as bytes, little-endian.
    pub fn le_bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Whether half precision loses nothing but digits: a kernel, and every value within f16's range.
    /// Batch normalisations and biases are few, and a variance below 6e-8 would become 0.
    pub(crate) fn fits_half(&self) -> bool {
        let limit = f32::from(f16::MAX);
        self.shape.len() > 1 && self.values.iter().all(|value| value.abs() <= limit)
    }
}
