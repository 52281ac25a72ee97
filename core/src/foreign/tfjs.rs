//! Layers models of TensorFlow.js: Keras ResNets, as its converter writes them.
//!
//! A model is a folder with `model.json` (the layers, and a list of tensors) and files of raw numbers. As bytes it is
//! [`joined`] here: `model.json`, a zero byte, and the other files in the order of the list.
//!
//! Keras' ResNets differ from torchvision's in four ways, which [`LayersModel::read`] folds into the tensors so that the
//! same function is computed:
//!
//! - Convolutions have a bias b. It is subtracted from the mean of the batch normalisation behind it.
//! - The ε of a batch normalisation may differ; the difference is added to the variance.
//! - Pictures are BGR in 0 … 255 minus a mean (Keras' `preprocess_input`, mode `caffe`), where ours are RGB, normalised by
//!   ImageNet's mean and deviation. The first convolution is converted, and the difference of the means goes into the mean
//!   behind it. This is exact but for the outermost pixels, where padding is our mean instead of Keras' (0.4 of 255 levels
//!   apart).
//! - Kernels are [height, width, in, out]; ours are [out, in, height, width].
//!
//! The stride of a bottleneck is where the layers say ([`LayersModel::stride_in_1x1`]).

use std::collections::HashMap;

use serde::Deserialize;

use super::names::from_keras;
use crate::{
    augment::{IMAGENET_MEAN, IMAGENET_STD},
    error::{Error, Result},
    model::EPSILON,
    stored::Stored,
};

/// The mean that Keras' mode `caffe` subtracts, of red, green and blue.
const CAFFE_MEAN: [f64; 3] = [123.68, 116.779, 103.939];
/// Between `model.json` and the numbers.
const SEPARATOR: u8 = 0;

/// A layers model that was joined to one buffer.
#[derive(Debug)]
pub struct LayersModel<'a> {
    /// Settings of each layer by its name.
    layers: HashMap<String, LayerConfig>,
    tensors: Vec<Tensor>,
    /// The tensors' places in `tensors` by their names as [`from_keras`] translates them.
    by_our_name: HashMap<String, usize>,
    numbers: &'a [u8],
}

#[derive(Debug)]
struct Tensor {
    name: String,
    /// As in the file.
    shape: Vec<usize>,
    /// Position of its first byte.
    start: usize,
}

#[derive(Deserialize)]
struct ModelJson {
    format: Option<String>,
    #[serde(rename = "modelTopology")]
    topology: serde_json::Value,
    #[serde(rename = "weightsManifest")]
    manifest: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    paths: Vec<String>,
    weights: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct LayerConfig {
    name: String,
    strides: Option<Vec<usize>>,
    epsilon: Option<f64>,
}

fn no_model(why: &dyn std::fmt::Display) -> Error {
    Error::Format(format!(
        "not a layers model of TensorFlow.js (model.json): {why}"
    ))
}

fn parse(json: &[u8]) -> Result<ModelJson> {
    let model: ModelJson = serde_json::from_slice(json).map_err(|e| no_model(&e))?;
    match model.format.as_deref() {
        None | Some("layers-model") => Ok(model),
        Some(other) => Err(no_model(&format!(
            "its format is {other}; convert the Keras model with --output_format tfjs_layers_model"
        ))),
    }
}

/// Whether this build reads layers models. In a browser a page is given single files, of which a layers model has
/// several; the module for browsers is 15 kB smaller without the reader.
const READ: bool = cfg!(not(target_family = "wasm"));

/// Whether these bytes may be `model.json`, alone or [`joined`].
pub fn is_layers_model(bytes: &[u8]) -> bool {
    READ && bytes.trim_ascii_start().starts_with(b"{")
}

/// The names of the files of numbers in `model.json`, in their order, relative to its folder.
///
/// # Errors
/// [`Error::Format`] when it is no such file, or names a file outside its folder.
pub fn files(json: &[u8]) -> Result<Vec<String>> {
    let model = parse(json)?;
    let paths: Vec<String> = model
        .manifest
        .into_iter()
        .flat_map(|group| group.paths)
        .collect();
    let is_plain = |path: &&String| {
        let parts = path.split(['/', '\\']);
        !path.contains(':') && parts.clone().all(|part| !matches!(part, "" | "." | ".."))
    };
    match paths.iter().find(|path| !is_plain(path)) {
        Some(path) => Err(no_model(&format!(
            "it names {path:?}, which is not in its folder"
        ))),
        None => Ok(paths),
    }
}

/// The model as one buffer: `model.json`, and the files of [`files`] one after another.
pub fn joined(json: &[u8], files: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = json.to_vec();
    bytes.push(SEPARATOR);
    files.iter().for_each(|file| bytes.extend(file));
    bytes
}

impl<'a> LayersModel<'a> {
    /// Opens what [`joined`] returns.
    ///
    /// # Errors
    /// [`Error::Format`] when it is no such model, its numbers are not 32-bit floating point, or their files are not as
    /// long as the list of tensors says.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        if !READ {
            return Err(no_model(&"this build does not read layers models"));
        }
        let at = bytes.iter().position(|&byte| byte == SEPARATOR);
        let Some(at) = at else {
            return Err(no_model(
                &"it comes without its files of numbers; give the path of model.json in its folder",
            ));
        };
        let (json, numbers) = (&bytes[..at], &bytes[at + 1..]);
        let model = parse(json)?;
        let mut tensors = Vec::new();
        let mut start = 0usize;
        for entry in model.manifest.into_iter().flat_map(|group| group.weights) {
            let Entry {
                name,
                shape,
                dtype,
                quantization,
            } = entry;
            if dtype != "float32" || quantization.is_some() {
                let kind = if quantization.is_some() {
                    "quantized".to_string()
                } else {
                    dtype
                };
                return Err(Error::Format(format!(
                    "{name} is {kind}: only float32 without quantization is read"
                )));
            }
            let count = shape
                .iter()
                .try_fold(1usize, |count, &side| count.checked_mul(side));
            let end = count
                .and_then(|count| count.checked_mul(size_of::<f32>()))
                .and_then(|bytes| start.checked_add(bytes));
            let Some(end) = end.filter(|&end| end <= numbers.len()) else {
                return Err(Error::Format(format!(
                    "{name} of shape {shape:?} ends past the {} bytes of the files of numbers",
                    numbers.len()
                )));
            };
            tensors.push(Tensor { name, shape, start });
            start = end;
        }
        if start != numbers.len() {
            return Err(Error::Format(format!(
                "the files of numbers have {} bytes, but the tensors need {start}",
                numbers.len()
            )));
        }
        let mut by_our_name = HashMap::new();
        for (index, tensor) in tensors.iter().enumerate() {
            if let Some(name) = from_keras(&tensor.name) {
                by_our_name.insert(name, index);
            }
        }
        Ok(Self {
            layers: layers(&model.topology)?,
            tensors,
            by_our_name,
            numbers,
        })
    }

    /// Names as in the file, and shapes as of the tensors that [`Self::read`] returns.
    pub fn keys(&self) -> Vec<(String, Vec<usize>)> {
        let key = |tensor: &Tensor| (tensor.name.clone(), our_shape(&tensor.shape));
        self.tensors.iter().map(key).collect()
    }

    /// The tensor with this name in the file, converted as described above.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there is none.
    pub fn read(&self, name: &str) -> Result<Stored> {
        let found = self.tensors.iter().find(|tensor| tensor.name == name);
        let tensor = found.ok_or_else(|| Error::Mismatch(format!("{name} is not in the file")))?;
        let mut stored = self.plain(tensor);
        let ours = from_keras(name).unwrap_or_default();
        if ours == "conv1.weight" {
            stored = rgb(stored);
        } else if let Some(norm) = ours.strip_suffix(".running_mean") {
            let bias = self.tensor(&format!("{}.bias", convolution_before(norm)));
            if let Some(bias) = bias.map(|bias| self.plain(bias)) {
                let pairs = stored.values.iter_mut().zip(bias.values);
                pairs.for_each(|(mean, bias)| *mean -= bias);
            }
            if norm == "bn1" {
                self.shift(&mut stored);
            }
        } else if ours.ends_with(".running_var") {
            let layer = name.rsplit_once('/').map(|(layer, _)| layer);
            let epsilon = layer.and_then(|layer| self.layers.get(layer)?.epsilon);
            let more = (epsilon.unwrap_or(EPSILON) - EPSILON) as f32;
            stored.values.iter_mut().for_each(|value| *value += more);
        }
        Ok(stored)
    }

    /// Whether bottlenecks have their stride in the first 1×1 convolution and not in the 3×3; `None` where the layers
    /// do not say, because the file contains no network with bottlenecks.
    pub fn stride_in_1x1(&self) -> Option<bool> {
        let strided = |name: &str| {
            let (_, layer) = self.layers.iter().find(|(layer, _)| {
                from_keras(&format!("{layer}/kernel")).as_deref() == Some(name)
            })?;
            Some(layer.strides.as_ref()?.iter().any(|&stride| stride > 1))
        };
        let first = strided("layer2.0.conv1.weight")?;
        let middle = strided("layer2.0.conv2.weight")?;
        (first != middle).then_some(first)
    }

    fn tensor(&self, our_name: &str) -> Option<&Tensor> {
        self.by_our_name
            .get(our_name)
            .map(|&index| &self.tensors[index])
    }

    /// A tensor with the axes of torchvision's, and nothing else changed.
    fn plain(&self, tensor: &Tensor) -> Stored {
        let count: usize = tensor.shape.iter().product();
        let bytes = &self.numbers[tensor.start..][..count * size_of::<f32>()];
        let (numbers, _) = bytes.as_chunks();
        let values = numbers.iter().map(|&number| f32::from_le_bytes(number));
        let shape = our_shape(&tensor.shape);
        let values = match tensor.shape[..] {
            [height, width, input, output] => {
                let values: Vec<f32> = values.collect();
                let places = (0..output * input * height * width).map(|place| {
                    let (rest, x) = (place / width, place % width);
                    let (rest, y) = (rest / height, rest % height);
                    let (o, i) = (rest / input, rest % input);
                    ((y * width + x) * input + i) * output + o
                });
                places.map(|place| values[place]).collect()
            }
            [rows, columns] => {
                let values: Vec<f32> = values.collect();
                let places =
                    (0..rows * columns).map(|place| (place % rows) * columns + place / rows);
                places.map(|place| values[place]).collect()
            }
            _ => values.collect(),
        };
        Stored { shape, values }
    }

    /// Adds to the mean behind the first convolution what the two means of pictures differ by.
    fn shift(&self, mean: &mut Stored) {
        let Some(kernel) = self.tensor("conv1.weight").map(|tensor| self.plain(tensor)) else {
            return;
        };
        let [_, channels @ 3, height, width] = kernel.shape[..] else {
            return;
        };
        let area = height * width;
        let filters = kernel.values.chunks_exact(channels * area);
        for (mean, filter) in mean.values.iter_mut().zip(filters) {
            // The kernel's channels are blue, green, red.
            let shift = filter
                .chunks_exact(area)
                .rev()
                .enumerate()
                .map(|(color, plane)| {
                    let by = 255.0 * f64::from(IMAGENET_MEAN[color]) - CAFFE_MEAN[color];
                    plane.iter().map(|&weight| f64::from(weight)).sum::<f64>() * by
                });
            *mean -= shift.sum::<f64>() as f32;
        }
    }
}

/// [height, width, in, out] → [out, in, height, width]; [in, out] → [out, in].
fn our_shape(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [height, width, input, output] => vec![output, input, height, width],
        [input, output] => vec![output, input],
        _ => shape.to_vec(),
    }
}

/// `layer1.0.bn2` → `layer1.0.conv2`, `layer1.0.downsample.1` → `layer1.0.downsample.0`.
fn convolution_before(norm: &str) -> String {
    match norm.strip_suffix("downsample.1") {
        Some(block) => format!("{block}downsample.0"),
        None => norm.replace("bn", "conv"),
    }
}

/// The first kernel for pictures as ours are: RGB, divided by 255 and by ImageNet's deviation.
fn rgb(kernel: Stored) -> Stored {
    let [_, channels @ 3, height, width] = kernel.shape[..] else {
        // Another number of channels is refused with the shapes of the network.
        return kernel;
    };
    let area = height * width;
    let filters = kernel.values.chunks_exact(channels * area);
    let values = filters.flat_map(|filter| {
        let planes = filter.chunks_exact(area).rev().zip(IMAGENET_STD);
        planes.flat_map(|(plane, std)| plane.iter().map(move |&weight| weight * 255.0 * std))
    });
    Stored {
        values: values.collect(),
        shape: kernel.shape,
    }
}

/// The settings of the layers of a model.
fn layers(topology: &serde_json::Value) -> Result<HashMap<String, LayerConfig>> {
    let config = topology.get("model_config").unwrap_or(topology);
    let config = config.get("config").unwrap_or(config);
    let list = config.get("layers").and_then(serde_json::Value::as_array);
    let list = list.ok_or_else(|| no_model(&"it lists no layers"))?;
    let mut layers = HashMap::new();
    for layer in list.iter().filter_map(|layer| layer.get("config")) {
        let layer: LayerConfig = serde_json::from_value(layer.clone())
            .map_err(|e| no_model(&format!("a layer: {e}")))?;
        layers.insert(layer.name.clone(), layer);
    }
    Ok(layers)
}

#[cfg(test)]
mod tests;
