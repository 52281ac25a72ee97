//! Tensors of a GPU as kernels see them, and what its kernels have to know about the device.

use crate::ops::choice;
use burn::backend::{Cube, ops::FloatTensorOps, tensor::FloatTensor};
use burn::tensor::{DType, Shape, Tensor};

use cubecl::{
    ir::{ElemType, FloatKind},
    prelude::*,
};

/// A tensor in the memory of a GPU.
pub(super) type GpuTensor = FloatTensor<Cube>;

/// A GPU's properties on which the choice and the shape of kernels depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traits {
    /// Whether it is a software adapter.
    pub(super) is_software: bool,
    /// The number of threads of a plane, if planes of this device have one size and kernels may use them.
    pub(super) plane: Option<usize>,
    /// Bytes of shared memory of a workgroup.
    pub(super) shared_bytes: usize,
    /// Buffers that a kernel can use.
    pub(super) buffers: usize,
}

impl Traits {
    pub(super) fn of(client: &Client) -> Self {
        let properties = client.properties();
        let hardware = &properties.hardware;
        let name = properties.identity.name.to_lowercase();
        // Browsers report a software adapter like any other.
        let is_software = properties.identity.physical.is_none() || name.contains("swiftshader");
        let is_software = is_software && !choice::as_hardware();
        // lavapipe has planes, but CubeCL does not report them, because some of their operations are wrong there. The
        // broadcast from a fixed thread is right; the tests would show it.
        let has_planes = is_software && name.contains("llvmpipe");
        let fixed = hardware.plane_size_min == hardware.plane_size_max;
        Self {
            is_software,
            plane: (has_planes && fixed).then_some(hardware.plane_size_max as usize),
            shared_bytes: hardware.max_shared_memory_size,
            buffers: hardware.max_bindings as usize,
        }
    }
}

/// Burn's tensor as the GPU's, outside any gradient graph.
pub(super) fn primitive<const D: usize>(x: Tensor<D>) -> GpuTensor {
    x.inner()
        .try_into_primitive::<Cube>()
        .expect("`on` chose these operations by this tensor's device")
}

/// The GPU's tensor as Burn's.
pub(super) fn tensor<const D: usize>(x: GpuTensor) -> Tensor<D> {
    Tensor::from_primitive::<Cube>(x)
}

/// The shape of a tensor of this rank.
pub(super) fn dims<const D: usize>(x: &GpuTensor) -> [usize; D] {
    x.meta.shape().dims()
}

/// The number of values.
pub(super) fn count(x: &GpuTensor) -> usize {
    x.meta.shape().num_elements()
}

/// The tensor in contiguous row-major memory; copies only if it is not.
pub(super) fn contiguous(x: GpuTensor) -> GpuTensor {
    if x.is_contiguous() {
        return x;
    }
    let shape = x.meta.shape().clone();
    let flat = Cube::float_reshape(x, Shape::new([shape.num_elements()]));
    Cube::float_reshape(flat, shape)
}

/// The same values in another shape; `x` must be contiguous.
pub(super) fn reshaped<const D: usize>(x: GpuTensor, shape: [usize; D]) -> GpuTensor {
    Cube::float_reshape(x, Shape::new(shape))
}

/// The tensor in this precision.
pub(super) fn cast(x: GpuTensor, dtype: DType) -> GpuTensor {
    if x.dtype == dtype {
        return x;
    }
    Cube::float_cast(x, dtype.into())
}

/// A tensor without defined values, on the device of `like`.
pub(super) fn empty<const D: usize>(
    like: &GpuTensor,
    shape: [usize; D],
    dtype: DType,
) -> GpuTensor {
    let bytes = shape.iter().product::<usize>() * dtype.size();
    let handle = like.client.empty(bytes);
    let (client, device) = (like.client.clone(), like.device.clone());
    GpuTensor::new_contiguous(client, device, Shape::new(shape), handle, dtype)
}

/// The tensor as the argument of a kernel.
pub(super) fn argument(x: &GpuTensor) -> BufferArg {
    x.clone().into_buffer_arg()
}

/// The type of the values, for kernels.
pub(super) fn element(x: &GpuTensor) -> ElemType {
    ElemType::Float(match x.dtype {
        DType::F16 => FloatKind::F16,
        _ => FloatKind::F32,
    })
}

/// Values per vector of `channels` channels.
pub(super) fn vector(channels: usize) -> usize {
    if channels.is_multiple_of(4) { 4 } else { 1 }
}
