//! Reading tensors back from a device. A read is asynchronous, because a browser cannot block on a GPU.

use std::fmt::Display;

use burn::tensor::{Element, TensorData, read_sync};

use super::failure;
use crate::error::Result;

/// The values of a tensor in row-major order, converted to `E`, from its `into_data_async()`. `during` completes the
/// message "the device failed …" with what was going on, such as `during a step`.
///
/// # Errors
/// [`crate::Error::Device`] when the device failed (lost, out of memory).
pub async fn read<E: Element, F: Display>(
    data: impl Future<Output = std::result::Result<TensorData, F>>,
    during: &str,
) -> Result<Vec<E>> {
    let data = data.await.map_err(|e| failure(during, e))?;
    let data = data.try_cast_as::<E>().map_err(|e| failure(during, e))?;
    data.try_into_vec().map_err(|e| failure(during, e))
}

/// Waits until `work`, which reads from a device, is done.
///
/// # Panics
/// In a browser when `work` reads from a GPU: only the CPU's results are there without waiting.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    read_sync(work)
}
