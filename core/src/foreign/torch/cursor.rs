//! A bounds-checked reader of bytes, used by all parsers of this module.

use super::damaged;
use crate::error::Result;

/// Reads little-endian numbers and slices; reading past the end is an error.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at byte `at` of `bytes`. If that is past the end, the first read returns an error.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The offset of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next `n` bytes, borrowed.
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n);
        let slice = end.and_then(|end| self.bytes.get(self.at..end));
        let slice = slice.ok_or_else(|| {
            damaged(format!(
                "{n} more bytes expected at byte {} of {}; it may be truncated",
                self.at,
                self.bytes.len()
            ))
        })?;
        self.at += n;
        Ok(slice)
    }

    /// [`Self::take`] for a length read from the file.
    pub(super) fn take_u64(&mut self, n: u64) -> Result<&'a [u8]> {
        // A length beyond `usize` exceeds any slice, so `usize::MAX` gives the right error.
        self.take(usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// The next N bytes as an array.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// The bytes up to the next line feed, which is skipped.
    pub(super) fn line(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| damaged("a line without end; it may be truncated"))?;
        self.at += length + 1;
        Ok(&rest[..length])
    }
}
