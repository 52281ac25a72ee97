//! The reasons why a file does not decode.

use std::fmt;

/// Why a file does not decode. The text does not name the file; the caller adds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The file cannot be opened or read.
    Unreadable(String),
    /// The file has no bytes.
    Empty,
    /// The content is none of JPEG, PNG, WebP and PNM.
    NotAnImage,
    /// The file ends before its image is complete.
    Truncated,
    /// The content violates its format; the codec's message.
    Corrupt(String),
    /// A variant of JPEG, PNG, WebP or PNM that the codec does not support; the codec's message.
    Unsupported(String),
    /// The image has more pixels than [`DecodeLimits::max_pixels`](super::decode::DecodeLimits), or would need as
    /// much memory.
    TooManyPixels {
        /// Width and height in pixels, where the header could be read so far.
        size: Option<(u32, u32)>,
        /// The limit.
        max_pixels: u64,
    },
    /// The file is longer than [`DecodeLimits::max_file_bytes`](super::decode::DecodeLimits).
    TooManyBytes {
        /// The limit.
        max_file_bytes: u64,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
            Self::Empty => write!(f, "the file is empty"),
            Self::NotAnImage => write!(f, "not a JPEG, PNG, WebP or PNM image"),
            Self::Truncated => write!(f, "truncated: the file ends before the picture does"),
            Self::Corrupt(reason) => write!(f, "corrupt: {reason}"),
            Self::Unsupported(reason) => write!(f, "not supported: {reason}"),
            Self::TooManyPixels { size, max_pixels } => {
                if let Some((width, height)) = size {
                    write!(f, "{width} x {height} pixels are")?;
                } else {
                    write!(f, "the memory it asks for is")?;
                }
                write!(
                    f,
                    " over the limit of {} megapixels",
                    *max_pixels as f64 / 1e6
                )
            }
            Self::TooManyBytes { max_file_bytes } => {
                write!(
                    f,
                    "the file is over the limit of {} MiB",
                    max_file_bytes >> 20
                )
            }
        }
    }
}

impl std::error::Error for DecodeError {}
