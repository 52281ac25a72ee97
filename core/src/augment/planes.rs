//! A picture as three planes of bytes.
//!
//! Loops over planes become vector instructions, loops over interleaved pixels hardly do; and a
//! network takes planes.

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
    /// Those of `image`.
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

    /// Pixels of a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All values, [3, height, width].
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Becomes the picture of these interleaved pixels, in the memory that it has.
    ///
    /// # Panics
    /// When `pixels` are not 3 · width · height.
    pub(super) fn set(&mut self, width: u32, height: u32, pixels: &[u8]) {
        let (pixels, rest) = pixels.as_chunks::<3>();
        let count = width as usize * height as usize;
        assert!(
            pixels.len() == count && rest.is_empty(),
            "{width} × {height} pixels are of three bytes each"
        );
        (self.width, self.height) = (width, height);
        self.bytes.resize(3 * count, 0);
        separate(pixels, self.channels_mut());
    }

    /// Red, green and blue.
    pub(super) fn channels(&self) -> [&[u8]; 3] {
        let (red, rest) = self.bytes.split_at(self.bytes.len() / 3);
        let (green, blue) = rest.split_at(red.len());
        [red, green, blue]
    }

    /// Red, green and blue.
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
