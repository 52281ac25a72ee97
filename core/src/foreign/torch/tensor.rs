//! Converting a strided view of raw values to row-major f32.

use half::{bf16, f16};

use super::{
    damaged,
    value::{TensorRef, clip},
};
use crate::{
    error::{Error, Result},
    stored::Stored,
};

/// The number format of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Dtype {
    /// The number format of a storage class of torch.
    ///
    /// # Errors
    /// [`Error::Format`] for complex and quantised numbers.
    pub(super) fn of(class: &str) -> Result<Self> {
        Ok(match class {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            other => {
                return Err(Error::Format(format!(
                    "holds numbers of type torch.{}, which are not read",
                    clip(other)
                )));
            }
        })
    }

    /// Bytes per value.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

impl TensorRef<'_> {
    /// The number of elements.
    ///
    /// # Errors
    /// [`Error::Format`] when it exceeds a `usize`.
    pub(super) fn count(&self) -> Result<usize> {
        // Sides of 0 are checked first, because the product of the other sides may overflow.
        if self.shape.contains(&0) {
            return Ok(0);
        }
        let product = self
            .shape
            .iter()
            .try_fold(1_usize, |n, &side| n.checked_mul(side));
        product.ok_or_else(|| damaged("a tensor of impossible size"))
    }

    /// Copies the tensor out of the bytes of its storage, converted to f32.
    ///
    /// # Errors
    /// [`Error::Format`] when it extends beyond the storage, or its number format is not supported.
    pub(super) fn read(&self, storage: &[u8]) -> Result<Stored> {
        let dtype = Dtype::of(self.storage.class)?;
        let count = self.count()?;
        let outside = || damaged("a tensor reaches beyond its storage");

        let available = storage.len() / dtype.size();
        let view_end = self.storage.offset.checked_add(self.storage.elements);
        if view_end.is_none_or(|end| end > available) {
            return Err(damaged("a storage has fewer numbers than it says"));
        }
        if count > 0 {
            let last = self
                .shape
                .iter()
                .zip(&self.strides)
                .try_fold(self.offset, |last, (&side, &stride)| {
                    (side - 1).checked_mul(stride)?.checked_add(last)
                });
            if last.is_none_or(|last| last >= self.storage.elements) {
                return Err(outside());
            }
        }
        let values = match dtype {
            Dtype::F64 => self.gather(storage, count, |b| f64::from_le_bytes(b) as f32),
            Dtype::F32 => self.gather(storage, count, f32::from_le_bytes),
            Dtype::F16 => self.gather(storage, count, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::Bf16 => self.gather(storage, count, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::I64 => self.gather(storage, count, |b| i64::from_le_bytes(b) as f32),
            Dtype::I32 => self.gather(storage, count, |b| i32::from_le_bytes(b) as f32),
            Dtype::I16 => self.gather(storage, count, |b| f32::from(i16::from_le_bytes(b))),
            Dtype::I8 => self.gather(storage, count, |b| f32::from(i8::from_le_bytes(b))),
            Dtype::U8 | Dtype::Bool => self.gather(storage, count, |[b]: [u8; 1]| f32::from(b)),
        };
        Ok(Stored {
            shape: self.shape.clone(),
            values,
        })
    }

    /// The `count` elements in row-major order. The caller must have checked that all of them are inside `storage`.
    fn gather<const N: usize>(
        &self,
        storage: &[u8],
        count: usize,
        number: impl Fn([u8; N]) -> f32,
    ) -> Vec<f32> {
        if count == 0 {
            return Vec::new();
        }
        let (elements, _) = storage.as_chunks::<N>();
        let elements = &elements[self.storage.offset + self.offset..];
        if self.is_contiguous() {
            return elements[..count].iter().map(|&b| number(b)).collect();
        }
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0; self.shape.len()];
        let mut at = 0;
        for _ in 0..count {
            values.push(number(elements[at]));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    at += self.strides[axis];
                    break;
                }
                index[axis] = 0;
                at -= (self.shape[axis] - 1) * self.strides[axis];
            }
        }
        values
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        let sides = self.shape.iter().zip(&self.strides).rev();
        sides.into_iter().all(|(&side, &stride)| {
            let fits = side == 1 || stride == expected;
            expected *= side;
            fits
        })
    }
}
