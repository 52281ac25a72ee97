//! Sun, sky and ambient light.

use rand::RngExt;

use super::math::{Vec3, fract, sin_cos, smoothstep, vec3};
use super::noise;
use super::texture::pick;
use crate::rng::Rng;

/// The light of a scene. All colours are linear.
pub(super) struct Light {
    /// The unit vector towards the middle of the sun.
    pub(super) towards_sun: Vec3,
    /// The radius of the sun's disc at distance 1.
    pub(super) sun_radius: f32,
    /// Unit vectors towards points of the sun's disc, one for each sample of a pixel. The average over the
    /// samples gives soft shadows.
    pub(super) sun_directions: Vec<Vec3>,
    pub(super) sun: Vec3,
    pub(super) from_above: Vec3,
    pub(super) from_below: Vec3,
}

impl Light {
    pub(super) fn random(rng: &mut Rng, supersample: u32) -> Light {
        // The sun is on the viewer's side of the scene, so that the sides seen are not all in shade.
        let (sin, cos) = sin_cos(rng.random_range(-0.2..0.2));
        let height = rng.random_range(0.75..1.6);
        let towards_sun = vec3(sin, height, cos + 0.15).normalized();
        let (side, sun_radius) = (towards_sun.any_orthogonal(), rng.random_range(0.02..0.09));
        let other = side.cross(towards_sun);
        let samples = supersample * supersample;
        let sun_directions = (0..samples)
            .map(|k| {
                // Points on Vogel's spiral (the seeds of a sunflower) cover the disc evenly in any number.
                let (sin, cos) = sin_cos(fract(k as f32 * 0.618_034));
                let r = sun_radius * ((k as f32 + 0.5) / samples as f32).sqrt();
                (towards_sun + side * (r * cos) + other * (r * sin)).normalized()
            })
            .collect();
        let (sun, from_above) = pick(
            rng,
            &[
                // In this order: noon, late afternoon, overcast, studio.
                (vec3(1.25, 1.19, 1.08), vec3(0.30, 0.35, 0.44)),
                (vec3(1.35, 1.04, 0.72), vec3(0.31, 0.32, 0.42)),
                (vec3(0.75, 0.76, 0.78), vec3(0.58, 0.60, 0.62)),
                (vec3(1.15, 1.12, 1.06), vec3(0.38, 0.37, 0.36)),
            ],
        );
        let from_below = from_above * 0.45;
        Light {
            towards_sun,
            sun_radius,
            sun_directions,
            sun,
            from_above,
            from_below,
        }
    }
}

/// The background of outdoor scenes, infinitely far away: a gradient with clouds and hills.
pub(super) struct Sky {
    horizon: Vec3,
    zenith: Vec3,
    cloud: Vec3,
    hills: Vec3,
    /// Clouds are where the noise exceeds this level; a higher level gives a clearer sky.
    clearness: f32,
    seed: u32,
}

impl Sky {
    pub(super) fn random(rng: &mut Rng) -> Sky {
        let (horizon, zenith, cloud) = pick(
            rng,
            &[
                // In this order: blue noon, pale morning, sunset, storm, dusk.
                (
                    vec3(0.66, 0.82, 0.95),
                    vec3(0.12, 0.32, 0.68),
                    vec3(0.98, 0.98, 0.98),
                ),
                (
                    vec3(0.95, 0.86, 0.72),
                    vec3(0.36, 0.58, 0.76),
                    vec3(0.99, 0.95, 0.90),
                ),
                (
                    vec3(0.98, 0.62, 0.34),
                    vec3(0.28, 0.22, 0.50),
                    vec3(0.98, 0.76, 0.62),
                ),
                (
                    vec3(0.62, 0.68, 0.72),
                    vec3(0.26, 0.34, 0.42),
                    vec3(0.88, 0.90, 0.92),
                ),
                (
                    vec3(0.92, 0.60, 0.62),
                    vec3(0.16, 0.16, 0.42),
                    vec3(0.95, 0.78, 0.80),
                ),
            ],
        );
        let hills = zenith.mix(vec3(0.10, 0.16, 0.08), rng.random_range(0.2..0.8));
        Sky {
            horizon,
            zenith,
            cloud,
            hills,
            clearness: rng.random_range(0.42..0.58),
            seed: rng.random(),
        }
    }

    /// The colour of the haze that the far ground fades into.
    pub(super) fn haze(&self) -> Vec3 {
        self.horizon
    }

    pub(super) fn color(&self, direction: Vec3) -> Vec3 {
        let height = direction.y.max(0.0);
        // Two ranges of hills, the nearer one lower and less hazy.
        for (range, (frequency, peak, haze)) in
            [(7.0, 0.06, 0.45), (4.0, 0.13, 0.7)].iter().enumerate()
        {
            let along = vec3(direction.x, range as f32, direction.z) * *frequency;
            let ridge = noise::fractal(along, 3, self.seed ^ 0x4111) - 0.25;
            if height < peak * ridge {
                return self.hills.mix(self.horizon, *haze);
            }
        }
        let clear = self
            .horizon
            .mix(self.zenith, smoothstep(-0.1, 0.55, height));
        // The clouds form a layer overhead, so they look smaller and flatter towards the horizon.
        let scale = 3.0 / (height + 0.22);
        let layer = vec3(direction.x * scale, 3.0 * height, direction.z * scale);
        let density = noise::fractal(layer, 4, self.seed);
        let amount = smoothstep(self.clearness, self.clearness + 0.22, density);
        clear.mix(self.cloud, amount * smoothstep(0.0, 0.12, height + 0.03))
    }
}
