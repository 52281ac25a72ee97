//! The tensors of a network by their torchvision names.
//!
//! The momentum encoder, the optimizer, checkpoints and imports visit the tensors in the same order and under
//! the same names.

use burn::tensor::{Shape, Tensor, TensorData};

pub use crate::network::Kind;

/// Receives each tensor in turn and may replace it.
pub trait TensorVisitor {
    /// Receives the tensor with this torchvision name, e.g. `layer1.0.bn1.running_mean`.
    fn tensor<const D: usize>(&mut self, name: &str, kind: Kind, tensor: &mut Tensor<D>);
}

/// A network or a part of one, as a list of named tensors in a fixed order.
pub trait Tensors: Clone {
    /// Passes each tensor to `visitor`, with `prefix` (empty, or ending in a dot) before its name.
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V);

    /// All tensors flattened to rank 1 and without a gradient graph, with their shapes.
    fn named(&self) -> Vec<NamedTensor> {
        let mut collect = Collect(Vec::new());
        // Tensors are reference-counted handles, so the clone copies no data.
        self.clone().visit("", &mut collect);
        collect.0
    }

    /// The same network for training: every parameter is a leaf of the gradient graph.
    fn trainable(mut self) -> Self {
        self.visit("", &mut Place::Leaves);
        self
    }

    /// The same network for evaluation: no tensor is in a gradient graph.
    fn inference(mut self) -> Self {
        self.visit("", &mut Place::Outside);
        self
    }

    /// The same network as constants of the gradient graph: a gradient flows through it to its input, and none is
    /// computed for its parameters. For attacks on the pixels.
    fn constant(mut self) -> Self {
        self.visit("", &mut Place::Constants);
        self
    }
}

/// [`Tensors`] as a trait that can be used as `dyn`.
pub trait AnyNetwork {
    /// As [`Tensors::named`].
    fn list(&self) -> Vec<NamedTensor>;

    /// Replaces the values of each tensor by what `values` returns for its name, called in the order of
    /// [`Self::list`]. Parameters that were leaves of a gradient graph are leaves again.
    ///
    /// # Panics
    /// When `values` returns another number of values than the tensor has.
    fn refill(&mut self, values: &mut dyn FnMut(&str) -> Vec<f32>);
}

impl<N: Tensors> AnyNetwork for N {
    fn list(&self) -> Vec<NamedTensor> {
        self.named()
    }

    fn refill(&mut self, values: &mut dyn FnMut(&str) -> Vec<f32>) {
        self.visit("", &mut Refill(values));
    }
}

struct Refill<'a>(&'a mut dyn FnMut(&str) -> Vec<f32>);

impl TensorVisitor for Refill<'_> {
    fn tensor<const D: usize>(&mut self, name: &str, _: Kind, tensor: &mut Tensor<D>) {
        let tracked = tensor.is_require_grad();
        let device = tensor.device().inner();
        let values = TensorData::new((self.0)(name), tensor.shape());
        let filled = Tensor::from_data(values, &device);
        *tensor = if tracked {
            filled.autodiff().require_grad()
        } else {
            filled
        };
    }
}

/// The place of a network's parameters in the gradient graph. Its running statistics are always outside.
enum Place {
    Leaves,
    Constants,
    Outside,
}

impl TensorVisitor for Place {
    fn tensor<const D: usize>(&mut self, _: &str, kind: Kind, tensor: &mut Tensor<D>) {
        let inner = tensor.clone().inner();
        *tensor = match (kind, &self) {
            (Kind::Parameter, Self::Leaves) => inner.autodiff().require_grad(),
            (Kind::Parameter, Self::Constants) => inner.autodiff(),
            _ => inner,
        };
    }
}

/// Moves the parameters out of a network, flattened and outside any gradient graph, with their shapes. The network keeps
/// placeholders, which [`put_parameters`] must replace. As the only owner of a tensor, an operation can then change it in
/// place.
pub(crate) fn take_parameters<N: Tensors>(network: &mut N) -> (Vec<Tensor<1>>, Vec<Shape>) {
    let mut take = Take(Vec::new(), Vec::new());
    network.visit("", &mut take);
    (take.0, take.1)
}

/// Puts parameters in the order of [`take_parameters`] back, with their shapes: as leaves of a gradient graph if they are
/// to be `trainable`, otherwise outside any.
pub(crate) fn put_parameters<N: Tensors>(
    network: &mut N,
    parameters: impl Iterator<Item = (Tensor<1>, Shape)>,
    trainable: bool,
) {
    network.visit("", &mut Put(parameters, trainable));
}

struct Take(Vec<Tensor<1>>, Vec<Shape>);

impl TensorVisitor for Take {
    fn tensor<const D: usize>(&mut self, _: &str, kind: Kind, tensor: &mut Tensor<D>) {
        if kind == Kind::Parameter {
            let placeholder = Tensor::empty([1; D], &tensor.device());
            let taken = std::mem::replace(tensor, placeholder);
            self.1.push(taken.shape());
            self.0.push(taken.inner().flatten(0, D - 1));
        }
    }
}

struct Put<I>(I, bool);

impl<I: Iterator<Item = (Tensor<1>, Shape)>> TensorVisitor for Put<I> {
    fn tensor<const D: usize>(&mut self, _: &str, kind: Kind, tensor: &mut Tensor<D>) {
        if kind == Kind::Parameter {
            let (values, shape) = self.0.next().expect("as many as were taken");
            let values = values.reshape(shape);
            *tensor = if self.1 {
                values.autodiff().require_grad()
            } else {
                values
            };
        }
    }
}

/// One tensor of a network.
#[derive(Debug, Clone)]
pub struct NamedTensor {
    /// Its torchvision name.
    pub name: String,
    /// Whether it is a parameter or a buffer.
    pub kind: Kind,
    /// Its shape in the network.
    pub shape: Vec<usize>,
    /// Its values, flattened, outside any gradient graph.
    pub values: Tensor<1>,
}

struct Collect(Vec<NamedTensor>);

impl TensorVisitor for Collect {
    fn tensor<const D: usize>(&mut self, name: &str, kind: Kind, tensor: &mut Tensor<D>) {
        self.0.push(NamedTensor {
            name: name.to_string(),
            kind,
            shape: tensor.dims().to_vec(),
            values: tensor.clone().inner().flatten(0, D - 1),
        });
    }
}
