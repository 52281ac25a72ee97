//! Harmonious sets of colours.

use rand::RngExt;

use super::math::{Vec3, vec3};
use super::texture::pick;
use crate::rng::Rng;

/// Palettes of six sRGB colours each, from dark to light, with one or two accents.
const PALETTES: [[[u8; 3]; 6]; 16] = [
    // Harbour: navy, teal, sand, coral.
    [
        [28, 52, 84],
        [38, 112, 132],
        [118, 182, 178],
        [244, 222, 179],
        [236, 124, 92],
        [190, 60, 58],
    ],
    // Orchard.
    [
        [54, 74, 40],
        [112, 140, 60],
        [196, 190, 92],
        [247, 235, 197],
        [226, 110, 56],
        [150, 42, 48],
    ],
    // Toy box: primary colours.
    [
        [32, 74, 158],
        [216, 48, 44],
        [250, 202, 52],
        [46, 150, 88],
        [246, 242, 230],
        [240, 130, 40],
    ],
    // Lavender field.
    [
        [66, 48, 104],
        [122, 92, 168],
        [190, 168, 214],
        [244, 226, 232],
        [238, 158, 120],
        [104, 134, 98],
    ],
    // Desert.
    [
        [92, 46, 36],
        [170, 82, 50],
        [222, 150, 86],
        [248, 214, 156],
        [72, 124, 132],
        [36, 62, 80],
    ],
    // Nordic.
    [
        [48, 56, 66],
        [104, 118, 130],
        [176, 188, 192],
        [240, 238, 228],
        [206, 84, 70],
        [226, 176, 80],
    ],
    // Lagoon.
    [
        [10, 66, 92],
        [24, 132, 150],
        [94, 202, 190],
        [222, 244, 218],
        [252, 206, 106],
        [242, 124, 96],
    ],
    // Autumn.
    [
        [74, 36, 28],
        [148, 54, 32],
        [212, 108, 38],
        [240, 178, 72],
        [110, 112, 54],
        [248, 230, 190],
    ],
    // Sherbet.
    [
        [232, 106, 132],
        [250, 176, 160],
        [254, 226, 166],
        [158, 214, 184],
        [98, 164, 204],
        [88, 84, 140],
    ],
    // Forest.
    [
        [22, 52, 44],
        [46, 94, 66],
        [116, 150, 92],
        [208, 204, 148],
        [140, 96, 58],
        [232, 226, 206],
    ],
    // Evening.
    [
        [34, 30, 70],
        [92, 44, 112],
        [180, 64, 118],
        [246, 114, 100],
        [254, 186, 112],
        [252, 232, 190],
    ],
    // Porcelain.
    [
        [24, 50, 120],
        [60, 102, 184],
        [148, 184, 224],
        [238, 242, 246],
        [212, 182, 122],
        [164, 60, 50],
    ],
    // Spice market.
    [
        [120, 32, 50],
        [204, 72, 40],
        [236, 158, 38],
        [246, 218, 128],
        [44, 108, 104],
        [64, 42, 62],
    ],
    // Garden party.
    [
        [36, 108, 84],
        [126, 186, 112],
        [238, 232, 150],
        [250, 168, 174],
        [212, 70, 110],
        [78, 58, 98],
    ],
    // Clay and slate.
    [
        [52, 60, 72],
        [96, 110, 124],
        [188, 122, 92],
        [224, 172, 138],
        [244, 228, 208],
        [118, 62, 48],
    ],
    // Candy.
    [
        [84, 40, 140],
        [232, 62, 140],
        [254, 160, 60],
        [255, 232, 110],
        [60, 190, 190],
        [250, 244, 250],
    ],
];

/// The colours of one scene.
pub(super) struct Palette {
    colors: [Vec3; 6],
    accents: [Vec3; 6],
}

impl Palette {
    pub(super) fn random(rng: &mut Rng) -> Palette {
        let mut draw = || pick(rng, &PALETTES).map(linear);
        Palette {
            colors: draw(),
            accents: draw(),
        }
    }

    /// Four different colours for an object, with probability 0.3 from the scene's second palette.
    pub(super) fn object(&self, rng: &mut Rng) -> [Vec3; 4] {
        let mut colors = if rng.random_bool(0.3) {
            self.accents
        } else {
            self.colors
        };
        // A partial Fisher–Yates shuffle: only the first four colours are used.
        for i in 0..4 {
            let j = rng.random_range(i..6u32);
            colors.swap(i as usize, j as usize);
        }
        let brightness = rng.random_range(0.85..1.15);
        [0, 1, 2, 3].map(|i| colors[i] * brightness)
    }

    /// Four muted colours, close to one another, for ground and walls, so that objects stand out.
    pub(super) fn backdrop(&self, rng: &mut Rng) -> [Vec3; 4] {
        let colors = self.object(rng);
        let grey = Vec3::splat(rng.random_range(0.25..0.6));
        let base = colors[0].mix(grey, 0.45);
        let strength = rng.random_range(0.3..0.6);
        [
            base,
            base.mix(colors[1], strength),
            base.mix(colors[2], strength),
            base.mix(colors[3], strength),
        ]
    }
}

/// Converts sRGB to linear RGB with a gamma of 2, whose inverse is `sqrt`. The result is within a few grey
/// levels of the standard's and the same on every platform.
fn linear(rgb: [u8; 3]) -> Vec3 {
    let channel = |v: u8| (f32::from(v) / 255.0) * (f32::from(v) / 255.0);
    vec3(channel(rgb[0]), channel(rgb[1]), channel(rgb[2]))
}

/// The inverse of [`linear`], after a tone curve that compresses bright values instead of clipping them.
pub(super) fn encode(color: Vec3) -> [u8; 3] {
    [color.x, color.y, color.z].map(|v| {
        let v = v.max(0.0);
        let toned = v * (1.0 + 0.12 * v) / (1.0 + 0.35 * v) * 1.15;
        (toned.min(1.0).sqrt() * 255.0 + 0.5) as u8
    })
}
