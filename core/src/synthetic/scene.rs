//! A random scene: objects with their places and materials, the light and the cameras.

use rand::RngExt;

use super::SceneConfig;
use super::camera::{Bounds, Camera};
use super::light::{Light, Sky};
use super::math::{Rotation, Vec3, vec3};
use super::object::{Class, Object};
use super::palette::Palette;
use super::shape::Placed;
use super::texture::Texture;
use crate::rng::Rng;

/// A surface that a ray can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    Sky,
    /// An index into [`Scene::planes`].
    Plane(u16),
    /// An index into [`Scene::parts`].
    Part(u16),
}

/// The first surface on a ray, at distance `t` (infinite for the sky).
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub(super) t: f32,
    pub(super) surface: Surface,
}

/// The ground or a wall. Rays meet it only from the side that its normal points to.
pub(super) struct Plane {
    pub(super) point: Vec3,
    pub(super) normal: Vec3,
    /// The rotation from the texture's frame to the world.
    pub(super) rotation: Rotation,
    pub(super) class: Class,
    pub(super) texture: Texture,
}

/// One solid of an object.
pub(super) struct Part {
    pub(super) solid: Placed,
    pub(super) class: Class,
    /// The number of the object, from 1.
    pub(super) instance: u8,
    /// An index into [`Scene::textures`].
    pub(super) texture: usize,
}

pub(super) struct Scene {
    pub(super) parts: Vec<Part>,
    pub(super) textures: Vec<Texture>,
    pub(super) planes: Vec<Plane>,
    pub(super) sky: Sky,
    pub(super) light: Light,
    pub(super) cameras: [Camera; 2],
}

impl Scene {
    pub(super) fn random(rng: &mut Rng, config: &SceneConfig) -> Scene {
        let palette = Palette::random(rng);
        let planes = random_planes(rng, &palette);
        let cameras = Camera::random_pair(rng, config, planes.len() == 1);
        let light = Light::random(rng, config.supersample);
        let sky = Sky::random(rng);
        let mut scene = Scene {
            parts: Vec::new(),
            textures: Vec::new(),
            planes,
            sky,
            light,
            cameras,
        };
        scene.add_objects(rng, &palette, config);
        scene
    }

    /// Adds the objects, large ones first; later ones may stand on top of earlier ones.
    fn add_objects(&mut self, rng: &mut Rng, palette: &Palette, config: &SceneConfig) {
        let count = rng.random_range(config.objects[0]..=config.objects[1]);
        let mut circles: Vec<(Vec3, f32)> = Vec::new();
        let mut tops: Vec<(Vec3, f32)> = Vec::new();
        let mut class = Class::random(rng);
        for instance in 1..=count {
            // Sometimes the class is repeated, so that the class alone does not identify an object.
            if instance > 1 && !rng.random_bool(0.25) {
                class = Class::random(rng);
            }
            let mut size: f32 = match instance {
                1 | 2 => rng.random_range(0.44..0.62),
                3..=5 => rng.random_range(0.28..0.46),
                _ => rng.random_range(0.15..0.3),
            };
            let top = (!tops.is_empty() && rng.random_bool(0.45))
                .then(|| tops.swap_remove(rng.random_range(0..tops.len() as u32) as usize));
            if let Some((_, radius)) = top {
                size = size.min(1.1 * radius);
            }
            let object = Object::random(rng, class, size);
            let place = match top {
                Some((place, _)) => place,
                None => {
                    let place = free_place(rng, &circles, object.footprint);
                    circles.push((place, object.footprint));
                    place
                }
            };
            if let Some((height, radius)) = object.top.filter(|top| top.1 > 0.1) {
                tops.push((place + Vec3::UP * height, radius));
            }
            let object = object.moved(&Rotation::yaw(rng.random()), place);
            self.add(rng, palette, object, class, instance as u8, size);
        }
    }

    fn add(
        &mut self,
        rng: &mut Rng,
        palette: &Palette,
        object: Object,
        class: Class,
        instance: u8,
        size: f32,
    ) {
        let materials = object
            .parts
            .iter()
            .map(|part| part.1 + 1)
            .max()
            .unwrap_or(0);
        // Sometimes a material of the scene is used again, so that the texture alone does not identify an object.
        let used = self.textures.len();
        let first = if used >= materials && rng.random_bool(0.15) {
            rng.random_range(0..=(used - materials) as u32) as usize
        } else {
            for _ in 0..materials {
                let colors = palette.object(rng);
                self.textures.push(Texture::for_object(rng, colors, size));
            }
            used
        };
        for (solid, material) in object.parts {
            self.parts.push(Part {
                solid,
                class,
                instance,
                texture: first + material,
            });
        }
    }

    /// The first surface that the ray from `origin` meets, among the planes and the parts in `candidates`.
    #[inline]
    pub(super) fn hit(
        &self,
        origin: Vec3,
        direction: Vec3,
        candidates: impl Iterator<Item = u16>,
    ) -> Hit {
        let mut first = Hit {
            t: f32::INFINITY,
            surface: Surface::Sky,
        };
        for (index, plane) in self.planes.iter().enumerate() {
            let speed = plane.normal.dot(direction);
            if speed < 0.0 {
                let t = (plane.point - origin).dot(plane.normal) / speed;
                if t > 0.0 && t < first.t {
                    first = Hit {
                        t,
                        surface: Surface::Plane(index as u16),
                    };
                }
            }
        }
        for index in candidates {
            let solid = &self.parts[usize::from(index)].solid;
            if let Some(t) = solid.hit(origin, direction, first.t) {
                first = Hit {
                    t,
                    surface: Surface::Part(index),
                };
            }
        }
        first
    }

    /// Whether one of the parts in the bit set `among` lies on the ray from `p` along the unit vector
    /// `direction`.
    pub(super) fn blocked(&self, p: Vec3, direction: Vec3, mut among: u128) -> bool {
        while among != 0 {
            let part = &self.parts[among.trailing_zeros() as usize];
            if part.solid.hit(p, direction, f32::INFINITY).is_some() {
                return true;
            }
            among &= among - 1;
        }
        false
    }

    /// Whether the scene has no walls, so that sky is behind the objects.
    pub(super) fn outdoors(&self) -> bool {
        self.planes.len() == 1
    }

    /// The class and the object number of a surface; the number is 0 for planes and sky.
    pub(super) fn identity(&self, surface: Surface) -> (Class, u8) {
        match surface {
            Surface::Sky => (Class::Background, 0),
            Surface::Plane(index) => (self.planes[usize::from(index)].class, 0),
            Surface::Part(index) => {
                let part = &self.parts[usize::from(index)];
                (part.class, part.instance)
            }
        }
    }
}

/// A scene as seen by one of its cameras, with the image rectangle that each part can appear in.
pub(super) struct View<'a> {
    pub(super) scene: &'a Scene,
    pub(super) camera: &'a Camera,
    bounds: Vec<Bounds>,
}

impl<'a> View<'a> {
    pub(super) fn new(scene: &'a Scene, camera: &'a Camera) -> View<'a> {
        let bounds = scene
            .parts
            .iter()
            .map(|part| camera.bounds(&part.solid))
            .collect();
        View {
            scene,
            camera,
            bounds,
        }
    }

    /// The parts that can appear between the y positions `top` and `bottom` in pixels, each with the range of
    /// x positions where it can appear.
    pub(super) fn row(&self, top: f32, bottom: f32) -> Vec<(u16, [f32; 2])> {
        let rows = self.bounds.iter().enumerate();
        rows.filter(|(_, b)| b.y[0] <= bottom && b.y[1] >= top)
            .map(|(index, b)| (index as u16, b.x))
            .collect()
    }

    /// What the ray along `direction` meets at the x position `x` of a row; `row` comes from [`View::row`].
    #[inline]
    pub(super) fn hit_in_row(&self, row: &[(u16, [f32; 2])], x: f32, direction: Vec3) -> Hit {
        let near = row.iter().filter(|(_, span)| span[0] <= x && x <= span[1]);
        self.scene
            .hit(self.camera.origin, direction, near.map(|&(index, _)| index))
    }

    /// What the ray along `direction` through the image position (`x`, `y`) in pixels meets.
    pub(super) fn hit(&self, x: f32, y: f32, direction: Vec3) -> Hit {
        let all = self.bounds.iter().enumerate();
        let near = all.filter(|(_, b)| b.x[0] <= x && x <= b.x[1] && b.y[0] <= y && y <= b.y[1]);
        self.scene.hit(
            self.camera.origin,
            direction,
            near.map(|(index, _)| index as u16),
        )
    }
}

/// The ground, and for an indoor scene one wall at the back or two walls that meet in a corner.
fn random_planes(rng: &mut Rng, palette: &Palette) -> Vec<Plane> {
    let colors = palette.backdrop(rng);
    let ground = Plane {
        point: Vec3::ZERO,
        normal: Vec3::UP,
        rotation: Rotation::IDENTITY,
        class: Class::Ground,
        texture: Texture::for_ground(rng, colors),
    };
    let colors = palette.backdrop(rng);
    let choice = rng.random_range(0..100u32);
    let (turn, distance) = (rng.random_range(-0.03..0.03), rng.random_range(1.8..2.5));
    let mut wall = |yaw: f32, distance: f32| {
        let rotation = Rotation::yaw(yaw);
        let normal = rotation.apply(vec3(0.0, 0.0, 1.0));
        Plane {
            point: normal * -distance,
            normal,
            rotation,
            class: Class::Background,
            texture: Texture::for_wall(rng, colors),
        }
    };
    let walls = match choice {
        0..40 => vec![],
        40..75 => vec![wall(turn, distance)],
        _ => vec![wall(0.125 + turn, distance), wall(-0.125 + turn, distance)],
    };
    std::iter::once(ground).chain(walls).collect()
}

/// A random place on the ground where a circle of radius `footprint` does not touch the circles in `taken`. If none
/// of 24 places is free, it is the one with the least overlap.
fn free_place(rng: &mut Rng, taken: &[(Vec3, f32)], footprint: f32) -> Vec3 {
    let mut best = (f32::MIN, Vec3::ZERO);
    for _ in 0..24 {
        let place = vec3(
            rng.random_range(-1.2..1.2),
            0.0,
            rng.random_range(-1.35..1.2),
        );
        let gap = |&(centre, radius): &(Vec3, f32)| (centre - place).length() - radius - footprint;
        let clearance = taken.iter().map(gap).fold(f32::MAX, f32::min);
        if clearance > 0.03 {
            return place;
        }
        if clearance > best.0 {
            best = (clearance, place);
        }
    }
    best.1
}
