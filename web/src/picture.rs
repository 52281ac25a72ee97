//! Pictures: of the visitor, and rendered ones.

use densecl::features::{SIDES, network_picture};
use densecl::synthetic::{SceneConfig, ScenePair, scene_pair, warp};
use image::{Rgb, RgbImage};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{failure::Failure, truth::Truth};

/// Most pixels of a decoded picture: 4096 × 4096. JavaScript has larger ones scaled by the browser.
const MAX_PIXELS: u64 = 1 << 24;

/// A picture as the network sees it.
#[wasm_bindgen]
#[derive(Debug, Clone)]
pub struct Picture {
    image: RgbImage,
}

impl Picture {
    pub(crate) fn image(&self) -> &RgbImage {
        &self.image
    }
}

impl From<RgbImage> for Picture {
    fn from(image: RgbImage) -> Self {
        Self { image }
    }
}

#[wasm_bindgen]
impl Picture {
    /// From opaque RGBA pixels, resized as `densecl match` does: the longer side about `side` pixels,
    /// both multiples of 32.
    ///
    /// # Errors
    /// `image-too-large`; `worker` when `rgba` is not `width` × `height` pixels or `side` out of range.
    pub fn resized(rgba: &[u8], width: u32, height: u32, side: u32) -> Result<Picture, Failure> {
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Failure::new(
                "image-too-large",
                format!(
                    "the picture has {width} × {height} pixels; at most {MAX_PIXELS} are taken"
                ),
            ));
        }
        if !SIDES.contains(&side) {
            let (least, most) = (SIDES.start(), SIDES.end());
            let message = format!("a size of {side} pixels; must be {least} to {most}");
            return Err(Failure::request(message));
        }
        let (pixels, rest) = rgba.as_chunks::<4>();
        let complete = pixels.len() as u64 == u64::from(width) * u64::from(height);
        if pixels.is_empty() || !complete || !rest.is_empty() {
            let bytes = rgba.len();
            return Err(Failure::request(format!(
                "{bytes} bytes are not {width} × {height} RGBA pixels"
            )));
        }
        let mut at = pixels.iter();
        let image = RgbImage::from_fn(width, height, |_, _| {
            let &[r, g, b, _] = at.next().expect("one per pixel");
            Rgb([r, g, b])
        });
        Ok(network_picture(&image, side).into())
    }

    /// From the bytes of [`Picture::rgb`].
    ///
    /// # Errors
    /// `worker` when `rgb` is not `width` × `height` pixels.
    #[wasm_bindgen(js_name = fromRgb)]
    pub fn from_rgb(rgb: Vec<u8>, width: u32, height: u32) -> Result<Picture, Failure> {
        let within = width <= *SIDES.end() && height <= *SIDES.end();
        let bytes = rgb.len();
        RgbImage::from_raw(width, height, rgb)
            .filter(|image| within && image.as_raw().len() == bytes && bytes > 0)
            .filter(|image| bytes == 3 * image.pixels().len())
            .map(Self::from)
            .ok_or_else(|| {
                Failure::request(format!(
                    "{bytes} bytes are not {width} × {height} RGB pixels"
                ))
            })
    }

    /// Pixels across.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> u32 {
        self.image.width()
    }

    /// Pixels down.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> u32 {
        self.image.height()
    }

    /// Bytes of red, green, blue, row by row.
    pub fn rgb(&self) -> Vec<u8> {
        self.image.as_raw().clone()
    }

    /// The same for an `ImageData`: opaque RGBA.
    pub fn rgba(&self) -> Vec<u8> {
        let opaque = |&Rgb([r, g, b]): &Rgb<u8>| [r, g, b, 255];
        self.image.pixels().flat_map(opaque).collect()
    }

    /// The known warp of this picture with this seed; its truth is [`Truth::warp`].
    pub fn warped(&self, seed: u32) -> Picture {
        warp(&self.image, u64::from(seed)).image.into()
    }
}

/// One procedural scene from two viewpoints.
#[wasm_bindgen]
#[derive(Debug, Clone)]
pub struct Scene(ScenePair);

#[wasm_bindgen]
impl Scene {
    /// Scene number `index` of `seed`, `size` pixels square; `baseline` is how far the viewpoints are
    /// apart, 0 to 1, and the core's default when absent.
    ///
    /// # Errors
    /// `worker` when a number is out of range.
    pub fn render(
        seed: u32,
        index: u32,
        size: u32,
        baseline: Option<f32>,
    ) -> Result<Scene, Failure> {
        let default = SceneConfig::default();
        let config = SceneConfig {
            size,
            baseline: baseline.unwrap_or(default.baseline),
            ..default
        };
        config.validate().map_err(Failure::request)?;
        Ok(Self(scene_pair(u64::from(seed), u64::from(index), &config)))
    }

    /// The first view, handed out without a copy: a second call gives an empty picture.
    pub fn a(&mut self) -> Picture {
        std::mem::take(&mut self.0.a.image).into()
    }

    /// The second view, likewise.
    pub fn b(&mut self) -> Picture {
        std::mem::take(&mut self.0.b.image).into()
    }

    /// Where the points of the first view lie in the second.
    pub fn truth(self) -> Truth {
        Truth::scene(self.0.a_to_b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed<T>(result: Result<T, Failure>) -> String {
        result.err().map(|e| e.kind()).unwrap_or_default()
    }

    #[test]
    fn a_picture_is_refused_before_anything_is_made_of_it() {
        assert_eq!(
            failed(Picture::resized(&[], 12_000, 9_000, 224)),
            "image-too-large"
        );
        assert_eq!(failed(Picture::resized(&[0; 15], 2, 2, 224)), "worker");
        assert_eq!(failed(Picture::resized(&[0; 16], 2, 2, 0)), "worker");
        assert_eq!(failed(Picture::from_rgb(vec![0; 11], 2, 2)), "worker");
        assert_eq!(failed(Picture::from_rgb(vec![0; 15], 2, 2)), "worker");
        assert_eq!(failed(Scene::render(0, 0, 1 << 20, None)), "worker");
    }

    #[test]
    fn pixels_come_through() {
        let rgba: Vec<u8> = (0..64 * 32).flat_map(|_| [10, 20, 30, 255]).collect();
        let picture = Picture::resized(&rgba, 64, 32, 64).expect("a picture");
        assert_eq!((picture.width(), picture.height()), (64, 32));
        assert_eq!(picture.rgba(), rgba);
        let again = Picture::from_rgb(picture.rgb(), 64, 32).expect("the same");
        assert_eq!(again.rgba(), rgba);
    }
}
