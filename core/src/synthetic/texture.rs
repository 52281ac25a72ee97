//! Procedural solid textures: they give a colour for every point of space, so that a solid of any shape
//! needs no texture coordinates.

use rand::RngExt;

use super::math::{Rotation, Vec3, angle, floor, fract, smoothstep, vec3};
use super::noise;
use crate::rng::Rng;

/// The pattern of a texture. Lengths are in cells of the pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pattern {
    /// Growth rings about an axis.
    Wood,
    /// Veins.
    Marble,
    Bricks,
    Checker,
    Stripes,
    /// Stripes bent to a zigzag.
    Zigzag,
    Dots,
    /// Cloud-like patches of colour with soft edges.
    Mottled,
    /// Cloud-like patches of colour with hard edges.
    Camouflage,
    /// Irregular patches with seams.
    Patchwork,
    /// Small irregular chips on a plain ground.
    Terrazzo,
    /// Square tiles of different colours with grout between them.
    Tiles,
    /// Crossing translucent bands.
    Plaid,
    /// Sectors about an axis, twisted along it, as on a beach ball or a barber's pole.
    Swirl,
    /// Fine flecks on a plain ground.
    Speckled,
}

const OBJECT_PATTERNS: [Pattern; 15] = [
    Pattern::Wood,
    Pattern::Marble,
    Pattern::Bricks,
    Pattern::Checker,
    Pattern::Stripes,
    Pattern::Zigzag,
    Pattern::Dots,
    Pattern::Mottled,
    Pattern::Camouflage,
    Pattern::Patchwork,
    Pattern::Terrazzo,
    Pattern::Tiles,
    Pattern::Plaid,
    Pattern::Swirl,
    Pattern::Speckled,
];

const GROUND_PATTERNS: [Pattern; 10] = [
    Pattern::Wood,
    Pattern::Marble,
    Pattern::Checker,
    Pattern::Mottled,
    Pattern::Patchwork,
    Pattern::Terrazzo,
    Pattern::Tiles,
    Pattern::Plaid,
    Pattern::Speckled,
    Pattern::Camouflage,
];

const WALL_PATTERNS: [Pattern; 10] = [
    Pattern::Bricks,
    Pattern::Bricks,
    Pattern::Tiles,
    Pattern::Stripes,
    Pattern::Mottled,
    Pattern::Patchwork,
    Pattern::Dots,
    Pattern::Zigzag,
    Pattern::Terrazzo,
    Pattern::Plaid,
];

/// An offset that puts the origin into the middle of a lattice cell, so that a plane through the origin does
/// not run along the borders of cells.
const CELL_MIDDLE: Vec3 = vec3(64.5, 64.5, 64.5);

/// A pattern with its colours, scale and orientation.
#[derive(Debug, Clone)]
pub(super) struct Texture {
    pattern: Pattern,
    colors: [Vec3; 4],
    mean: Vec3,
    /// Cells per unit of length.
    scale: f32,
    rotation: Rotation,
    seed: u32,
    /// Strength of the fine variation in brightness that every material has.
    grain: f32,
    /// A number in [0, 1) that each pattern uses in its own way.
    variant: f32,
    /// Strength of the specular highlight; 0 is matt.
    pub(super) gloss: f32,
}

impl Texture {
    /// A material for an object of about this `radius`. The first of `colors` is the main one.
    pub(super) fn for_object(rng: &mut Rng, colors: [Vec3; 4], radius: f32) -> Texture {
        let pattern = pick(rng, &OBJECT_PATTERNS);
        let scale = rng.random_range(1.8..3.2) / radius.max(0.16);
        let gloss = if rng.random_bool(0.45) {
            rng.random_range(0.15..0.6)
        } else {
            0.0
        };
        let texture = Texture::new(rng, pattern, colors, scale, gloss);
        // Lattice patterns stay aligned with the object's axes, so that flat faces are parallel to the borders.
        let organic = matches!(
            pattern,
            Pattern::Wood | Pattern::Marble | Pattern::Mottled | Pattern::Camouflage
        );
        let rotation = if organic {
            Rotation::from_uniform([rng.random(), rng.random(), rng.random()])
        } else if pattern == Pattern::Stripes && rng.random_bool(0.5) {
            Rotation::lay_down(vec3(1.0, rng.random_range(-1.0..1.0), 0.0).normalized())
        } else {
            Rotation::IDENTITY
        };
        Texture {
            rotation,
            ..texture
        }
    }

    /// A material for the ground; it is evaluated at positions relative to a point of the ground.
    pub(super) fn for_ground(rng: &mut Rng, colors: [Vec3; 4]) -> Texture {
        let pattern = pick(rng, &GROUND_PATTERNS);
        let soft = matches!(
            pattern,
            Pattern::Mottled | Pattern::Marble | Pattern::Camouflage
        );
        let scale = rng.random_range(1.6..3.0) * if soft { 1.5 } else { 1.0 };
        let texture = Texture::new(rng, pattern, colors, scale, 0.0);
        let rotation = match pattern {
            // The axis of the rings lies nearly in the ground, which then looks like planks; about a vertical axis
            // it would show circles.
            Pattern::Wood => {
                Rotation::lay_down(vec3(rng.random_range(-1.0..1.0), 0.1, 1.0).normalized())
            }
            _ => Rotation::yaw(rng.random()),
        };
        Texture {
            rotation,
            ..texture
        }
    }

    /// A material for a wall; it is evaluated at positions relative to a point of the wall, in a frame in which
    /// the wall faces +z.
    pub(super) fn for_wall(rng: &mut Rng, colors: [Vec3; 4]) -> Texture {
        let pattern = pick(rng, &WALL_PATTERNS);
        let scale = rng.random_range(1.4..2.6);
        Texture::new(rng, pattern, colors, scale, 0.0)
    }

    fn new(rng: &mut Rng, pattern: Pattern, colors: [Vec3; 4], scale: f32, gloss: f32) -> Texture {
        let mean = match pattern {
            Pattern::Patchwork | Pattern::Tiles | Pattern::Mottled | Pattern::Camouflage => {
                (colors[0] + colors[1] + colors[2]) * (1.0 / 3.0)
            }
            Pattern::Bricks | Pattern::Terrazzo | Pattern::Speckled | Pattern::Dots => {
                colors[0].mix(colors[1], 0.2)
            }
            _ => colors[0].mix(colors[1], 0.5),
        };
        Texture {
            pattern,
            colors,
            mean,
            scale,
            rotation: Rotation::IDENTITY,
            seed: rng.random(),
            grain: rng.random_range(0.15..0.35),
            variant: rng.random(),
            gloss,
        }
    }

    /// The linear colour at a point with unit normal `n`, both in the frame of the solid.
    /// `footprint` is the distance between neighbouring samples. Where it approaches the size of a cell, the
    /// pattern fades to its mean colour, because it would alias.
    pub(super) fn color(&self, p: Vec3, n: Vec3, footprint: f32) -> Vec3 {
        let blur = smoothstep(0.35, 1.1, footprint * self.scale);
        if blur >= 1.0 {
            return self.mean;
        }
        let local = self.rotation.apply(p) * self.scale;
        let q = local + CELL_MIDDLE;
        let n = self.rotation.apply(n);
        self.pattern_color(q, local, n).mix(self.mean, blur)
    }

    /// The fine variation in brightness at a point, a factor about 1.
    pub(super) fn grain(&self, p: Vec3, footprint: f32) -> f32 {
        let scale = 3.7 * self.scale;
        let blur = smoothstep(0.3, 0.9, footprint * scale);
        if blur >= 1.0 {
            return 1.0;
        }
        let q = self.rotation.apply(p) * scale;
        let uneven = noise::fractal(q, 2, self.seed ^ 0x51ed) - 0.5;
        1.0 + 2.0 * self.grain * (1.0 - blur) * uneven
    }

    fn pattern_color(&self, q: Vec3, local: Vec3, n: Vec3) -> Vec3 {
        let [base, second, third, fourth] = self.colors;
        match self.pattern {
            Pattern::Wood => {
                let bend = noise::fractal(vec3(q.x, q.y * 0.25, q.z), 2, self.seed);
                let ring = (local.x * local.x + local.z * local.z).sqrt() * 1.3 + 2.2 * bend;
                let year = fract(ring);
                let band = smoothstep(0.0, 0.75, year) * (1.0 - smoothstep(0.85, 1.0, year));
                let fibre = noise::value(vec3(q.x * 9.0, q.y * 0.7, q.z * 9.0), self.seed ^ 7);
                base.mix(second, 0.85 * band) * (0.8 + 0.4 * fibre)
            }
            Pattern::Marble => {
                let bend = noise::fractal(q * 0.9, 3, self.seed);
                let wave = (fract(0.45 * q.x + 0.3 * q.y + 2.4 * bend) - 0.5).abs() * 2.0;
                let vein = 1.0 - smoothstep(0.0, 0.35, wave);
                base.mix(third, 0.35 * bend).mix(second, 0.9 * vein)
            }
            Pattern::Bricks => {
                let q = vec3(q.x, q.y * 1.9, q.z);
                let row = floor(q.y);
                let shift = 0.5 * (row & 1) as f32;
                let q = vec3(q.x + shift, q.y, q.z + shift);
                let id = noise::hash(floor(q.x), row, floor(q.z), self.seed);
                let clay = base.mix(third, 0.55 * noise::unit(id));
                clay.mix(second, joint(q, n, vec3(0.05, 0.09, 0.05)))
            }
            Pattern::Checker => {
                let q = q - n * 0.01;
                let (x, y, z) = (floor(q.x), floor(q.y), floor(q.z));
                let tint = noise::unit(noise::hash(x, y, z, self.seed));
                let color = if (x + y + z) & 1 == 0 { base } else { second };
                color * (0.85 + 0.3 * tint)
            }
            Pattern::Stripes => {
                let at = fract(q.y * (1.0 + self.variant));
                if at < 0.5 {
                    base
                } else if at > 0.7 && at < 0.8 {
                    third
                } else {
                    second
                }
            }
            Pattern::Zigzag => {
                let tooth = (fract(q.x) - 0.5).abs() + (fract(q.z) - 0.5).abs();
                let at = fract(q.y * 1.2 + tooth);
                let color = if at < 0.4 { base } else { second };
                if at > 0.8 { third } else { color }
            }
            Pattern::Dots => {
                let q = if self.variant < 0.5 {
                    q
                } else {
                    vec3(q.x * 1.4, q.y * 1.4, q.z * 1.4)
                };
                let (x, y, z) = (floor(q.x), floor(q.y), floor(q.z));
                let d = vec3(
                    q.x - x as f32 - 0.5,
                    q.y - y as f32 - 0.5,
                    q.z - z as f32 - 0.5,
                );
                // The dots are cuts through balls. A flat face could cut them at any height, which would change their
                // sizes, so the distance along the normal is left out.
                let keep = |n: f32| 1.0 - smoothstep(0.6, 0.95, n.abs());
                let d = d.scaled(vec3(keep(n.x), keep(n.y), keep(n.z)));
                let id = noise::hash(x, y, z, self.seed);
                let radius = 0.24 + 0.14 * noise::unit(id);
                let dot = match id % 3 {
                    0 => second,
                    1 => third,
                    _ => second.mix(fourth, 0.6),
                };
                if d.dot(d) < radius * radius {
                    dot
                } else {
                    base
                }
            }
            Pattern::Mottled => {
                let cloud = noise::fractal(q, 3, self.seed);
                let mixed = base.mix(second, smoothstep(0.3, 0.62, cloud));
                mixed.mix(
                    third,
                    smoothstep(0.6, 0.78, noise::value(q * 1.7, self.seed ^ 3)),
                )
            }
            Pattern::Camouflage => {
                let first = noise::fractal(q * 0.9, 2, self.seed);
                let other = noise::fractal(q * 1.1, 2, self.seed ^ 0xabcd);
                if first > 0.56 {
                    second
                } else if other > 0.56 {
                    third
                } else if other < 0.36 {
                    fourth
                } else {
                    base
                }
            }
            Pattern::Patchwork => {
                let cell = noise::cell(q * 1.1, self.seed);
                let patch = self.colors[(cell.id % 4) as usize];
                let shade = 0.8 + 0.4 * noise::unit(cell.id ^ 0x5bd1_e995);
                patch * (shade * (0.35 + 0.65 * smoothstep(0.03, 0.1, cell.margin)))
            }
            Pattern::Terrazzo => {
                let cell = noise::cell(q * 2.0, self.seed);
                let chip = self.colors[1 + (cell.id % 3) as usize];
                let size = 0.2 + 0.35 * noise::unit(cell.id ^ 0x1b87);
                if cell.distance < size && cell.margin > 0.06 {
                    chip
                } else {
                    base
                }
            }
            Pattern::Tiles => {
                let q = q * 1.2;
                let inside = q - n * 0.01;
                let id = noise::hash(floor(inside.x), floor(inside.y), floor(inside.z), self.seed);
                let tile = self.colors[[0, 0, 1, 2][(id % 4) as usize]];
                let tile = tile * (0.75 + 0.5 * noise::unit(id ^ 0x2c1b));
                tile.mix(
                    fourth.mix(Vec3::splat(0.6), 0.5),
                    joint(q, n, Vec3::splat(0.05)),
                )
            }
            Pattern::Plaid => {
                let band = |x: f32| -> f32 {
                    let at = fract(x);
                    let wide = if at < 0.5 { 0.5 } else { 0.0 };
                    wide + if at > 0.7 && at < 0.76 { 0.25 } else { 0.0 }
                };
                // On a flat face only the bands along the two directions in its plane are drawn.
                let seen = |n: f32| -> f32 { if n.abs() > 0.75 { 0.0 } else { 1.0 } };
                let amount = band(q.x) * seen(n.x) + band(q.y) * seen(n.y) + band(q.z) * seen(n.z);
                base.mix(second, amount.min(1.0))
            }
            Pattern::Swirl => {
                let sectors = 3.0 + floor(self.variant * 4.0) as f32;
                let turn =
                    angle(local.x, local.z) * sectors + 0.35 * local.y * (self.variant - 0.3);
                let at = fract(turn);
                let id = noise::unit(noise::hash(floor(turn * 2.0), 0, 0, self.seed));
                let color = if at < 0.5 { base } else { second };
                color.mix(third, if id > 0.6 && at >= 0.5 { 0.8 } else { 0.0 })
            }
            Pattern::Speckled => {
                let fleck = noise::value(q * 4.5, self.seed);
                let other = noise::value(q * 3.1, self.seed ^ 0x77);
                let ground = base.mix(third, 0.4 * noise::value(q * 0.8, self.seed ^ 0x99));
                let ground = ground.mix(second, smoothstep(0.62, 0.7, fleck));
                ground.mix(fourth, smoothstep(0.68, 0.75, other))
            }
        }
    }
}

/// The joints between the cells of the unit lattice: 1 on the borders of the cells, 0 inside. Borders parallel to
/// the surface are left out, because a face that lies in such a border would consist of joint only.
fn joint(q: Vec3, n: Vec3, width: Vec3) -> f32 {
    let border = |x: f32, n: f32, width: f32| {
        let at = fract(x);
        let from_edge = at.min(1.0 - at);
        if n.abs() < 0.8 {
            1.0 - smoothstep(width * 0.7, width * 1.3, from_edge)
        } else {
            0.0
        }
    };
    border(q.x, n.x, width.x)
        .max(border(q.y, n.y, width.y))
        .max(border(q.z, n.z, width.z))
}

pub(super) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len() as u32) as usize]
}
