//! Renders a scene from a viewpoint: colours from many samples of each pixel, labels and correspondence
//! from the one ray through its centre.

use std::ops::Add;

use image::{GrayImage, Rgb, RgbImage};

use super::math::Vec3;
use super::palette::encode;
use super::scene::{Hit, Scene, Surface, View};
use super::texture::Texture;

/// Shadow rays start this far above the surface, so that rounding does not let them hit it again.
const SURFACE_OFFSET: f32 = 2e-3;

/// The distance at which the haze of an outdoor scene covers half of a colour.
const HALF_HAZE: f32 = 32.0;

/// Renders the anti-aliased picture of `size` × `size` pixels. A pixel takes `supersample`² samples, or
/// two where those in opposite corners agree in surface and colour.
pub(super) fn picture(view: &View<'_>, size: u32, supersample: u32) -> RgbImage {
    let mut image = RgbImage::new(size, size);
    let step = 1.0 / supersample as f32;
    let sample_angle = view.camera.pixel_angle() * step;
    let samples = supersample * supersample;
    for y in 0..size {
        let row = view.row(y as f32, y as f32 + 1.0);
        for x in 0..size {
            let mut shared = None;
            let mut sample = |number: u32| {
                let offset = |i: u32| (i as f32 + 0.5) * step;
                let x = x as f32 + offset(number % supersample);
                let y = y as f32 + offset(number / supersample);
                let direction = view.camera.ray(x, y);
                let hit = view.hit_in_row(&row, x, direction);
                let number = number as usize;
                (
                    hit.surface,
                    shade(view, direction, hit, sample_angle, number, &mut shared),
                )
            };
            let (surface, first) = sample(0);
            let (other, last) = sample(samples - 1);
            let color = if surface == other && alike(first, last) {
                (first + last) * 0.5
            } else {
                let between = (1..samples - 1).map(|number| sample(number).1);
                between.fold(first + last, Add::add) * (1.0 / samples as f32)
            };
            image.put_pixel(x, y, Rgb(encode(color)));
        }
    }
    image
}

/// Whether two linear colours differ by at most a few grey levels.
fn alike(a: Vec3, b: Vec3) -> bool {
    let (difference, sum) = ((a - b).abs(), a + b);
    let close = |difference: f32, sum: f32| difference <= 0.03 * sum + 0.001;
    close(difference.x, sum.x) && close(difference.y, sum.y) && close(difference.z, sum.z)
}

/// What the ray through the centre of each pixel meets, row by row.
pub(super) fn centre_hits(view: &View<'_>, size: u32) -> Vec<Hit> {
    let mut hits = Vec::with_capacity((size * size) as usize);
    for y in 0..size {
        let y = y as f32 + 0.5;
        let row = view.row(y, y);
        hits.extend((0..size).map(|x| {
            let x = x as f32 + 0.5;
            view.hit_in_row(&row, x, view.camera.ray(x, y))
        }));
    }
    hits
}

/// The class and the object number of every pixel.
pub(super) fn label_maps(scene: &Scene, hits: &[Hit], size: u32) -> (GrayImage, GrayImage) {
    let mut labels = GrayImage::new(size, size);
    let mut instances = GrayImage::new(size, size);
    let pixels = labels.pixels_mut().zip(instances.pixels_mut());
    for ((label, instance), hit) in pixels.zip(hits) {
        let (class, number) = scene.identity(hit.surface);
        label.0 = [class as u8];
        instance.0 = [number];
    }
    (labels, instances)
}

/// Quantities that vary slowly along a surface, so that the samples of one pixel share them.
struct Surroundings {
    surface: Surface,
    /// The share of the ambient light that reaches the point, in [0, 1].
    openness: f32,
    /// The fine variation of the material's brightness, a factor about 1.
    grain: f32,
    /// The parts that may cast a shadow on some of the samples, one bit each.
    occluders: u128,
}

/// The point where a ray from the camera meets a surface.
struct Point<'a> {
    position: Vec3,
    /// The unit normal.
    normal: Vec3,
    texture: &'a Texture,
    /// The position and the normal in the texture's frame.
    local: (Vec3, Vec3),
    /// The distance between neighbouring samples on the surface.
    footprint: f32,
}

impl Point<'_> {
    /// `None` for the sky.
    fn new<'a>(view: &View<'a>, direction: Vec3, hit: Hit, sample_angle: f32) -> Option<Point<'a>> {
        let position = view.camera.origin + direction * hit.t;
        let (normal, texture, local) = match hit.surface {
            Surface::Sky => return None,
            Surface::Plane(index) => {
                let plane = &view.scene.planes[usize::from(index)];
                let local = plane.rotation.apply_inverse(position - plane.point);
                let n = plane.rotation.apply_inverse(plane.normal);
                (plane.normal, &plane.texture, (local, n))
            }
            Surface::Part(index) => {
                let part = &view.scene.parts[usize::from(index)];
                let local = part.solid.to_local(position);
                let n = part.solid.shape.normal(local);
                let normal = part.solid.rotation.apply(n);
                (normal, &view.scene.textures[part.texture], (local, n))
            }
        };
        let slant = normal.dot(direction).abs().max(0.1);
        let footprint = sample_angle * hit.t / slant;
        Some(Point {
            position,
            normal,
            texture,
            local,
            footprint,
        })
    }
}

fn shade(
    view: &View<'_>,
    direction: Vec3,
    hit: Hit,
    sample_angle: f32,
    sample: usize,
    shared: &mut Option<Surroundings>,
) -> Vec3 {
    let scene = view.scene;
    let Some(point) = Point::new(view, direction, hit, sample_angle) else {
        return scene.sky.color(direction);
    };
    let around = match shared {
        Some(known) if known.surface == hit.surface => known,
        _ => shared.insert(Surroundings::new(scene, hit.surface, &point)),
    };
    let (local, n) = point.local;
    let albedo = point.texture.color(local, n, point.footprint) * around.grain;

    let light = &scene.light;
    let towards_sun = light.sun_directions[sample];
    let facing = point.normal.dot(towards_sun);
    let start = point.position + point.normal * SURFACE_OFFSET;
    let lit = facing > 0.0 && !scene.blocked(start, towards_sun, around.occluders);
    let ambient = light
        .from_below
        .mix(light.from_above, 0.5 + 0.5 * point.normal.y);
    let direct = if lit { light.sun * facing } else { Vec3::ZERO };
    let mut color = albedo.scaled(ambient * around.openness + direct);
    if lit && point.texture.gloss > 0.0 {
        let half = (towards_sun - direction).normalized();
        // Squaring five times gives the 32nd power.
        let shine = (0..5).fold(half.dot(point.normal).max(0.0), |v, _| v * v);
        color = color + light.sun * (point.texture.gloss * shine);
    }
    if scene.outdoors() {
        let squared = hit.t * hit.t;
        color = color.mix(
            scene.sky.haze(),
            squared / (squared + HALF_HAZE * HALF_HAZE),
        );
    }
    color
}

impl Surroundings {
    fn new(scene: &Scene, surface: Surface, point: &Point<'_>) -> Surroundings {
        let (p, n) = (point.position, point.normal);
        let (_, own) = scene.identity(surface);
        let (mut openness, mut occluders) = (1.0, 0);
        let sun = scene.light.towards_sun;
        for (index, part) in scene.parts.iter().enumerate() {
            let to_centre = part.solid.centre - p;
            let squared = to_centre.dot(to_centre);
            let radius = part.solid.radius;
            // The rays from all samples of the pixel to the sun stay within this distance of the ray from this
            // point to the middle of the sun.
            let along = to_centre.dot(sun);
            let slack = 4.0 * point.footprint + 0.01 + scene.light.sun_radius * along.abs();
            let reach = radius + slack;
            let near = along > -reach && squared - along * along < reach * reach;
            // A convex solid shades itself only where it faces away from the sun, which needs no shadow ray.
            let itself = surface == Surface::Part(index as u16) && part.solid.shape.is_convex();
            if near && !itself {
                occluders |= 1 << index;
            }
            if own != 0 && part.instance == own {
                continue;
            }
            // The solid counts as a ball somewhat smaller than its bounding sphere. `covered` is the share of
            // the hemisphere that the ball hides, less a constant so that far solids have no effect.
            let ball = 0.52 * radius * radius;
            if ball > 0.06 * squared {
                let covered = (ball / squared).min(1.0) - 0.06;
                let cosine = to_centre.dot(n) / squared.sqrt();
                openness *= 1.0 - covered * (0.25 + 0.75 * cosine).clamp(0.0, 1.0);
            }
        }
        for (index, plane) in scene.planes.iter().enumerate() {
            if surface != Surface::Plane(index as u16) {
                let distance = (p - plane.point).dot(plane.normal).max(0.0);
                let towards = 0.5 - 0.5 * n.dot(plane.normal);
                openness *= 1.0 - 0.5 * towards / (1.0 + 3.0 * distance);
            }
        }
        let grain = point.texture.grain(point.local.0, point.footprint);
        Surroundings {
            surface,
            openness,
            grain,
            occluders,
        }
    }
}
