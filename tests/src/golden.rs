//! Reads the golden data of `tests/golden/model/` and compares results with it.
//!
//! Weights and inputs are too large to commit, so PyTorch and Rust each compute them from their names: here
//! with [`formula`] and the functions after it, in PyTorch with the same functions of `formula.py` beside the
//! data. The README there states the formula; this module's tests check that both agree. Tensors are flat,
//! row-major slices, so this module needs no tensor library.

use safetensors::{Dtype, SafeTensors};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Largest relative error allowed between f32 on the CPU and the goldens.
///
/// The goldens are float64 results rounded once to f32. PyTorch's float32 results differ from them by at most
/// 7e-6, and a different order of summation adds about as much; a wrong formula causes errors far above 1e-4.
pub const TOLERANCE: f32 = 1e-4;

/// Smallest magnitude that errors are relative to, so that an expectation of all zeros does not divide by zero.
const TINY: f64 = 1e-12;

/// The 64-bit words `splitmix64(fnv1a64(name) + i)` for i = 0, 1, ….
fn words(name: &str) -> impl Iterator<Item = u64> {
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    (0_u64..).map(move |i| {
        let mut z = hash.wrapping_add(i).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// The first `n` values of `name`, in [-1, 1): multiples of 2⁻²³, hence exact in f32. Inputs have these values.
pub fn formula(name: &str, n: usize) -> Vec<f32> {
    let unit = f64::from(1_u32 << 24).recip();
    words(name)
        .take(n)
        .map(|word| (2.0 * ((word >> 40) as f64 * unit) - 1.0) as f32)
        .collect()
}

/// `count` flat indices below `n`, possibly repeated, at which a digest samples a tensor.
pub fn indices(name: &str, n: usize, count: usize) -> Vec<usize> {
    words(name)
        .take(count)
        .map(|word| (word % n as u64) as usize)
        .collect()
}

/// The permutation that sorts the first `n` words of `name` in ascending order.
pub fn permutation(name: &str, n: usize) -> Vec<usize> {
    let keys: Vec<u64> = words(name).take(n).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&i| keys[i]);
    order
}

/// The values of the parameter or buffer `name`: [`formula`] scaled according to its kind.
///
/// The kind follows from the last part of the name and the rank; the fan-in follows from the shape in PyTorch's
/// layout, [out, in] or [out, in, height, width]. A library that stores linear weights as [in, out] has to
/// transpose the result.
///
/// # Panics
/// If no scale is defined for such a name.
pub fn parameter(name: &str, shape: &[usize]) -> Vec<f32> {
    let n = shape.iter().product();
    let mut values = formula(name, n);
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let (offset, scale) = match leaf {
        "weight" if shape.len() >= 2 => {
            let fan_in: usize = shape[1..].iter().product();
            (0.0, (3.0_f64.sqrt() * (2.0 / fan_in as f64).sqrt()) as f32)
        }
        "weight" => (1.0, 0.2),
        "bias" if name.contains("_head.") => (0.0, 0.1),
        "bias" | "running_mean" => (0.0, 0.2),
        "running_var" => (1.0, 0.4),
        _ => panic!("no scale is defined for {name:?} of shape {shape:?}"),
    };
    let gain = if name.ends_with("bn3.weight") {
        0.25
    } else {
        1.0
    };
    for value in &mut values {
        *value = gain * (offset + scale * *value);
    }
    values
}

/// Largest |got − want| relative to the largest |want|, and the index where it is.
///
/// Infinite when the lengths differ or any value on either side is not finite.
pub fn relative_error(got: &[f32], want: &[f32]) -> (f64, usize) {
    if got.len() != want.len() {
        return (f64::INFINITY, 0);
    }
    if let Some(at) = got
        .iter()
        .zip(want)
        .position(|(g, w)| !g.is_finite() || !w.is_finite())
    {
        return (f64::INFINITY, at);
    }
    let scale = want
        .iter()
        .fold(TINY, |scale, w| scale.max(f64::from(w.abs())));
    let errors = got
        .iter()
        .zip(want)
        .map(|(&g, &w)| (f64::from(g) - f64::from(w)).abs() / scale);
    errors.enumerate().fold(
        (0.0, 0),
        |worst, (at, error)| if error > worst.0 { (error, at) } else { worst },
    )
}

/// Asserts that the largest |got − want| is at most `rel` times the largest |want|.
///
/// # Panics
/// If the error is larger, the lengths differ, or a value is not finite. The message has `what`, the index and
/// both values.
pub fn assert_close(what: &str, got: &[f32], want: &[f32], rel: f32) {
    assert_eq!(
        got.len(),
        want.len(),
        "{what}: number of values, got (left) and wanted (right)"
    );
    let (error, at) = relative_error(got, want);
    assert!(
        error <= f64::from(rel),
        "{what}: relative error {error:.2e} exceeds {rel:.0e} at flat index {at} of {}: \
         got {:e}, want {:e}",
        got.len(),
        got[at],
        want[at],
    );
}

/// The values of a tensor, row-major.
#[derive(Debug, Clone)]
enum Values {
    Float(Vec<f32>),
    Integer(Vec<i64>),
}

/// One `.safetensors` file of golden data, in memory.
#[derive(Debug, Clone)]
pub struct Golden {
    file: String,
    tensors: BTreeMap<String, (Vec<usize>, Values)>,
    read: RefCell<BTreeSet<String>>,
}

impl Golden {
    /// Reads `tests/golden/model/{file}.safetensors`.
    ///
    /// # Panics
    /// If the file is missing or does not have the generator's format.
    pub fn open(file: &str) -> Self {
        Self::open_in("model", file)
    }

    /// Reads `tests/golden/{folder}/{file}.safetensors`.
    ///
    /// # Panics
    /// If the file is missing or does not have the generator's format.
    pub fn open_in(folder: &str, file: &str) -> Self {
        let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
        let path = goldens.join(folder).join(format!("{file}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let parsed =
            SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors = parsed.iter().map(|(key, view)| {
            let values = match view.dtype() {
                Dtype::F32 => {
                    let (chunks, _) = view.data().as_chunks();
                    Values::Float(chunks.iter().map(|&b| f32::from_le_bytes(b)).collect())
                }
                Dtype::I64 => {
                    let (chunks, _) = view.data().as_chunks();
                    Values::Integer(chunks.iter().map(|&b| i64::from_le_bytes(b)).collect())
                }
                other => panic!("{}: {key} has type {other:?}", path.display()),
            };
            (key.to_owned(), (view.shape().to_vec(), values))
        });
        Self {
            file: file.to_owned(),
            tensors: tensors.collect(),
            read: RefCell::default(),
        }
    }

    /// Asserts that every tensor of the file was read, so that no golden is left without a test.
    ///
    /// # Panics
    /// If a tensor was not read.
    pub fn assert_all_read(&self) {
        let read = self.read.borrow();
        let left: Vec<&str> = self.keys("").filter(|key| !read.contains(*key)).collect();
        assert!(left.is_empty(), "{}: no test reads {left:?}", self.file);
    }

    /// The keys that start with `prefix`, in ascending order.
    pub fn keys<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.tensors
            .keys()
            .map(String::as_str)
            .filter(move |key| key.starts_with(prefix))
    }

    /// Shape and values of an f32 tensor.
    ///
    /// # Panics
    /// If the file has no such key or it holds integers.
    pub fn f32(&self, key: &str) -> (Vec<usize>, Vec<f32>) {
        match self.entry(key) {
            (shape, Values::Float(values)) => (shape.clone(), values.clone()),
            _ => panic!("{}: {key} holds integers", self.file),
        }
    }

    /// Shape and values of an integer tensor.
    ///
    /// # Panics
    /// If the file has no such key or it holds floats.
    pub fn i64(&self, key: &str) -> (Vec<usize>, Vec<i64>) {
        match self.entry(key) {
            (shape, Values::Integer(values)) => (shape.clone(), values.clone()),
            _ => panic!("{}: {key} holds floats", self.file),
        }
    }

    /// The only value of an f32 tensor.
    ///
    /// # Panics
    /// As [`Golden::f32`], and if it has more than one value.
    pub fn scalar(&self, key: &str) -> f32 {
        let (shape, values) = self.f32(key);
        assert_eq!(
            values.len(),
            1,
            "{}: {key} of shape {shape:?} is no scalar",
            self.file
        );
        values[0]
    }

    /// Asserts that `got`, of shape `shape`, is the f32 tensor `key` within `rel`.
    ///
    /// # Panics
    /// As [`assert_close`], and if the shapes differ.
    pub fn assert_close(&self, key: &str, shape: &[usize], got: &[f32], rel: f32) {
        let what = format!("{}: {key}", self.file);
        let (want_shape, want) = self.f32(key);
        assert_eq!(
            shape, want_shape,
            "{what}: shape, got (left) and wanted (right)"
        );
        assert_close(&what, got, &want, rel);
    }

    /// Asserts that `got`, of shape `shape`, agrees with the digest under `key`: the same shape; sum, L2 norm
    /// and sampled values within `rel`.
    ///
    /// # Panics
    /// As [`assert_close`], and if the shapes differ.
    pub fn assert_digest(&self, key: &str, shape: &[usize], got: &[f32], rel: f32) {
        let what = format!("{}: {key}", self.file);
        let (_, want_shape) = self.i64(&format!("{key}/shape"));
        let got_shape: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
        assert_eq!(
            got_shape, want_shape,
            "{what}: shape, got (left) and wanted (right)"
        );
        assert_eq!(
            got.len(),
            shape.iter().product::<usize>(),
            "{what}: number of values (left) and of the shape (right)"
        );

        let (_, samples) = self.f32(&format!("{key}/samples"));
        let places = indices(
            &format!("samples/{}/{key}", self.file),
            got.len(),
            samples.len(),
        );
        let sampled: Vec<f32> = places.iter().map(|&at| got[at]).collect();
        assert_close(&format!("{what}, samples"), &sampled, &samples, rel);

        let sum: f64 = got.iter().map(|&x| f64::from(x)).sum();
        let norm = got
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum::<f64>()
            .sqrt();
        for (part, value) in [("sum", sum), ("norm", norm)] {
            let want = self.scalar(&format!("{key}/{part}"));
            assert_close(&format!("{what}, {part}"), &[value as f32], &[want], rel);
        }
    }

    fn entry(&self, key: &str) -> &(Vec<usize>, Values) {
        self.read.borrow_mut().insert(key.to_owned());
        self.tensors
            .get(key)
            .unwrap_or_else(|| panic!("{}: no key {key:?}", self.file))
    }
}

#[cfg(test)]
mod tests;
