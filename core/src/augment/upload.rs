//! Uploads views, which the loader makes as bytes, to a device as the network's input.
//!
//! A GPU receives bytes, because they have a quarter of the size of `f32` values. They are normalised on
//! the GPU by a look-up in the table that the CPU uses. Every device therefore has the same input, bit for
//! bit; a division on a GPU would be exact only to a few units in the last place. Four bytes are packed
//! into one word, because WGSL has no smaller type.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::normalize::{NORMALIZED, normalize_planes};
use crate::device::is_cpu;

/// Bytes in a word.
const BYTES: usize = 4;

/// The views [B, 3, `side`, `side`] on the device, normalised by ImageNet's mean and standard
/// deviation.
///
/// # Panics
/// When the length of `views` is no multiple of 3 · `side`².
pub fn upload(views: &[u8], side: usize, device: &Device) -> Tensor<4> {
    let pixels = side * side;
    assert!(
        pixels > 0 && views.len().is_multiple_of(3 * pixels),
        "{} bytes are not a whole number of views of 3 × {side} × {side} bytes",
        views.len()
    );
    let shape = [views.len() / (3 * pixels), 3, side, side];
    if is_cpu(device) || !pixels.is_multiple_of(BYTES) {
        let mut values = vec![0.0; views.len()];
        normalize_planes(views, pixels, &mut values);
        return Tensor::from_data(TensorData::new(values, shape), device);
    }
    let words = views.as_chunks::<BYTES>().0.iter();
    let words: Vec<i32> = words.map(|bytes| i32::from_le_bytes(*bytes)).collect();
    let words = TensorData::new(words, [shape[0], 3, pixels / BYTES, 1]);
    let words = Tensor::<4, Int>::from_data(words, device);
    // The flattened table holds 256 values for each of red, green and blue, from these indices on.
    let rows = TensorData::new(vec![0, 256, 512], [1, 3, 1, 1]);
    let rows = Tensor::<4, Int>::from_data(rows, device);
    let bytes = (0..BYTES).map(|byte| {
        let shifted = words.clone().bitwise_right_shift_scalar(8 * byte as i32);
        shifted.bitwise_and_scalar(255) + rows.clone()
    });
    let indices: Tensor<1, Int> = Tensor::cat(bytes.collect(), 3).flatten(0, 3);
    let table = Tensor::<1>::from_data(TensorData::from(NORMALIZED.as_flattened()), device);
    table.select(0, indices).reshape(shape)
}
