//! The true correspondence of two pictures.

use densecl::synthetic::{Correspondence, WarpMap};
use wasm_bindgen::prelude::wasm_bindgen;

/// The known correspondence of two pictures of one size; positions are normalised to [0, 1].
#[wasm_bindgen]
#[derive(Debug, Clone)]
pub struct Truth {
    map: Map,
    size: [f32; 2],
}

#[derive(Debug, Clone)]
enum Map {
    Scene(Correspondence),
    Warp(WarpMap),
}

impl Truth {
    pub(crate) fn scene(map: Correspondence) -> Self {
        Self {
            size: [map.width as f32, map.height as f32],
            map: Map::Scene(map),
        }
    }

    /// The true point in B of a point (u, v) of A; `None` where the point is not visible in B.
    pub(crate) fn find(&self, [u, v]: [f32; 2]) -> Option<[f32; 2]> {
        let [width, height] = self.size;
        let (x, y) = (u * width, v * height);
        let [x, y] = match &self.map {
            Map::Scene(map) => map.at(x, y),
            Map::Warp(map) => map.at(x, y),
        }?;
        Some([x / width, y / height])
    }

    /// Width and height of the pictures in pixels.
    pub(crate) fn size(&self) -> [f32; 2] {
        self.size
    }
}

#[wasm_bindgen]
impl Truth {
    /// The correspondence of a picture of `width` × `height` pixels with its `Picture.warped(seed)`.
    pub fn warp(seed: u32, width: u32, height: u32) -> Truth {
        Self {
            map: Map::Warp(WarpMap::new(u64::from(seed), width, height)),
            size: [width as f32, height as f32],
        }
    }

    /// The true point `[u, v]` in B of the point (`u`, `v`) of A; `undefined` in JavaScript where it is not
    /// visible in B.
    pub fn at(&self, u: f32, v: f32) -> Option<Vec<f32>> {
        self.find([u, v]).map(Vec::from)
    }
}
