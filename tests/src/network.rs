//! Tensors and networks filled by the formula, and their values as flat vectors.

use std::collections::BTreeMap;

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use densecl::model::{Kind, TensorVisitor, Tensors};

use crate::golden::{formula, parameter};

/// The CPU device, without autodiff; all tests but those of other backends use it.
pub fn cpu() -> Device {
    Device::flex()
}

/// A tensor of these row-major values, without autodiff.
///
/// # Panics
/// If the number of values does not fit the shape.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The formula's input `name` on the CPU.
pub fn input<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    tensor(formula(name, shape.iter().product()), shape, &cpu())
}

/// The values of a tensor, row major.
pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    let data = tensor.clone().inner().try_into_vec_as::<f32>();
    data.expect("the device answers")
}

/// The values of every tensor of a network by name.
pub fn named_values<M: Tensors>(network: &M) -> BTreeMap<String, Vec<f32>> {
    let tensors = network.named().into_iter();
    tensors.map(|t| (t.name, values(&t.values))).collect()
}

/// Whether a network's parameters are leaves of a gradient graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradient {
    /// Parameters are leaves.
    Tracked,
    /// Nothing is part of a gradient graph.
    None,
}

/// Sets every parameter and buffer of `network` to the formula's values for `prefix` + its name.
pub fn fill<M: Tensors>(network: &mut M, prefix: &str, gradient: Gradient) {
    set(network, gradient, |name, shape| {
        parameter(&format!("{prefix}{name}"), shape)
    });
}

/// Sets every tensor of `network` to the values that `value` returns for its name and shape.
pub fn set<M: Tensors>(
    network: &mut M,
    gradient: Gradient,
    value: impl FnMut(&str, &[usize]) -> Vec<f32>,
) {
    network.visit("", &mut Set { gradient, value });
}

struct Set<F> {
    gradient: Gradient,
    value: F,
}

impl<F: FnMut(&str, &[usize]) -> Vec<f32>> TensorVisitor for Set<F> {
    fn tensor<const D: usize>(&mut self, name: &str, kind: Kind, slot: &mut Tensor<D>) {
        let shape = slot.dims();
        let new = tensor((self.value)(name, &shape), shape, &slot.device().inner());
        *slot = match (kind, self.gradient) {
            (Kind::Parameter, Gradient::Tracked) => new.autodiff().require_grad(),
            _ => new,
        };
    }
}

/// The gradients of `network`'s parameters after a backward pass, by name; parameters without a gradient are
/// left out.
pub fn gradients<M: Tensors>(network: &M, gradients: &Gradients) -> BTreeMap<String, Vec<f32>> {
    let mut collect = Collect {
        gradients,
        found: BTreeMap::new(),
    };
    // Cloning copies handles, so the clone's tensors are the same leaves and have the same gradients.
    network.clone().visit("", &mut collect);
    collect.found
}

struct Collect<'a> {
    gradients: &'a Gradients,
    found: BTreeMap<String, Vec<f32>>,
}

impl TensorVisitor for Collect<'_> {
    fn tensor<const D: usize>(&mut self, name: &str, kind: Kind, tensor: &mut Tensor<D>) {
        if kind == Kind::Parameter
            && let Some(gradient) = tensor.grad(self.gradients)
        {
            self.found.insert(name.to_owned(), values(&gradient));
        }
    }
}
