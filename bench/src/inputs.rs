//! The inputs of the rows: pictures, weights and ONNX files, in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use burn::tensor::Device;
use densecl::config::Backbone;
use densecl::model::Encoder;
use densecl::synthetic::{SceneConfig, scene_image};
use densecl::weights::{self, FORMAT_VERSION, WeightsInfo};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, RgbImage, imageops};
use rayon::prelude::*;
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::cli::{Bench, Group};
use crate::worker::model;

/// Quality of the JPEG files, typical of cameras and data sets.
const QUALITY: u8 = 90;

/// The input files; `make` writes all of them.
pub(crate) struct Inputs {
    folder: TempDir,
    densecl: PathBuf,
    python: String,
    pictures: usize,
    folders: [PathBuf; 2],
    embed_backbone: Backbone,
}

impl Inputs {
    /// Writes the files that the chosen rows read.
    ///
    /// # Errors
    /// If the program `densecl` is needed and missing, or a file cannot be written.
    pub(crate) fn make(bench: &Bench) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for what the rows read")?;
        let folders = ["160 px", "640 × 480 px"].map(|name| folder.path().join(name));
        let inputs = Self {
            densecl: match &bench.densecl {
                Some(path) => path.clone(),
                None => std::env::current_exe()?
                    .with_file_name(format!("densecl{}", std::env::consts::EXE_SUFFIX)),
            },
            python: bench.python.clone(),
            pictures: if bench.quick { 4 } else { 128 },
            embed_backbone: if bench.quick {
                Backbone::ResNet10
            } else {
                Backbone::ResNet50
            },
            folder,
            folders,
        };
        let asked = |group| bench.rows.contains(&group);
        let calls_densecl = asked(Group::Loader) || asked(Group::Embed) || asked(Group::Inference);
        if calls_densecl && !inputs.densecl.is_file() {
            bail!(
                "the rows loader, inference and embed call densecl, and there is no {}: run `cargo build --release`, \
                 or say --densecl PATH",
                inputs.densecl.display()
            );
        }
        if asked(Group::Loader) || asked(Group::Embed) {
            inputs.save_pictures(bench.images.as_deref())?;
        }
        if asked(Group::Embed) {
            inputs.save_weights(inputs.embed_backbone)?;
        }
        if asked(Group::Inference) && bench.python != "none" {
            let all = [Backbone::ResNet10, Backbone::ResNet18, Backbone::ResNet50];
            let needed = if bench.quick { &all[..1] } else { &all[1..] };
            for &backbone in needed {
                inputs.save_onnx(backbone)?;
            }
        }
        Ok(inputs)
    }

    /// Path of the program `densecl`.
    pub(crate) fn densecl(&self) -> String {
        self.densecl.display().to_string()
    }

    /// The command that runs a Python script of this package.
    pub(crate) fn script(&self, name: &str) -> Vec<String> {
        vec![self.python.clone(), script(name).display().to_string()]
    }

    /// The command prefix that restricts a program to this number of cores; empty where `taskset` is missing.
    /// A thread limit is not enough: a program that decodes while its network runs would occupy another core.
    pub(crate) fn held_to(&self, cores: u16) -> Vec<String> {
        let last = cores - 1;
        let prefix = ["taskset".to_string(), "-c".to_string(), format!("0-{last}")];
        let held = Command::new(&prefix[0])
            .args(&prefix[1..])
            .arg("true")
            .output();
        match held {
            Ok(output) if output.status.success() => prefix.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Pictures in each of [`Self::folders`].
    pub(crate) fn pictures(&self) -> usize {
        self.pictures
    }

    /// Two folders with the same pictures: one at 160 × 120 px, one at 640 × 480 px.
    pub(crate) fn folders(&self) -> [&Path; 2] {
        self.folders.each_ref().map(PathBuf::as_path)
    }

    /// The network of the group `embed`.
    pub(crate) fn embed_backbone(&self) -> Backbone {
        self.embed_backbone
    }

    /// Path of a file in the temporary folder.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Path of a network's untrained weights.
    pub(crate) fn weights(&self, backbone: Backbone) -> PathBuf {
        self.scratch(&format!("{}.safetensors", backbone.name()))
    }

    /// Path of a network's ONNX file, if it was exported.
    pub(crate) fn onnx(&self, backbone: Backbone) -> Option<PathBuf> {
        let path = self.scratch(&format!("{}.onnx", backbone.name()));
        path.exists().then_some(path)
    }

    fn save_weights(&self, backbone: Backbone) -> anyhow::Result<()> {
        let model = model(backbone);
        let encoder = Encoder::new(&model, 0, &Device::flex());
        let info = WeightsInfo {
            format_version: FORMAT_VERSION,
            method: "densecl".to_string(),
            model,
            steps: 0,
            data: "none".to_string(),
            config: String::new(),
        };
        let path = self.weights(backbone);
        fs::write(&path, weights::save(&encoder, &info)?)
            .with_context(|| format!("writing {}", path.display()))
    }

    /// Exports untrained weights with `densecl export`, as a user would.
    fn save_onnx(&self, backbone: Backbone) -> anyhow::Result<()> {
        self.save_weights(backbone)?;
        let out = self.scratch(&format!("{}.onnx", backbone.name()));
        let export = Command::new(&self.densecl)
            .arg("export")
            .arg(self.weights(backbone))
            .arg("--out")
            .arg(out)
            .output()
            .with_context(|| format!("{} does not start", self.densecl.display()))?;
        if !export.status.success() {
            bail!(
                "densecl export: {}",
                String::from_utf8_lossy(&export.stderr).trim()
            );
        }
        Ok(())
    }

    fn save_pictures(&self, photographs: Option<&Path>) -> anyhow::Result<()> {
        for folder in &self.folders {
            fs::create_dir(folder)?;
        }
        let files = match photographs {
            Some(folder) => pictures_in(folder)?,
            None => Vec::new(),
        };
        (0..self.pictures).into_par_iter().try_for_each(|index| {
            let picture = match files.get(index % files.len().max(1)) {
                Some(path) => image::open(path)
                    .with_context(|| format!("{} does not decode", path.display()))?,
                None => scene(index, if self.pictures < 10 { 64 } else { 640 }),
            };
            let large = picture
                .resize_to_fill(640, 480, imageops::FilterType::Triangle)
                .into_rgb8();
            let small = imageops::resize(&large, 160, 120, imageops::FilterType::Triangle);
            for (folder, picture) in self.folders.iter().zip([small, large]) {
                save_jpeg(&picture, &folder.join(format!("{index:04}.jpg")))?;
            }
            Ok(())
        })
    }
}

/// Path of a file in this package's folder.
pub(crate) fn script(name: &str) -> PathBuf {
    // On a machine without the sources it lies beside the program (bench/gpu.sh).
    let beside = std::env::current_exe().map(|program| program.with_file_name(name));
    match beside {
        Ok(beside) if beside.is_file() => beside,
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).join(name),
    }
}

fn scene(index: usize, size: u32) -> DynamicImage {
    let config = SceneConfig {
        size,
        ..SceneConfig::default()
    };
    scene_image(0, index as u64, &config).into()
}

fn save_jpeg(picture: &RgbImage, path: &Path) -> anyhow::Result<()> {
    let file = fs::File::create(path).with_context(|| format!("writing {}", path.display()))?;
    Ok(
        JpegEncoder::new_with_quality(std::io::BufWriter::new(file), QUALITY)
            .encode_image(picture)?,
    )
}

/// The JPEG and PNG files of a folder and its subfolders, sorted by name.
fn pictures_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_picture = |path: &Path| {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        ["jpg", "jpeg", "png"]
            .iter()
            .any(|known| extension == *known)
    };
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let path = entry
            .with_context(|| format!("--images {}", folder.display()))?
            .into_path();
        files.extend(is_picture(&path).then_some(path));
    }
    if files.is_empty() {
        bail!(
            "--images {}: no JPEG or PNG file in it or below it",
            folder.display()
        );
    }
    Ok(files)
}
