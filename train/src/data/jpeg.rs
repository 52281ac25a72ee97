//! Reads the markers of a JPEG, and decodes by a second codec what the default one gets wrong.
//!
//! `image` decodes with zune-jpeg. Version 0.5.15 gives wrong pixels without an error where a sequential JPEG has
//! several scans, where another component than the first has the most samples, and where markers contradict each
//! other about the colour space. Such files go to jpeg-decoder, which is slower and agrees with libjpeg on them.
//! Files that both decode wrongly are refused. `tests/golden/jpeg` compares both with Pillow.

use std::io::Cursor;

use image::RgbImage;
use jpeg_decoder::{ColorTransform, Decoder, Error, PixelFormat};

use super::decode_error::DecodeError;

/// The markers of a JPEG up to the end of its image.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// Whether an end marker follows the image.
    pub(super) complete: bool,
    jfif: bool,
    /// The colour transform of the Adobe segment.
    adobe: Option<u8>,
    /// The marker of the frame; 0 before one is found.
    frame: u8,
    components: Vec<Component>,
    scans: usize,
    /// Ids of the components that have a scan of their own.
    alone: Vec<u8>,
}

#[derive(Debug)]
struct Component {
    id: u8,
    /// Sampling factors along x and y.
    sampling: [u8; 2],
}

/// The codec for a JPEG.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The default codec of `image`.
    Usual,
    /// The second codec, called by [`decode`], with this colour space.
    Second(ColorTransform),
    /// None: both codecs give wrong pixels.
    Refused,
}

const SEQUENTIAL: [u8; 2] = [0xC0, 0xC1];
const PROGRESSIVE: u8 = 0xC2;

impl Markers {
    /// Reads the segments of a file that begins with a start marker. Segments are skipped by their length, because
    /// an embedded thumbnail has markers of its own.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let mut at = 2; // After the start marker.
        loop {
            // The next marker: FF, followed by neither 00 (an escaped FF) nor FF (padding) nor a restart marker.
            let Some(next) = bytes.get(at..).and_then(|rest| {
                rest.windows(2).position(|pair| {
                    pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF | 0x01 | 0xD0..=0xD7)
                })
            }) else {
                return found;
            };
            at += next + 2;
            let marker = bytes[at - 1];
            if marker == 0xD9 {
                found.complete = true;
                return found;
            }
            let Some(length) = bytes.get(at..at + 2) else {
                return found;
            };
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let body = bytes.get(at + 2..at + length).unwrap_or_default();
            found.note(marker, body);
            at += length;
        }
    }

    fn note(&mut self, marker: u8, body: &[u8]) {
        match marker {
            0xE0 if body.starts_with(b"JFIF\0") => self.jfif = true,
            0xEE if body.starts_with(b"Adobe") && body.len() >= 12 => self.adobe = Some(body[11]),
            0xDA => {
                self.scans += 1;
                if let [1, id, ..] = *body
                    && !self.alone.contains(&id)
                {
                    self.alone.push(id);
                }
            }
            // C0 to CF are frames, except C4 (Huffman tables), CC (arithmetic tables) and C8 (reserved).
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) && self.frame == 0 => {
                self.frame = marker;
                let components = body.get(6..).unwrap_or_default().chunks_exact(3);
                self.components = components
                    .map(|component| Component {
                        id: component[0],
                        sampling: [component[1] >> 4, component[1] & 15],
                    })
                    .collect();
            }
            _ => {}
        }
    }

    /// The codec that decodes this file correctly.
    pub(super) fn route(&self) -> Route {
        let progressive = self.frame == PROGRESSIVE;
        let known = progressive || SEQUENTIAL.contains(&self.frame);
        let Some(colours) = self.colours().filter(|_| known) else {
            return Route::Usual; // The error of this codec says what is not supported.
        };
        let most = [0, 1].map(|axis| self.components.iter().map(move |c| c.sampling[axis]).max());
        let most = most.map(Option::unwrap_or_default);
        let lone = self.components.len() == 1;
        let of_three = self.components.iter().any(|c| c.sampling.contains(&3));
        let plain_sampling = lone || (self.components[0].sampling == most && !of_three);
        let one_scan = self.scans <= 1;
        if plain_sampling && (progressive || one_scan) && colours == self.colours_as_usual() {
            return Route::Usual;
        }
        // jpeg-decoder 0.3.2 reads too many blocks of a component that has a scan of its own and a sampling factor
        // between 1 and the largest.
        let between = |c: &Component| {
            let pairs = c.sampling.iter().zip(most);
            self.alone.contains(&c.id) && pairs.into_iter().any(|(&s, most)| s > 1 && s < most)
        };
        if self.components.iter().any(between) {
            return Route::Refused;
        }
        Route::Second(colours)
    }

    /// The colour space by libjpeg's rules; `None` for a number of components that no image has.
    fn colours(&self) -> Option<ColorTransform> {
        Some(match (self.components.len(), self.adobe) {
            (1, _) => ColorTransform::Grayscale,
            (3, _) if self.jfif => ColorTransform::YCbCr,
            (3, Some(0)) => ColorTransform::RGB,
            (3, None) if self.ids_are_rgb() => ColorTransform::RGB,
            (3, _) => ColorTransform::YCbCr,
            (4, None | Some(0)) => ColorTransform::CMYK,
            (4, _) => ColorTransform::YCCK,
            _ => return None,
        })
    }

    /// The colour space that zune-jpeg 0.5.15 assumes; `Unknown` for untested combinations.
    fn colours_as_usual(&self) -> ColorTransform {
        match (self.components.len(), self.adobe) {
            (1, _) => ColorTransform::Grayscale,
            (3, Some(0)) => ColorTransform::RGB,
            (3, _) if self.ids_are_rgb() => ColorTransform::RGB,
            (3, _) => ColorTransform::YCbCr,
            (4, None | Some(0)) => ColorTransform::CMYK,
            (4, Some(2)) => ColorTransform::YCCK,
            _ => ColorTransform::Unknown,
        }
    }

    fn ids_are_rgb(&self) -> bool {
        self.components.iter().map(|c| c.id).eq(*b"RGB")
    }
}

/// Decodes a complete JPEG of [`Route::Second`].
///
/// # Errors
/// [`DecodeError`], as [`super::decode::decode`].
pub(super) fn decode(
    bytes: &[u8],
    colours: ColorTransform,
    max_pixels: u64,
) -> Result<RgbImage, DecodeError> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_color_transform(colours);
    decoder.read_info().map_err(describe)?;
    let info = decoder
        .info()
        .ok_or_else(|| DecodeError::Corrupt("it has no frame".into()))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(DecodeError::TooManyPixels {
            size: Some((width, height)),
            max_pixels,
        });
    }
    let samples = decoder.decode().map_err(describe)?;
    let pixels = match info.pixel_format {
        PixelFormat::RGB24 => samples,
        PixelFormat::L8 => samples.iter().flat_map(|&grey| [grey; 3]).collect(),
        PixelFormat::CMYK32 => samples.chunks_exact(4).flat_map(rgb_of_cmyk).collect(),
        PixelFormat::L16 => return Err(DecodeError::Unsupported("16-bit samples".into())),
    };
    RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| DecodeError::Corrupt("its samples are not as many as its pixels".into()))
}

/// (255−C)·(255−K)/255, rounded.
fn rgb_of_cmyk(cmyk: &[u8]) -> [u8; 3] {
    let light = |ink: u8| u32::from(255 - ink);
    let key = light(cmyk[3]);
    [0, 1, 2].map(|channel| ((light(cmyk[channel]) * key + 127) / 255) as u8)
}

fn describe(error: Error) -> DecodeError {
    let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match error {
        Error::Unsupported(what) => DecodeError::Unsupported(one_line(format!("{what:?}"))),
        Error::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => DecodeError::Truncated,
        error => DecodeError::Corrupt(one_line(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
