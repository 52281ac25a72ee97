//! Lattice noise from an integer hash, without tables or state, and the same on every platform.

use super::math::{Vec3, floor, vec3};

/// A 32-bit hash of a lattice point; its upper bits are mixed best. It takes half of the time of
/// rendering, so it makes one round of mixing; more rounds make no visible difference.
#[inline]
pub(super) fn hash(x: i32, y: i32, z: i32, seed: u32) -> u32 {
    let mut h = seed
        ^ (x as u32).wrapping_mul(0x9e37_79b1)
        ^ (y as u32).wrapping_mul(0x85eb_ca77)
        ^ (z as u32).wrapping_mul(0xc2b2_ae3d);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h ^ (h >> 15)
}

/// Maps a hash to a number in [0, 1).
#[inline]
pub(super) fn unit(hash: u32) -> f32 {
    (hash >> 8) as i32 as f32 * (1.0 / 16_777_216.0)
}

/// Value noise: a smooth interpolation of random values at the integer points, in [0, 1).
#[inline]
pub(super) fn value(p: Vec3, seed: u32) -> f32 {
    let (x, y, z) = (floor(p.x), floor(p.y), floor(p.z));
    let fade = |t: f32| t * t * (3.0 - 2.0 * t);
    let fx = fade(p.x - x as f32);
    let fy = fade(p.y - y as f32);
    let fz = fade(p.z - z as f32);
    let corner = |dx, dy, dz| unit(hash(x + dx, y + dy, z + dz, seed));
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    let near = mix(
        mix(corner(0, 0, 0), corner(1, 0, 0), fx),
        mix(corner(0, 1, 0), corner(1, 1, 0), fx),
        fy,
    );
    let far = mix(
        mix(corner(0, 0, 1), corner(1, 0, 1), fx),
        mix(corner(0, 1, 1), corner(1, 1, 1), fx),
        fy,
    );
    mix(near, far, fz)
}

/// A sum of `octaves` of value noise, each twice as fine and half as strong as the one before,
/// scaled to [0, 1).
#[inline]
pub(super) fn fractal(p: Vec3, octaves: u32, seed: u32) -> f32 {
    let (mut sum, mut weight, mut total, mut q) = (0.0, 1.0, 0.0, p);
    for octave in 0..octaves {
        sum += weight * value(q, seed.wrapping_add(octave));
        total += weight;
        weight *= 0.5;
        q = q * 2.03 + vec3(17.3, 5.9, 11.1);
    }
    sum / total
}

/// The cell of a jittered lattice (a Voronoi diagram) that a point lies in.
pub(super) struct Cell {
    /// A hash of the cell.
    pub(super) id: u32,
    /// The distance to its centre.
    pub(super) distance: f32,
    /// How much farther away the second nearest centre is: 0 on the border of the cell.
    pub(super) margin: f32,
}

/// The cell that `p` lies in. Centres lie at most a quarter from the middle of their lattice cube along
/// each axis, so the search covers the eight nearest cubes.
pub(super) fn cell(p: Vec3, seed: u32) -> Cell {
    let (x, y, z) = (floor(p.x - 0.5), floor(p.y - 0.5), floor(p.z - 0.5));
    let (mut first, mut second, mut id) = (f32::MAX, f32::MAX, 0);
    for corner in 0..8 {
        let (cx, cy, cz) = (x + (corner & 1), y + ((corner >> 1) & 1), z + (corner >> 2));
        let h = hash(cx, cy, cz, seed);
        let jitter = |shift: u32| ((h >> shift) & 0x3ff) as i32 as f32 * (0.5 / 1024.0) + 0.25;
        let centre = vec3(
            cx as f32 + jitter(0),
            cy as f32 + jitter(10),
            cz as f32 + jitter(20),
        );
        let offset = centre - p;
        let squared = offset.dot(offset);
        if squared < first {
            second = first;
            first = squared;
            id = h;
        } else if squared < second {
            second = squared;
        }
    }
    let distance = first.sqrt();
    // The hash is mixed once more: the bits that placed the centre must not also choose its colour.
    Cell {
        id: id.wrapping_mul(0x9e37_79b1) ^ (id >> 16),
        distance,
        margin: second.sqrt() - distance,
    }
}
