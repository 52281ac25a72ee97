//! Pictures, those of the visitor and rendered scenes.

use densecl::features::{SIDES, network_picture};
use densecl::synthetic::{SceneConfig, ScenePair, scene_pair, warp};
use image::{Rgb, RgbImage};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{failure::Failure, truth::Truth};

/// The most pixels of a decoded picture: 4096 × 4096. Larger pictures are scaled down by the browser first.
const MAX_PIXELS: u64 = 1 << 24;

/// A picture of the size of the network's input.
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
    /// Makes a picture from opaque RGBA pixels, resized as by `densecl match`: the longer side becomes about
    /// `side` pixels, and both sides are multiples of 32.
    ///
    /// # Errors
    /// `image-too-large` for more than 4096 × 4096 pixels; `worker` when `rgba` does not hold `width` ×
    /// `height` pixels or `side` is out of range.
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

    /// Makes a picture from the bytes of [`Picture::rgb`].
    ///
    /// # Errors
    /// `worker` when `rgb` does not hold `width` × `height` pixels.
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

    /// Width in pixels.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> u32 {
        self.image.width()
    }

    /// Height in pixels.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> u32 {
        self.image.height()
    }

    /// Bytes of red, green, blue, row by row.
    pub fn rgb(&self) -> Vec<u8> {
        self.image.as_raw().clone()
    }

    /// The pixels as opaque RGBA, for an `ImageData`.
    pub fn rgba(&self) -> Vec<u8> {
        let opaque = |&Rgb([r, g, b]): &Rgb<u8>| [r, g, b, 255];
        self.image.pixels().flat_map(opaque).collect()
    }

    /// This picture warped by a random homography that `seed` determines; [`Truth::warp`] is the
    /// correspondence.
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
    /// Renders scene number `index` of `seed` in `size` × `size` pixels. `baseline` is the distance between the
    /// viewpoints as a fraction of their distance from the scene, 0 to 1; without it the core's default.
    ///
    /// # Errors
    /// `worker` when `size` or `baseline` is out of range.
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

    /// The first view. It is moved out to avoid a copy, so a second call returns an empty picture.
    pub fn a(&mut self) -> Picture {
        std::mem::take(&mut self.0.a.image).into()
    }

    /// The second view. It is moved out to avoid a copy, so a second call returns an empty picture.
    pub fn b(&mut self) -> Picture {
        std::mem::take(&mut self.0.b.image).into()
    }

    /// The true positions of the first view's points in the second.
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
