//! Which kernel computes a convolution on a GPU: the ways there are, and what was chosen for which sizes.
//!
//! Which way is fastest depends on the device and on the sizes, so it is measured when the sizes first occur
//! (`gpu/conv/algorithms.rs`). What was chosen can be stored and given back, so that a run that continues, or the next one on the
//! same device, need not measure again and computes the same bits.

use std::{
    cell::Cell,
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A way to compute a convolution or one of its gradients on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Burn's convolution.
    Burn,
    /// Burn's matrix product, for 1×1 convolutions of stride 1.
    Matmul,
    /// The patches written to memory, times the weights by Burn's matrix product.
    Patches,
    /// Minimal filtering F(2×2, 3×3): 16 multiplications instead of 36, between two transforms.
    Winograd,
    /// This project's matrix product with gathered operands (implicit GEMM), in tiles of 128 × 128 results.
    Implicit128,
    /// As [`Algorithm::Implicit128`], in tiles of 128 × 64.
    Implicit128x64,
    /// As [`Algorithm::Implicit128`], in tiles of 64 × 64.
    Implicit64,
    /// As [`Algorithm::Implicit128`], in tiles of 32 × 32.
    Implicit32,
    /// As [`Algorithm::Implicit128`], without shared memory.
    Unshared,
    /// As [`Algorithm::Implicit128`], with operands exchanged within planes (subgroups) of fixed size.
    Planes,
}

impl Algorithm {
    /// All, in the order in which they are tried.
    pub const ALL: [Self; 10] = [
        Self::Unshared,
        Self::Planes,
        Self::Implicit32,
        Self::Implicit64,
        Self::Implicit128x64,
        Self::Implicit128,
        Self::Matmul,
        Self::Winograd,
        Self::Patches,
        Self::Burn,
    ];

    /// Its name in files and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Burn => "burn",
            Self::Matmul => "matmul",
            Self::Patches => "patches",
            Self::Winograd => "winograd",
            Self::Implicit128 => "implicit128",
            Self::Implicit128x64 => "implicit128x64",
            Self::Implicit64 => "implicit64",
            Self::Implicit32 => "implicit32",
            Self::Unshared => "unshared",
            Self::Planes => "planes",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which result of a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// The output.
    Forward,
    /// The gradient of the input.
    Input,
    /// The gradient of the weights.
    Weights,
}

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvShape {
    /// Pictures.
    pub batch: usize,
    /// Rows and columns of the input.
    pub input: [usize; 2],
    /// Channels of input and output.
    pub channels: [usize; 2],
    /// Taps along each axis.
    pub kernel: usize,
    /// Pixels of the input per pixel of the output.
    pub stride: usize,
    /// Distance of taps in pixels of the input. The input is padded by dilation·(kernel − 1)/2.
    pub dilation: usize,
}

impl ConvShape {
    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        self.input.map(|side| side.div_ceil(self.stride))
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Multiplications of the convolution, and of each of its gradients.
    pub fn multiplications(&self) -> u64 {
        let [height, width] = self.output();
        let [input, output] = self.channels;
        [self.batch, height, width, input, output, self.taps()]
            .iter()
            .map(|&factor| factor as u64)
            .product()
    }
}

/// A convolution for which an algorithm is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    /// Which of its results.
    pub pass: Pass,
    /// Its sizes.
    #[serde(flatten)]
    pub shape: ConvShape,
    /// Whether maps are in f16; otherwise they are in f32.
    pub half: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConvShape {
            batch,
            input: [height, width],
            channels: [input, output],
            kernel,
            stride,
            dilation,
        } = self.shape;
        let pass = match self.pass {
            Pass::Forward => "forward",
            Pass::Input => "gradient of the input",
            Pass::Weights => "gradient of the weights",
        };
        let precision = if self.half { "f16" } else { "f32" };
        write!(
            f,
            "{kernel}×{kernel} {input}→{output} at {batch}×{height}×{width}, stride {stride}, dilation {dilation}, \
             {precision}: {pass}"
        )
    }
}

/// What was chosen for a case on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// The device's name with its driver.
    pub device: String,
    /// The convolution.
    #[serde(flatten)]
    pub case: Case,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// What each algorithm took, in milliseconds, the fastest first; empty if the choice was not measured.
    pub milliseconds: Vec<(Algorithm, f64)>,
}

/// How algorithms are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// By the device's properties and the sizes, without measuring.
    #[default]
    Fixed,
    /// By measuring, except on software adapters, where it would take longer than it saves.
    Measured,
    /// By measuring on any device.
    AlwaysMeasured,
    /// This algorithm where it is possible, otherwise as [`Mode::Fixed`].
    Only(Algorithm),
    /// Burn's operations for everything, not only for convolutions. Maps are then in another order, so the mode must not
    /// change to or from it while maps exist.
    Stock,
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let algorithm = |a: &Algorithm| a.name() == name;
        match name {
            "fixed" => Ok(Self::Fixed),
            "measured" => Ok(Self::Measured),
            "stock" => Ok(Self::Stock),
            _ => match Algorithm::ALL.iter().find(|a| algorithm(a)) {
                Some(algorithm) => Ok(Self::Only(*algorithm)),
                None => Err(Error::Device(format!(
                    "no choice of kernels is called \"{name}\"; choose measured, fixed, stock, or one of {}",
                    Algorithm::ALL.map(Algorithm::name).join(", ")
                ))),
            },
        }
    }
}

/// The choices of this process.
#[derive(Debug, Default)]
struct Choices {
    mode: Mode,
    as_hardware: bool,
    chosen: Vec<Chosen>,
    notes: Vec<String>,
    /// Notes that were taken already: each is given once.
    taken: Vec<String>,
    /// Names of opened devices with their drivers.
    drivers: Vec<(String, String)>,
}

static CHOICES: Mutex<Option<Choices>> = Mutex::new(None);

fn with<R>(use_choices: impl FnOnce(&mut Choices) -> R) -> R {
    let mut choices = CHOICES.lock().unwrap_or_else(PoisonError::into_inner);
    use_choices(choices.get_or_insert_with(Choices::default))
}

/// Sets how algorithms are chosen from now on in this process. What was chosen before is forgotten.
pub fn set_mode(mode: Mode) {
    with(|choices| {
        *choices = Choices {
            mode,
            as_hardware: choices.as_hardware,
            drivers: std::mem::take(&mut choices.drivers),
            ..Choices::default()
        }
    });
}

/// Treats software adapters like hardware from now on, or no longer. It makes them slow, but tests what GPUs run.
pub fn treat_as_hardware(as_hardware: bool) {
    with(|choices| choices.as_hardware = as_hardware);
}

/// Whether software adapters are treated like hardware.
#[allow(dead_code, reason = "only builds with GPU kernels of ours choose")]
pub(super) fn as_hardware() -> bool {
    with(|choices| choices.as_hardware)
}

/// How algorithms are chosen.
pub fn mode() -> Mode {
    with(|choices| choices.mode)
}

/// What was chosen so far, in order.
pub fn chosen() -> Vec<Chosen> {
    with(|choices| choices.chosen.clone())
}

/// Uses these choices where they fit, as if they had been made in this process.
pub fn remember(chosen: impl IntoIterator<Item = Chosen>) {
    for chosen in chosen {
        add(chosen);
    }
}

/// What a user should know about the choices since the last call: algorithms that were left out, and why.
pub fn take_notes() -> Vec<String> {
    with(|choices| {
        let notes = std::mem::take(&mut choices.notes);
        choices.taken.extend(notes.iter().cloned());
        notes
    })
}

/// Tells the driver of a device, because a choice is valid only for the driver with which it was measured.
#[allow(dead_code, reason = "only builds with wgpu know it")]
pub(crate) fn set_driver(device: &str, driver: String) {
    with(|choices| {
        choices.drivers.retain(|(name, _)| name != device);
        choices.drivers.push((device.to_string(), driver));
    });
}

/// The driver of a device, where it is known.
#[allow(dead_code, reason = "only builds with GPU kernels of ours choose")]
pub(super) fn driver(device: &str) -> Option<String> {
    with(|choices| {
        let found = choices.drivers.iter().find(|(name, _)| name == device);
        found.map(|(_, driver)| driver.clone())
    })
}

thread_local! {
    static TRYING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread tries a kernel that may fail. Its panics are caught and need not be shown.
pub fn is_trying() -> bool {
    TRYING.get()
}

#[allow(dead_code, reason = "only builds with GPU kernels of ours choose")]
pub(super) fn trying<R>(work: impl FnOnce() -> R) -> R {
    let outer = TRYING.replace(true);
    let result = work();
    TRYING.set(outer);
    result
}

/// What was chosen for a case on a device.
#[allow(dead_code, reason = "only builds with GPU kernels of ours choose")]
pub(super) fn find(device: &str, case: &Case) -> Option<Algorithm> {
    with(|choices| {
        let mut chosen = choices.chosen.iter();
        let found = chosen.find(|chosen| chosen.case == *case && chosen.device == device);
        found.map(|chosen| chosen.algorithm)
    })
}

pub(super) fn add(chosen: Chosen) {
    with(|choices| {
        let same = |other: &Chosen| other.case == chosen.case && other.device == chosen.device;
        choices.chosen.retain(|other| !same(other));
        choices.chosen.push(chosen);
    });
}

#[allow(dead_code, reason = "only builds with GPU kernels of ours choose")]
pub(super) fn note(note: String) {
    with(|choices| {
        if !choices.notes.contains(&note) && !choices.taken.contains(&note) {
            choices.notes.push(note);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_survive_a_file_and_names_are_read() {
        let chosen = Chosen {
            device: "a GPU, driver 1".to_string(),
            case: Case {
                pass: Pass::Weights,
                shape: ConvShape {
                    batch: 2,
                    input: [7, 9],
                    channels: [3, 8],
                    kernel: 3,
                    stride: 2,
                    dilation: 1,
                },
                half: true,
            },
            algorithm: Algorithm::Implicit64,
            milliseconds: vec![(Algorithm::Implicit64, 0.5), (Algorithm::Burn, 2.0)],
        };
        let text = serde_json::to_string(&chosen).expect("serialisable");
        let read: Chosen = serde_json::from_str(&text).expect("what was written");
        assert_eq!(read, chosen);
        assert_eq!(chosen.case.shape.output(), [4, 5]);
        assert_eq!(chosen.case.shape.multiplications(), 2 * 4 * 5 * 3 * 8 * 9);
        for algorithm in Algorithm::ALL {
            let named = serde_json::to_string(&algorithm).expect("serialisable");
            let mode: Mode = algorithm.name().parse().expect("a known name");
            assert_eq!(mode, Mode::Only(algorithm));
            assert_eq!(named.trim_matches('"').replace('-', ""), algorithm.name());
        }
        let refused = "fastest"
            .parse::<Mode>()
            .expect_err("no such choice")
            .to_string();
        assert!(
            refused.contains("measured, fixed, stock, or one of"),
            "{refused}"
        );
    }
}
