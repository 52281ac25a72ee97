//! Networks, and the features that they compute.

use std::cell::RefCell;
use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use densecl::config::{Backbone, ModelConfig};
use densecl::features::{Feature, dense_features, image_batch, read};
use densecl::model::{Encoder, Kind, Tensors};
use densecl::weights::{self, WeightsInfo};
use serde::Serialize;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{failure::Failure, picture::Picture, session::Session};

/// The network of `configs/photos_r18.toml`, that of the shipped weights. "Untrained" stands for this network
/// with random weights.
fn photos() -> ModelConfig {
    ModelConfig {
        backbone: Backbone::ResNet18,
        output_stride: 16,
        ..ModelConfig::default()
    }
}

/// The name of the feature by which pictures are compared by default.
#[wasm_bindgen(js_name = defaultFeature)]
pub fn default_feature() -> String {
    Feature::MATCHING.name().to_string()
}

fn compared(name: &str) -> Result<Feature, Failure> {
    let mut features = Feature::COMPARED.into_iter();
    features
        .find(|feature| feature.name() == name)
        .ok_or_else(|| {
            let names = Feature::COMPARED.map(Feature::name).join(", ");
            Failure::request(format!("no feature is called {name:?}: there are {names}"))
        })
}

#[derive(Debug, Clone)]
enum Source {
    File(Vec<u8>),
    Untrained { model: ModelConfig, seed: u64 },
}

/// The facts about a network that JavaScript receives as JSON.
#[derive(Debug, Serialize)]
struct Facts<'a> {
    backbone: &'a str,
    width: usize,
    output_stride: usize,
    dim: usize,
    steps: u64,
    data: &'a str,
    method: &'a str,
    parameters: usize,
}

/// Weights on the session's device. A network is built for each output stride at its first use.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Weights {
    source: Source,
    info: WeightsInfo,
    parameters: usize,
    device: Device,
    encoders: RefCell<BTreeMap<usize, Encoder>>,
}

impl Weights {
    fn new(source: Source, encoder: Encoder, info: WeightsInfo, device: &Device) -> Self {
        let learned = encoder.named();
        let learned = learned.iter().filter(|t| t.kind == Kind::Parameter);
        Self {
            parameters: learned.map(|t| t.shape.iter().product::<usize>()).sum(),
            encoders: RefCell::new(BTreeMap::from([(info.model.output_stride, encoder)])),
            source,
            info,
            device: device.clone(),
        }
    }

    fn encoder(&self, stride: usize) -> Result<Encoder, Failure> {
        if let Some(encoder) = self.encoders.borrow().get(&stride) {
            return Ok(encoder.clone());
        }
        let encoder = match &self.source {
            Source::File(bytes) => weights::load_with_stride(bytes, Some(stride), &self.device)?.0,
            Source::Untrained { model, seed } => {
                let model = ModelConfig {
                    output_stride: stride,
                    ..model.clone()
                };
                model.validate()?;
                Encoder::new(&model, *seed, &self.device)
            }
        };
        self.encoders.borrow_mut().insert(stride, encoder.clone());
        Ok(encoder)
    }
}

#[wasm_bindgen]
impl Weights {
    /// Loads weights from the bytes of a file that `densecl` wrote. The content is validated, because the file
    /// may come from anywhere.
    ///
    /// # Errors
    /// `unsupported-weights` or `wrong-weights`, see `densecl::weights::load`.
    pub fn load(session: &Session, bytes: Vec<u8>) -> Result<Weights, Failure> {
        let device = session.device();
        let (encoder, info) = weights::load(&bytes, device)?;
        Ok(Self::new(Source::File(bytes), encoder, info, device))
    }

    /// The network of the shipped weights, with random weights that `seed` determines.
    pub fn untrained(session: &Session, seed: u32) -> Weights {
        let (device, seed) = (session.device(), u64::from(seed));
        let model = photos();
        let info = WeightsInfo {
            format_version: weights::FORMAT_VERSION,
            method: "untrained".to_string(),
            model: model.clone(),
            steps: 0,
            data: String::new(),
            config: String::new(),
        };
        let encoder = Encoder::new(&model, seed, device);
        Self::new(Source::Untrained { model, seed }, encoder, info, device)
    }

    /// The facts about the network and its training, as JSON.
    ///
    /// # Errors
    /// `worker`, which does not occur in practice, because these fields can always be written as JSON.
    pub fn info(&self) -> Result<String, Failure> {
        let facts = Facts {
            backbone: self.info.model.backbone.name(),
            width: self.info.model.width,
            output_stride: self.info.model.output_stride,
            dim: self.info.model.dim,
            steps: self.info.steps,
            data: &self.info.data,
            method: &self.info.method,
            parameters: self.parameters,
        };
        serde_json::to_string(&facts).map_err(|e| Failure::request(e.to_string()))
    }

    /// Pixels per cell of a feature along each axis at an output stride. For a dense head that pools it is a lower
    /// bound.
    ///
    /// # Errors
    /// `worker` when `feature` is not the name of one of [`Feature::COMPARED`].
    #[wasm_bindgen(js_name = cellSide)]
    pub fn cell_side(&self, feature: &str, stride: usize) -> Result<usize, Failure> {
        let model = ModelConfig {
            output_stride: stride,
            ..self.info.model.clone()
        };
        Ok(compared(feature)?.stride(&model).unwrap_or(stride))
    }

    /// Computes the features of a picture at an output stride of 32, 16 or 8 pixels per cell. `feature` is the
    /// name of one of [`Feature::COMPARED`].
    ///
    /// # Errors
    /// `device` when the device fails; `worker` for another name; `wrong-weights` for another stride, or when
    /// the network does not have the feature.
    pub async fn features(
        &self,
        picture: &Picture,
        feature: String,
        stride: usize,
    ) -> Result<Features, Failure> {
        let feature = compared(&feature)?;
        let encoder = self.encoder(stride)?;
        feature.ensure_in(&encoder)?;
        let images = image_batch(std::slice::from_ref(picture.image()), &self.device);
        let map = dense_features(&encoder, images, feature);
        let values = read(map.clone().permute([0, 2, 3, 1])).await?;
        Ok(Features { map, values })
    }
}

/// Unit-length features of one picture.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Features {
    /// The feature map [1, C, h, w] on the device.
    map: Tensor<4>,
    /// The same values [h, w, C], read back from the device.
    values: Vec<f32>,
}

impl Features {
    pub(crate) fn map(&self) -> Tensor<4> {
        self.map.clone()
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Rows and columns of the feature map.
    pub(crate) fn grid(&self) -> [usize; 2] {
        let [_, _, rows, columns] = self.map.dims();
        [rows, columns]
    }
}

#[wasm_bindgen]
impl Features {
    /// Number of rows of cells.
    #[wasm_bindgen(getter)]
    pub fn rows(&self) -> usize {
        self.grid()[0]
    }

    /// Number of columns of cells.
    #[wasm_bindgen(getter)]
    pub fn columns(&self) -> usize {
        self.grid()[1]
    }

    /// Number of values per cell.
    #[wasm_bindgen(getter)]
    pub fn channels(&self) -> usize {
        self.map.dims()[1]
    }

    /// The values [rows, columns, channels], row major.
    pub fn data(&self) -> Vec<f32> {
        self.values.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page and the element need the names before the module is loaded, so JavaScript has copies of them.
    #[test]
    fn javascript_knows_the_features_the_strides_and_the_defaults_of_the_core() {
        let default = Feature::MATCHING.name();
        let names = Feature::COMPARED.map(|feature| format!("\"{}\"", feature.name()));
        let has = |file: &str, text: &str, line: &str| {
            assert!(text.contains(line), "{file} has to have: {line}");
        };
        let page = include_str!("../page/state.js");
        has(
            "web/page/state.js",
            page,
            &format!("FEATURES = [{}];", names.join(", ")),
        );
        has(
            "web/page/state.js",
            page,
            &format!("feature: \"{default}\","),
        );
        // In `choice(…)` the first value is the attribute's default.
        let first = format!("\"{default}\"");
        let others = names.iter().filter(|name| **name != first);
        let ordered: Vec<&str> = [&first]
            .into_iter()
            .chain(others)
            .map(String::as_str)
            .collect();
        has(
            "web/js/element/attributes.js",
            include_str!("../js/element/attributes.js"),
            &format!("feature: choice({}),", ordered.join(", ")),
        );
        has(
            "web/js/engine.d.ts",
            include_str!("../js/engine.d.ts"),
            &format!("type Feature = {};", names.join(" | ")),
        );
        // The page, the element and the types have copies of the output strides, too.
        let all = ModelConfig::OUTPUT_STRIDES.map(|stride| stride.to_string());
        has(
            "web/page/state.js",
            page,
            &format!("STRIDES = [{}];", all.join(", ")),
        );
        let usual = photos().output_stride.to_string();
        let ordered = std::iter::once(&usual).chain(all.iter().filter(|stride| **stride != usual));
        let ordered: Vec<String> = ordered.map(|stride| format!("\"{stride}\"")).collect();
        has(
            "web/js/element/attributes.js",
            include_str!("../js/element/attributes.js"),
            &format!("choice({})", ordered.join(", ")),
        );
        let mut ascending = all.clone();
        ascending.reverse();
        has(
            "web/js/engine.d.ts",
            include_str!("../js/engine.d.ts"),
            &format!("type Stride = {};", ascending.join(" | ")),
        );
        let index = include_str!("../../index.html");
        for stride in all {
            let checked = if stride == usual { " checked" } else { "" };
            let radio = format!("name=\"stride\" value=\"{stride}\"{checked}>");
            has("index.html", index, &radio);
        }
        for name in Feature::COMPARED.map(Feature::name) {
            let checked = if name == default { " checked" } else { "" };
            let radio = format!("name=\"feature\" value=\"{name}\"{checked}>");
            has("index.html", index, &radio);
        }
        has(
            "web/js/README.md",
            include_str!("../js/README.md"),
            &format!("| `feature` | `{default}` |"),
        );
    }

    #[test]
    fn a_feature_that_cells_are_not_compared_by_is_refused_with_those_that_are() {
        let failure = format!("{:?}", compared("stage2").expect_err("refused"));
        assert!(failure.contains("stage3+stage4"), "{failure}");
    }
}
