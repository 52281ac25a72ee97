//! Decodes image files to RGB, or gives a one-line reason why a file does not decode.
//!
//! The conversions are those of PIL's `convert("RGB")`, on which torchvision trains: grey is repeated, alpha is dropped
//! (not composited), CMYK is (255−C)·(255−K)/255. One conversion differs: a 16-bit sample is reduced to its high byte.
//! PIL does the same for colour, but clips 16-bit grey at 255, which is white. EXIF orientation is not applied, as in
//! torchvision's `ImageFolder`: a view is cropped and flipped at random anyway. Of an animation the first frame is
//! taken.
//!
//! JPEGs that the default codec decodes wrongly go to a second one (`jpeg.rs`).
//!
//! The format is recognised by content, not by extension. Limits are checked on the header, before memory for pixels
//! is allocated.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use image::error::LimitErrorKind;
use image::{
    ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader,
};
use image::{Pixel, RgbImage};

pub use super::decode_error::DecodeError;
use super::jpeg::{self, Markers, Route};
use crate::panics;

/// Limits on the size of a file and its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest permitted number of pixels, width times height.
    pub max_pixels: u64,
    /// Largest permitted file size in bytes.
    pub max_file_bytes: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_pixels: 100_000_000,
            max_file_bytes: 256 << 20,
        }
    }
}

/// Reads the JPEG, PNG, WebP or PNM file at `path` as RGB, at least 1 × 1.
///
/// # Errors
/// [`DecodeError`], also when a codec panics on the file.
pub fn decode(path: &Path, limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    Decoder::new(limits.clone()).decode(path)
}

/// Decodes images one after the other, reusing its buffers.
#[derive(Debug)]
pub struct Decoder {
    limits: DecodeLimits,
    bytes: Vec<u8>,
    pixels: Vec<u8>,
}

impl Decoder {
    /// A decoder with these limits for each image.
    pub fn new(limits: DecodeLimits) -> Self {
        Self {
            limits,
            bytes: Vec::new(),
            pixels: Vec::new(),
        }
    }

    /// As the function [`decode`], with this decoder's limits and buffers.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(&mut self, path: &Path) -> Result<RgbImage, DecodeError> {
        let format = read(path, &self.limits, &mut self.bytes)?;
        self.picture(format)
    }

    /// Decodes the image whose file content `read` appends to an empty vector. `read` receives the limits and must not
    /// append more bytes than they permit.
    ///
    /// # Errors
    /// As [`decode`], and the errors of `read`.
    pub fn decode_from(
        &mut self,
        read: impl FnOnce(&DecodeLimits, &mut Vec<u8>) -> Result<(), DecodeError>,
    ) -> Result<RgbImage, DecodeError> {
        self.bytes.clear();
        read(&self.limits, &mut self.bytes)?;
        let format = format_of(&self.bytes)?;
        self.picture(format)
    }

    /// Takes the buffer of a picture that is no longer needed, for the next one.
    pub fn reuse(&mut self, image: RgbImage) {
        self.pixels = image.into_raw();
    }

    fn picture(&mut self, format: ImageFormat) -> Result<RgbImage, DecodeError> {
        let pixels = std::mem::take(&mut self.pixels);
        // The codecs are fuzzed, but a new input may still make one panic, and that must not end a run of days. Only
        // the result of the call is used afterwards, so that no half-written state remains.
        panics::catch(|| decode_bytes(format, &self.bytes, &self.limits, pixels))
            .unwrap_or_else(|panic| Err(DecodeError::Corrupt(panic)))
    }
}

/// Recognises the format from the first bytes of a file.
fn format_of(bytes: &[u8]) -> Result<ImageFormat, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    image::guess_format(bytes)
        .ok()
        .filter(|format| format.reading_enabled())
        .filter(|format| *format != ImageFormat::Pnm || is_pnm(bytes))
        .ok_or(DecodeError::NotAnImage)
}

/// Whether the file begins as PBM, PGM and PPM do. The codec would take any text that begins with `P1`, and PAM (`P7`),
/// whose header may be of any length.
fn is_pnm(bytes: &[u8]) -> bool {
    match bytes {
        [b'P', b'1'..=b'6', next, ..] => next.is_ascii_whitespace() || *next == b'#',
        _ => false,
    }
}

/// Width and height of the picture at `path`, from its header alone.
///
/// # Errors
/// As [`decode`], but for what is wrong behind the header.
pub fn dimensions(path: &Path) -> Result<(u32, u32), DecodeError> {
    let unreadable = |error: std::io::Error| DecodeError::Unreadable(error.to_string());
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(DecodeError::Unreadable("it is not a regular file".into()));
    }
    let mut first = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(16).read_to_end(&mut first).map_err(unreadable)?;
    let format = format_of(&first)?;
    let mut reader = ImageReader::open(path).map_err(unreadable)?;
    reader.set_format(format);
    panics::catch(|| reader.into_dimensions().map_err(|error| describe(&error)))
        .unwrap_or_else(|panic| Err(DecodeError::Corrupt(panic)))
}

/// Reads the file into `bytes` and returns its format; of a file that is no image only the first bytes are read.
fn read(
    path: &Path,
    limits: &DecodeLimits,
    bytes: &mut Vec<u8>,
) -> Result<ImageFormat, DecodeError> {
    let unreadable = |error: std::io::Error| DecodeError::Unreadable(error.to_string());
    // Checked before opening, because opening a pipe blocks until another process writes to it.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(DecodeError::Unreadable("it is not a regular file".into()));
    }
    let file = File::open(path).map_err(unreadable)?;
    bytes.clear();
    (&file).take(16).read_to_end(bytes).map_err(unreadable)?;
    let format = format_of(bytes)?;
    let rest = limits
        .max_file_bytes
        .saturating_add(1)
        .saturating_sub(bytes.len() as u64);
    (&file).take(rest).read_to_end(bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(DecodeError::TooManyBytes {
            max_file_bytes: limits.max_file_bytes,
        });
    }
    Ok(format)
}

/// Decodes an image, into the buffer `pixels` where it is stored as 8-bit RGB, as nearly all are.
pub(super) fn decode_bytes(
    format: ImageFormat,
    bytes: &[u8],
    limits: &DecodeLimits,
    mut pixels: Vec<u8>,
) -> Result<RgbImage, DecodeError> {
    // On truncated files the codecs of lossy formats fill in invented pixels instead of failing.
    let markers = (format == ImageFormat::Jpeg).then(|| Markers::read(bytes));
    let complete = match format {
        ImageFormat::WebP => webp_is_complete(bytes),
        _ => markers.as_ref().is_none_or(|markers| markers.complete),
    };
    if !complete {
        return Err(DecodeError::Truncated);
    }
    let max_pixels = limits.max_pixels;
    match markers.map_or(Route::Usual, |markers| markers.route()) {
        Route::Usual => {}
        Route::Second(colours) => return jpeg::decode(bytes, colours, max_pixels),
        Route::Refused => {
            let what =
                "a JPEG with scans of one component and these sampling factors; store it anew";
            return Err(DecodeError::Unsupported(what.into()));
        }
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut memory = image::Limits::no_limits();
    // The widest pixel, 16-bit RGBA, takes 8 bytes; the rest is for headers, colour profiles and codec state.
    memory.max_alloc = Some(max_pixels.saturating_mul(8).saturating_add(64 << 20));
    reader.limits(memory);
    let explain = |error: ImageError, size| match error {
        ImageError::Limits(limit)
            if !matches!(limit.kind(), LimitErrorKind::Unsupported { .. }) =>
        {
            DecodeError::TooManyPixels { size, max_pixels }
        }
        error => describe(&error),
    };
    let decoder = reader
        .into_decoder()
        .map_err(|error| explain(error, None))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(DecodeError::TooManyPixels {
            size: Some((width, height)),
            max_pixels,
        });
    }
    if width == 0 || height == 0 {
        return Err(DecodeError::Corrupt("it has no pixels".into()));
    }
    let explain = |error: ImageError| explain(error, Some((width, height)));
    if decoder.color_type() == ColorType::Rgb8 {
        // At most three bytes per permitted pixel. The buffer is zeroed, so that pixels which a codec leaves out of
        // a damaged image do not show the previous image.
        pixels.clear();
        pixels.resize(decoder.total_bytes() as usize, 0);
        decoder.read_image(&mut pixels).map_err(explain)?;
        let image = RgbImage::from_raw(width, height, pixels);
        return Ok(image.expect("three bytes for every pixel"));
    }
    Ok(to_rgb(
        DynamicImage::from_decoder(decoder).map_err(explain)?,
    ))
}

/// Whether the file is as long as its header says: "RIFF", then the length of what follows.
fn webp_is_complete(bytes: &[u8]) -> bool {
    let length = bytes
        .get(4..8)
        .and_then(|field| <[u8; 4]>::try_from(field).ok());
    length.is_some_and(|field| bytes.len() as u64 >= u64::from(u32::from_le_bytes(field)) + 8)
}

fn describe(error: &ImageError) -> DecodeError {
    match error {
        ImageError::Unsupported(_) => DecodeError::Unsupported(one_line(error)),
        ImageError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => DecodeError::Truncated,
        _ if mentions_early_end(error) => DecodeError::Truncated,
        _ => DecodeError::Corrupt(one_line(error)),
    }
}

/// Codecs wrap an unexpected end of file in errors of their own.
fn mentions_early_end(error: &ImageError) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn one_line(error: &ImageError) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn to_rgb(image: DynamicImage) -> RgbImage {
    match image {
        DynamicImage::ImageLuma16(image) => high_bytes(&image),
        DynamicImage::ImageLumaA16(image) => high_bytes(&image),
        DynamicImage::ImageRgb16(image) => high_bytes(&image),
        DynamicImage::ImageRgba16(image) => high_bytes(&image),
        image => image.into_rgb8(),
    }
}

fn high_bytes<P: Pixel<Subpixel = u16>>(image: &ImageBuffer<P, Vec<u16>>) -> RgbImage {
    let mut rgb = RgbImage::new(image.width(), image.height());
    for (wide, narrow) in image.pixels().zip(rgb.pixels_mut()) {
        let channels = wide.channels();
        // One channel is grey, two are grey and alpha.
        let colour = if channels.len() < 3 {
            [channels[0]; 3]
        } else {
            [channels[0], channels[1], channels[2]]
        };
        narrow.0 = colour.map(|sample| (sample >> 8) as u8);
    }
    rgb
}

#[cfg(test)]
mod pnm;
#[cfg(test)]
mod tests;
