//! A picture as three planes of bytes.
//!
//! Compilers vectorise loops over planes, but hardly any over interleaved pixels, and a network's
//! input consists of planes.

use image::RgbImage;
use multiversion::multiversion;

/// RGB bytes as [3, height, width], red plane first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planes {
    width: u32,
    height: u32,
    bytes: Vec<u8>,
}

impl Planes {
    /// The planes of `image`.
    pub fn from_rgb(image: &RgbImage) -> Self {
        let mut planes = Self::default();
        planes.set(image.width(), image.height(), image);
        planes
    }

    /// The picture with interleaved channels.
    pub fn to_rgb(&self) -> RgbImage {
        let mut image = RgbImage::new(self.width, self.height);
        let [red, green, blue] = self.channels();
        let values = red.iter().zip(green).zip(blue);
        for (pixel, ((&r, &g), &b)) in image.pixels_mut().zip(values) {
            pixel.0 = [r, g, b];
        }
        image
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All values, [3, height, width].
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Replaces the picture by `pixels` with interleaved channels, in the same buffer.
    ///
    /// # Panics
    /// When `pixels` does not hold exactly 3 · width · height bytes.
    pub(super) fn set(&mut self, width: u32, height: u32, pixels: &[u8]) {
        let (pixels, rest) = pixels.as_chunks::<3>();
        let count = width as usize * height as usize;
        assert!(
            pixels.len() == count && rest.is_empty(),
            "a picture of {width} × {height} pixels must have 3 bytes per pixel"
        );
        (self.width, self.height) = (width, height);
        self.bytes.resize(3 * count, 0);
        separate(pixels, self.channels_mut());
    }

    /// The planes of red, green and blue.
    pub(super) fn channels(&self) -> [&[u8]; 3] {
        let (red, rest) = self.bytes.split_at(self.bytes.len() / 3);
        let (green, blue) = rest.split_at(red.len());
        [red, green, blue]
    }

    /// The planes of red, green and blue.
    pub(super) fn channels_mut(&mut self) -> [&mut [u8]; 3] {
        let count = self.bytes.len() / 3;
        let (red, rest) = self.bytes.split_at_mut(count);
        let (green, blue) = rest.split_at_mut(count);
        [red, green, blue]
    }

    /// All values, [3, height, width].
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

#[multiversion(targets = "simd")]
fn separate(pixels: &[[u8; 3]], [red, green, blue]: [&mut [u8]; 3]) {
    let planes = red.iter_mut().zip(green).zip(blue);
    for (&[r, g, b], ((red, green), blue)) in pixels.iter().zip(planes) {
        (*red, *green, *blue) = (r, g, b);
    }
}
