//! Views from the loader's bytes to the network's input on a device.
//!
//! A GPU is sent the bytes, a quarter of the numbers they stand for, and looks each up in the table by
//! which the CPU normalises: so every device has the same input, bit for bit. Division on a GPU would
//! be good to a few units in the last place. Bytes go as words of four, because WGSL knows no smaller
//! type.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::normalize::{NORMALIZED, normalize_planes};
use crate::device::is_cpu;

/// Bytes in a word.
const BYTES: usize = 4;

/// The views [B, 3, `side`, `side`] on the device, normalised by ImageNet's mean and standard
/// deviation.
///
/// # Panics
/// When `views` are not bytes of that shape.
pub fn upload(views: &[u8], side: usize, device: &Device) -> Tensor<4> {
    let pixels = side * side;
    assert!(
        pixels > 0 && views.len().is_multiple_of(3 * pixels),
        "{} bytes are no views of 3 × {side} × {side}",
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
    // The table's rows follow each other: red's 256 values, green's, blue's.
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
