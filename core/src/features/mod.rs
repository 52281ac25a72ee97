//! Dense features of pictures of any size.

mod feature;
mod picture;
#[cfg(test)]
mod tests;

use burn::tensor::Tensor;

pub use self::{
    feature::Feature,
    picture::{Fit, SIDES, image_batch, network_picture, square},
};
use crate::{
    device::failure,
    error::Result,
    interpolate::{pixel_centers, resample},
    matching::{l2_normalize, similarity},
    model::{Encoder, Stages},
    ops,
};

/// Concatenates two maps of the same pictures on the grid of `fine`: [B, C + C', h, w]. Both are normalised to
/// unit length first, so that they have equal weight.
fn fused(fine: Tensor<4>, coarse: Tensor<4>) -> Tensor<4> {
    let [_, _, rows, columns] = fine.dims();
    let [_, _, coarse_rows, coarse_columns] = coarse.dims();
    let mut coarse = l2_normalize(coarse, 1);
    if [coarse_rows, coarse_columns] != [rows, columns] {
        let rows = pixel_centers(rows, coarse_rows);
        let columns = pixel_centers(columns, coarse_columns);
        // A mean of unit vectors is shorter than 1, so the interpolated vectors are normalised again.
        coarse = l2_normalize(resample(coarse, &rows, &columns), 1);
    }
    Tensor::cat(vec![l2_normalize(fine, 1), coarse], 1)
}

/// The feature maps of all stages of the backbone for a batch [B, 3, H, W]; batch normalisation uses the running
/// statistics.
///
/// `encoder` and `images` must be outside any gradient graph
/// ([`Tensors::inference`](crate::model::Tensors::inference)).
pub fn stages(encoder: &Encoder, images: Tensor<4>) -> Stages {
    let device = images.device();
    ops::together(&device, || encoder.backbone.stages(images))
}

/// The map [B, C, h, w] of `feature` from the stages that [`stages`] computed with `encoder`; vectors are not
/// normalised.
///
/// # Panics
/// When the encoder does not have the feature; check with [`Feature::ensure_in`] first.
pub fn map_of(encoder: &Encoder, stages: &Stages, feature: Feature) -> Tensor<4> {
    feature.of_backbone(stages).unwrap_or_else(|| {
        let [.., last] = &stages.0;
        let head = encoder.dense_head.as_ref();
        head.expect("checked with `ensure_in`")
            .forward(last.clone())
    })
}

/// The map [B, C, h, w] of `feature` for a batch [B, 3, H, W]; vectors are not normalised. Batch normalisation uses
/// the running statistics.
///
/// `encoder` and `images` must be outside any gradient graph
/// ([`Tensors::inference`](crate::model::Tensors::inference)).
///
/// # Panics
/// When the encoder does not have the feature; check with [`Feature::ensure_in`] first.
pub fn feature_map(encoder: &Encoder, images: Tensor<4>, feature: Feature) -> Tensor<4> {
    map_of(encoder, &stages(encoder, images), feature)
}

/// [`feature_map`] with every cell's vector of unit length.
///
/// # Panics
/// As [`feature_map`].
pub fn dense_features(encoder: &Encoder, images: Tensor<4>, feature: Feature) -> Tensor<4> {
    l2_normalize(feature_map(encoder, images, feature), 1)
}

/// Cosine similarity of every cell of `a` with every cell of `b`: maps [B, C, h, w] and [B, C, h', w'] of unit
/// length → [B, h·w, h'·w'].
pub fn map_similarity(a: Tensor<4>, b: Tensor<4>) -> Tensor<3> {
    let cells = |map: Tensor<4>| {
        let [n, c, h, w] = map.dims();
        map.reshape([n, c, h * w])
    };
    similarity(cells(a), cells(b))
}

/// Reads the values of a tensor in row-major order; asynchronous, because a browser cannot block on a GPU.
///
/// # Errors
/// [`crate::Error::Device`] when the device failed (lost, out of memory).
pub async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let failed = |e: &dyn std::fmt::Display| failure("when it was read", e);
    let data = tensor.into_data_async().await.map_err(|e| failed(&e))?;
    data.try_into_vec().map_err(|e| failed(&e))
}
