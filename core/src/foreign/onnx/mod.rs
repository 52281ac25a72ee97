//! Writing ONNX: the graph of the backbone and optionally its heads, for any batch size and picture size.
//!
//! Tensors keep their names and values. Batch normalisation is not folded into the convolutions, so that the
//! tensors of the file are those of the network; ONNX runtimes fold it when they load the file.

mod proto;
#[cfg(test)]
mod tests;

use prost::Message;

use self::proto::{
    Attribute, Dimension, Graph, Initializer, Model, Node, OperatorSet, Property, Shape, Side,
    TensorType, Type, ValueInfo,
};
use super::Source;
use crate::{
    augment::{IMAGENET_MEAN, IMAGENET_STD},
    error::{Error, Result},
    model::EPSILON,
    network::{Block, Convolution, DENSE_HEAD, GLOBAL_HEAD, ModelConfig, Network},
};

/// Version of the operator set (2020), which all current runtimes support.
const OPSET: i64 = 13;
/// Version of the file format that was released with this operator set.
const IR_VERSION: i64 = 7;
/// `TensorProto.FLOAT`.
const FLOAT: i32 = 1;
/// Values of `AttributeProto.AttributeType`.
const KIND_FLOAT: i32 = 1;
const KIND_INT: i32 = 2;
const KIND_INTS: i32 = 7;

const INPUT: &str = "images";
const FEATURES: &str = "features";
const DENSE: &str = "dense";
const GLOBAL: &str = "global";

/// The bytes of the file: the backbone at the output stride of its model, and if `heads` also the dense head
/// and, if there is one, the global head.
///
/// # Errors
/// [`Error::Mismatch`] when `heads` is true and there is no dense head, or a tensor is missing.
pub fn write(source: &Source, heads: bool) -> Result<Vec<u8>> {
    Ok(describe(source, heads)?.encode_to_vec())
}

fn describe(source: &Source, heads: bool) -> Result<Model> {
    if heads && !source.has(DENSE_HEAD) {
        return Err(Error::Mismatch(
            "the weights have no dense head; leave it out to export the backbone alone".to_string(),
        ));
    }
    let model = source.model;
    let mut writer = Writer {
        source,
        graph: Graph {
            name: format!("densecl_{}", model.backbone.name()),
            ..Graph::default()
        },
    };
    let channels = writer.backbone(model)?;
    let cells = |channels| {
        let sides = [
            named("batch"),
            fixed(channels),
            named("rows"),
            named("columns"),
        ];
        sides.to_vec()
    };
    let what = "the last stage's feature map";
    let mut output = vec![value(FEATURES, cells(channels), what)];
    if heads {
        writer.dense_head()?;
        let what = "the dense head at every cell of `features`, not normalised";
        output.push(value(DENSE, cells(model.dim), what));
    }
    if heads && source.has(GLOBAL_HEAD) {
        writer.global_head()?;
        let sides = vec![named("batch"), fixed(model.dim)];
        output.push(value(GLOBAL, sides, "the global head, not normalised"));
    }
    let sides = vec![named("batch"), fixed(3), named("height"), named("width")];
    let what = "RGB in 0 to 1, minus `mean`, over `std` (see the metadata)";
    writer.graph.input = vec![value(INPUT, sides, what)];
    writer.graph.output = output;
    Ok(Model {
        ir_version: IR_VERSION,
        producer_name: "densecl".to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        doc_string: format!(
            "{} of width {}, one cell per {} pixels, sides rounded up",
            model.backbone.name(),
            model.width,
            model.output_stride
        ),
        graph: Some(writer.graph),
        opset_import: vec![OperatorSet {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: properties(source),
    })
}

/// The metadata: the normalisation of the input, the output stride, and the origin of the network.
fn properties(source: &Source) -> Vec<Property> {
    let Source {
        model,
        method,
        steps,
        data,
        ..
    } = source;
    let three = |values: [f32; 3]| values.map(|value| value.to_string()).join(", ");
    let pairs = [
        ("mean", three(IMAGENET_MEAN)),
        ("std", three(IMAGENET_STD)),
        ("output_stride", model.output_stride.to_string()),
        ("backbone", model.backbone.name().to_string()),
        ("width", model.width.to_string()),
        ("method", (*method).to_string()),
        ("steps", steps.to_string()),
        ("data", (*data).to_string()),
    ];
    let property = |(key, value): (&str, String)| Property {
        key: key.to_string(),
        value,
    };
    pairs.into_iter().map(property).collect()
}

/// Builds a graph, and copies the tensors that it uses from `source`.
struct Writer<'a> {
    source: &'a Source<'a>,
    graph: Graph,
}

impl Writer<'_> {
    /// Adds the backbone, `images` → `features`. Returns the channels of `features`.
    fn backbone(&mut self, model: &ModelConfig) -> Result<usize> {
        let network = Network::new(model);
        let stem = self.conv_norm(INPUT, &network.stem)?;
        let mut x = self.node("Relu", "relu", &[&stem], Vec::new());
        if let Some(pool) = network.pool {
            let attributes = vec![
                ints("kernel_shape", &[pool.size; 2]),
                ints("strides", &[pool.stride; 2]),
                ints("pads", &[(pool.size - 1) / 2; 4]),
            ];
            x = self.node("MaxPool", "maxpool", &[&x], attributes);
        }
        for block in network.blocks() {
            x = self.block(&x, block)?;
        }
        self.rename_last(FEATURES);
        Ok(network.channels())
    }

    fn block(&mut self, x: &str, block: &Block) -> Result<String> {
        let Block {
            name,
            convolutions,
            shortcut,
        } = block;
        let mut out = x.to_string();
        for (number, convolution) in (1..).zip(convolutions) {
            out = self.conv_norm(&out, convolution)?;
            if number < convolutions.len() {
                out = self.node("Relu", &format!("{name}.relu{number}"), &[&out], Vec::new());
            }
        }
        let shortcut = match shortcut {
            Some(shortcut) => self.conv_norm(x, shortcut)?,
            None => x.to_string(),
        };
        let sum = self.node(
            "Add",
            &format!("{name}.add"),
            &[&out, &shortcut],
            Vec::new(),
        );
        Ok(self.node("Relu", &format!("{name}.relu"), &[&sum], Vec::new()))
    }

    /// Adds a convolution of the backbone and its batch normalisation.
    fn conv_norm(&mut self, x: &str, convolution: &Convolution) -> Result<String> {
        let kernel = Kernel {
            size: convolution.size,
            stride: convolution.stride,
            dilation: convolution.dilation,
        };
        let out = self.conv(x, &convolution.name, kernel, None)?;
        self.norm(&out, &convolution.norm)
    }

    /// Adds the dense head, `features` → `dense`, without the pooling to a grid that training may use: the
    /// output has one vector for each cell of `features`.
    fn dense_head(&mut self) -> Result<()> {
        let point = Kernel {
            size: 1,
            stride: 1,
            dilation: 1,
        };
        let bias = |layer| Some(format!("dense_head.{layer}.bias"));
        let x = self.conv(FEATURES, "dense_head.conv1", point, bias("conv1"))?;
        let x = self.node("Relu", "dense_head.relu", &[&x], Vec::new());
        self.conv(&x, "dense_head.conv2", point, bias("conv2"))?;
        self.rename_last(DENSE);
        Ok(())
    }

    /// Adds the global head, `features` → `global`.
    fn global_head(&mut self) -> Result<()> {
        let x = self.node(
            "GlobalAveragePool",
            "global_head.pool",
            &[FEATURES],
            Vec::new(),
        );
        let x = self.node(
            "Flatten",
            "global_head.flatten",
            &[&x],
            vec![int("axis", 1)],
        );
        let x = self.linear(&x, "global_head.fc1")?;
        let x = self.node("Relu", "global_head.relu", &[&x], Vec::new());
        self.linear(&x, "global_head.fc2")?;
        self.rename_last(GLOBAL);
        Ok(())
    }

    fn linear(&mut self, x: &str, name: &str) -> Result<String> {
        let [weight, bias] = ["weight", "bias"].map(|leaf| format!("{name}.{leaf}"));
        self.take(&weight)?;
        self.take(&bias)?;
        let transposed = vec![int("transB", 1)];
        Ok(self.node("Gemm", name, &[x, &weight, &bias], transposed))
    }

    /// Adds a convolution, padded by dilation·(k−1)/2 on each side.
    fn conv(
        &mut self,
        x: &str,
        name: &str,
        kernel: Kernel,
        bias: Option<String>,
    ) -> Result<String> {
        let Kernel {
            size,
            stride,
            dilation,
        } = kernel;
        let weight = format!("{name}.weight");
        self.take(&weight)?;
        let mut inputs = vec![x, &weight];
        if let Some(bias) = &bias {
            self.take(bias)?;
            inputs.push(bias);
        }
        let attributes = vec![
            ints("kernel_shape", &[size; 2]),
            ints("strides", &[stride; 2]),
            ints("dilations", &[dilation; 2]),
            ints("pads", &[dilation * (size - 1) / 2; 4]),
        ];
        Ok(self.node("Conv", name, &inputs, attributes))
    }

    /// Adds a batch normalisation by the running statistics.
    fn norm(&mut self, x: &str, name: &str) -> Result<String> {
        let leaves = ["weight", "bias", "running_mean", "running_var"];
        let tensors = leaves.map(|leaf| format!("{name}.{leaf}"));
        for tensor in &tensors {
            self.take(tensor)?;
        }
        let [weight, bias, mean, var] = &tensors;
        let epsilon = vec![Attribute {
            name: "epsilon".to_string(),
            f: EPSILON as f32,
            kind: KIND_FLOAT,
            ..Attribute::default()
        }];
        let inputs = [x, weight, bias, mean, var];
        Ok(self.node("BatchNormalization", name, &inputs, epsilon))
    }

    /// Adds a node, whose output has the name of the node. Returns this name.
    fn node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<Attribute>,
    ) -> String {
        self.graph.node.push(Node {
            input: inputs.iter().map(|input| (*input).to_string()).collect(),
            output: vec![name.to_string()],
            name: name.to_string(),
            op_type: operator.to_string(),
            attribute,
        });
        name.to_string()
    }

    /// Renames the output of the last node, to make it an output of the graph.
    fn rename_last(&mut self, name: &str) {
        if let Some(node) = self.graph.node.last_mut() {
            node.output = vec![name.to_string()];
        }
    }

    /// Copies the tensor of this name into the graph.
    fn take(&mut self, name: &str) -> Result<()> {
        let Some(stored) = self.source.tensors.get(name) else {
            return Err(Error::Mismatch(format!("the weights lack {name}")));
        };
        self.graph.initializer.push(Initializer {
            dims: stored.shape.iter().map(|&side| side as i64).collect(),
            data_type: FLOAT,
            name: name.to_string(),
            raw_data: stored.le_bytes(),
        });
        Ok(())
    }
}

/// The sizes of a convolution with a square kernel.
#[derive(Debug, Clone, Copy)]
struct Kernel {
    size: usize,
    stride: usize,
    dilation: usize,
}

fn int(name: &str, value: i64) -> Attribute {
    Attribute {
        name: name.to_string(),
        i: value,
        kind: KIND_INT,
        ..Attribute::default()
    }
}

fn ints(name: &str, values: &[usize]) -> Attribute {
    Attribute {
        name: name.to_string(),
        ints: values.iter().map(|&value| value as i64).collect(),
        kind: KIND_INTS,
        ..Attribute::default()
    }
}

fn fixed(side: usize) -> Side {
    Side::Fixed(side as i64)
}

fn named(name: &str) -> Side {
    Side::Dynamic(name.to_string())
}

/// The declaration of an f32 input or output.
fn value(name: &str, sides: Vec<Side>, what: &str) -> ValueInfo {
    let dim = sides.into_iter().map(|side| Dimension { side: Some(side) });
    ValueInfo {
        name: name.to_string(),
        kind: Some(Type {
            tensor: Some(TensorType {
                elem_type: FLOAT,
                shape: Some(Shape { dim: dim.collect() }),
            }),
        }),
        doc_string: what.to_string(),
    }
}
