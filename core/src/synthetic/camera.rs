//! A pinhole camera, and the two viewpoints of a pair.

use rand::RngExt;

use super::SceneConfig;
use super::math::{Vec3, sin_cos, vec3};
use super::shape::Placed;
use crate::rng::Rng;

/// The distance of the first viewpoint from the middle of the scene.
const DISTANCE: f32 = 5.2;

/// A pinhole camera with square pixels, its axis through the middle of a square image.
#[derive(Debug, Clone)]
pub(super) struct Camera {
    pub(super) origin: Vec3,
    right: Vec3,
    up: Vec3,
    forward: Vec3,
    /// The focal length in pixels.
    focal: f32,
    /// Half the size of the image, in pixels.
    middle: f32,
}

/// A rectangle of the image, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) x: [f32; 2],
    pub(super) y: [f32; 2],
}

impl Camera {
    /// A camera at `origin` that looks at `target`, rolled by `roll` turns; the focal length `focal` is in
    /// image widths.
    fn looking_at(origin: Vec3, target: Vec3, roll: f32, focal: f32, size: u32) -> Camera {
        let forward = (target - origin).normalized();
        let level = forward.cross(Vec3::UP).normalized();
        let upright = level.cross(forward);
        let (sin, cos) = sin_cos(roll);
        Camera {
            origin,
            right: level * cos + upright * sin,
            up: upright * cos - level * sin,
            forward,
            focal: focal * size as f32,
            middle: size as f32 * 0.5,
        }
    }

    /// The two viewpoints of a pair. The second is moved around the scene by `config.baseline` times
    /// the first one's distance, mostly sideways; it also moves closer or away, turns a little and rolls.
    pub(super) fn random_pair(rng: &mut Rng, config: &SceneConfig, outdoors: bool) -> [Camera; 2] {
        let (sin, cos) = sin_cos(rng.random_range(-0.07..0.07));
        // Outdoor scenes are seen from lower down, so that some sky shows above the horizon.
        let height = rng.random_range(if outdoors { 0.15..0.42 } else { 0.22..0.55 });
        let first = vec3(sin, height, cos).normalized();
        let (east, focal) = (vec3(cos, 0.0, -sin), rng.random_range(1.5..1.85));
        let target = vec3(
            rng.random_range(-0.15..0.15),
            0.36,
            rng.random_range(-0.15..0.15),
        );

        let lift: f32 = rng.random_range(-0.45..0.45);
        let aside = (1.0 - lift * lift).sqrt() * if rng.random_bool(0.5) { 1.0 } else { -1.0 };
        let step = (east * aside + Vec3::UP * lift) * config.baseline;
        let second = first + step;
        let second = vec3(second.x, second.y.clamp(0.14, 0.7), second.z).normalized();
        let zoom = rng.random_range(0.88..1.14);
        let rolls = [
            rng.random_range(-0.006..0.006),
            rng.random_range(-0.025..0.025),
        ];
        let shift = vec3(
            rng.random_range(-0.15..0.15),
            rng.random_range(-0.08..0.08),
            0.0,
        );
        [
            Camera::looking_at(
                target + first * DISTANCE,
                target,
                rolls[0],
                focal,
                config.size,
            ),
            Camera::looking_at(
                target + second * (DISTANCE * zoom),
                target + shift,
                rolls[1],
                focal,
                config.size,
            ),
        ]
    }

    /// A camera between this one (`share` 0) and `other` (1), on the straight line between their origins.
    pub(super) fn towards(&self, other: &Camera, share: f32) -> Camera {
        let forward = self.forward.mix(other.forward, share).normalized();
        let right = self.right.mix(other.right, share);
        let right = (right - forward * right.dot(forward)).normalized();
        Camera {
            origin: self.origin.mix(other.origin, share),
            right,
            up: right.cross(forward),
            forward,
            focal: self.focal + (other.focal - self.focal) * share,
            middle: self.middle,
        }
    }

    /// The unit direction of the ray through an image position in pixels.
    #[inline]
    pub(super) fn ray(&self, x: f32, y: f32) -> Vec3 {
        let (x, y) = (x - self.middle, self.middle - y);
        (self.forward * self.focal + self.right * x + self.up * y).normalized()
    }

    /// The image position in pixels of a point at `offset` from the camera, which is also that of a point
    /// at infinity in this direction; `None` behind the camera.
    pub(super) fn project(&self, offset: Vec3) -> Option<[f32; 2]> {
        let depth = offset.dot(self.forward);
        (depth > 1e-6).then(|| {
            let scale = self.focal / depth;
            [
                self.middle + offset.dot(self.right) * scale,
                self.middle - offset.dot(self.up) * scale,
            ]
        })
    }

    /// The size of a pixel at distance 1, near the middle of the image.
    pub(super) fn pixel_angle(&self) -> f32 {
        1.0 / self.focal
    }

    /// A rectangle that contains the image of a solid's bounding sphere, with a margin of one pixel.
    pub(super) fn bounds(&self, solid: &Placed) -> Bounds {
        let centre = solid.centre - self.origin;
        let depth = centre.dot(self.forward);
        let span = |across: f32| {
            // In the plane of the camera's axis and the direction of `across` the sphere is a circle, and its
            // image reaches from one tangent through the camera to the other.
            let a = depth * depth - solid.radius * solid.radius;
            if depth <= 0.0 || a <= 0.0 {
                return [f32::MIN, f32::MAX];
            }
            let root = solid.radius * (across * across + a).sqrt();
            let slope = |sign: f32| (across * depth + sign * root) / a * self.focal + self.middle;
            [slope(-1.0) - 1.0, slope(1.0) + 1.0]
        };
        Bounds {
            x: span(centre.dot(self.right)),
            y: span(-centre.dot(self.up)),
        }
    }
}
