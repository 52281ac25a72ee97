//! The objects of a scene: one or more solids with one class.

use rand::RngExt;

use super::math::{Rotation, Vec3, vec3};
use super::shape::{Placed, Shape};
use super::texture::pick;
use crate::rng::Rng;

/// The class of an object. The discriminant is its index in `CLASS_NAMES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    Background = 0,
    Ground = 1,
    Sphere = 2,
    Box = 3,
    RoundedBox = 4,
    Cylinder = 5,
    Cone = 6,
    Capsule = 7,
    Torus = 8,
    Ellipsoid = 9,
    Prism = 10,
    Pyramid = 11,
    Dome = 12,
    Tree = 13,
    House = 14,
}

impl Class {
    /// The classes to draw from; frequent ones are listed more than once.
    const OBJECTS: [Class; 16] = [
        Class::Sphere,
        Class::Sphere,
        Class::Box,
        Class::Box,
        Class::RoundedBox,
        Class::RoundedBox,
        Class::Cylinder,
        Class::Cone,
        Class::Capsule,
        Class::Torus,
        Class::Ellipsoid,
        Class::Prism,
        Class::Pyramid,
        Class::Dome,
        Class::Tree,
        Class::House,
    ];

    pub(super) fn random(rng: &mut Rng) -> Class {
        pick(rng, &Class::OBJECTS)
    }
}

/// An object above the origin that stands on the plane y = 0.
pub(super) struct Object {
    /// Its solids, each with the index of its material; indices are consecutive from 0.
    pub(super) parts: Vec<(Placed, usize)>,
    /// The radius of the circle that it occupies on the ground.
    pub(super) footprint: f32,
    /// The height and the radius of its flat top; `None` when nothing can stand on it.
    pub(super) top: Option<(f32, f32)>,
}

impl Object {
    /// An object of class `class` and a radius of about `size`, in a random stable pose.
    pub(super) fn random(rng: &mut Rng, class: Class, size: f32) -> Object {
        let mut vary = |low: f32, high: f32| size * rng.random_range(low..high);
        match class {
            Class::Background | Class::Ground => unreachable!("not a class of objects"),
            Class::Sphere => Object::resting(
                Shape::Ellipsoid {
                    radii: Vec3::splat(size),
                },
                -Vec3::UP,
            ),
            Class::Ellipsoid => {
                let radii = vec3(vary(0.9, 1.2), vary(0.5, 0.75), vary(0.6, 0.9));
                Object::resting(Shape::Ellipsoid { radii }, -Vec3::UP)
            }
            Class::Box => {
                let half = vec3(vary(0.5, 0.95), vary(0.4, 0.95), vary(0.5, 0.95));
                let top = (2.0 * half.y, half.x.min(half.z));
                Object::resting(Shape::cuboid(half), -Vec3::UP).with_top(top)
            }
            Class::RoundedBox => {
                let half = vec3(vary(0.35, 0.7), vary(0.25, 0.7), vary(0.35, 0.7));
                let radius = vary(0.12, 0.3);
                let top = (2.0 * (half.y + radius), half.x.min(half.z));
                Object::resting(Shape::RoundedBox { half, radius }, -Vec3::UP).with_top(top)
            }
            Class::Cylinder => {
                let (radius, half_height) = (vary(0.4, 0.75), vary(0.35, 0.95));
                let shape = Shape::Frustum {
                    bottom: radius,
                    top: radius,
                    half_height,
                };
                if rng.random_bool(0.35) {
                    Object::resting(shape, vec3(1.0, 0.0, 0.0))
                } else {
                    Object::resting(shape, -Vec3::UP).with_top((2.0 * half_height, radius))
                }
            }
            Class::Cone => {
                let (bottom, half_height) = (vary(0.55, 0.85), vary(0.55, 0.95));
                if rng.random_bool(0.3) {
                    // A truncated cone, standing on either end.
                    let top = bottom * rng.random_range(0.4..0.7);
                    let shape = Shape::Frustum {
                        bottom,
                        top,
                        half_height,
                    };
                    return if rng.random_bool(0.4) {
                        Object::resting(shape, Vec3::UP).with_top((2.0 * half_height, bottom))
                    } else {
                        Object::resting(shape, -Vec3::UP).with_top((2.0 * half_height, top))
                    };
                }
                let shape = Shape::Frustum {
                    bottom,
                    top: 0.0,
                    half_height,
                };
                // A lying cone rests on its lateral surface.
                let side = vec3(2.0 * half_height, bottom, 0.0).normalized();
                Object::resting(
                    shape,
                    if rng.random_bool(0.25) {
                        side
                    } else {
                        -Vec3::UP
                    },
                )
            }
            Class::Capsule => {
                let shape = Shape::Capsule {
                    radius: vary(0.35, 0.5),
                    half: vary(0.4, 0.75),
                };
                let lying = rng.random_bool(0.7);
                Object::resting(
                    shape,
                    if lying {
                        vec3(1.0, 0.0, 0.0)
                    } else {
                        -Vec3::UP
                    },
                )
            }
            Class::Torus => {
                let (major, minor) = (vary(0.6, 0.8), vary(0.2, 0.32));
                let standing = rng.random_bool(0.35);
                let down = if standing {
                    vec3(1.0, 0.0, 0.0)
                } else {
                    -Vec3::UP
                };
                Object::resting(Shape::Torus { major, minor }, down)
            }
            Class::Prism => {
                let (radius, half_height) = (vary(0.6, 0.85), vary(0.4, 0.9));
                let sides = pick(rng, &[3, 5, 6, 8]);
                let shape = Shape::prism(sides, radius, half_height);
                if rng.random_bool(0.3) {
                    Object::resting(shape, vec3(1.0, 0.0, 0.0))
                } else {
                    let top = (
                        2.0 * half_height,
                        radius * if sides == 3 { 0.5 } else { 0.8 },
                    );
                    Object::resting(shape, -Vec3::UP).with_top(top)
                }
            }
            Class::Pyramid => {
                let (radius, half_height) = (vary(0.75, 1.0), vary(0.4, 0.8));
                let sides = pick(rng, &[3, 4, 4, 5, 6]);
                Object::resting(Shape::pyramid(sides, radius, half_height), -Vec3::UP)
            }
            Class::Dome => Object::resting(
                Shape::Dome {
                    radius: vary(0.7, 0.95),
                },
                -Vec3::UP,
            ),
            Class::Tree => {
                let (trunk, height) = (vary(0.12, 0.2), vary(0.4, 0.7));
                let stem = Shape::Frustum {
                    bottom: trunk,
                    top: 0.8 * trunk,
                    half_height: 0.5 * height,
                };
                let mut parts = vec![(upright(stem, 0.5 * height), 1)];
                if rng.random_bool(0.5) {
                    let radii = vec3(size * 0.6, size * rng.random_range(0.55..0.8), size * 0.6);
                    parts.push((
                        upright(Shape::Ellipsoid { radii }, height + 0.85 * radii.y),
                        0,
                    ));
                } else {
                    for (bottom, lift) in [(0.65, 0.35), (0.48, 0.8)] {
                        let crown = Shape::Frustum {
                            bottom: bottom * size,
                            top: 0.0,
                            half_height: 0.35 * size,
                        };
                        parts.push((upright(crown, height + lift * size), 0));
                    }
                }
                Object::compound(parts, 0.65 * size)
            }
            Class::House => {
                let half = vec3(vary(0.5, 0.7), vary(0.35, 0.55), vary(0.5, 0.8));
                let eaves = 1.12;
                // The roof is a triangular prism that lies on one of its long faces, its axis along z. For a
                // circumradius r that face is √3 r wide and lies r/2 below the centre.
                let radius = half.x * eaves * 2.0 / 3.0_f32.sqrt();
                let roof = Placed::new(
                    Shape::prism(3, radius, half.z * eaves),
                    Rotation::lay_down(vec3(1.0, 0.0, 0.0)),
                    vec3(0.0, 2.0 * half.y + 0.5 * radius, 0.0),
                );
                let parts = vec![(upright(Shape::cuboid(half), half.y), 0), (roof, 1)];
                Object::compound(parts, eaves * (half.x * half.x + half.z * half.z).sqrt())
            }
        }
    }

    /// An object of one solid, turned so that the direction `down` of the solid's frame points down.
    fn resting(shape: Shape, down: Vec3) -> Object {
        let rotation = if down == -Vec3::UP {
            Rotation::IDENTITY
        } else {
            Rotation::lay_down(down)
        };
        let height = shape.support(rotation.apply_inverse(-Vec3::UP));
        let reach = |x: f32, z: f32| shape.support(rotation.apply_inverse(vec3(x, 0.0, z)));
        let diagonal = std::f32::consts::FRAC_1_SQRT_2;
        let footprint = [
            (1.0, 0.0),
            (0.0, 1.0),
            (diagonal, diagonal),
            (diagonal, -diagonal),
        ]
        .iter()
        .map(|&(x, z)| reach(x, z).max(reach(-x, -z)))
        .fold(0.0, f32::max);
        let parts = vec![(Placed::new(shape, rotation, vec3(0.0, height, 0.0)), 0)];
        Object {
            parts,
            footprint,
            top: None,
        }
    }

    fn compound(parts: Vec<(Placed, usize)>, footprint: f32) -> Object {
        Object {
            parts,
            footprint,
            top: None,
        }
    }

    fn with_top(self, top: (f32, f32)) -> Object {
        Object {
            top: Some(top),
            ..self
        }
    }

    /// The object turned about the vertical axis by `yaw` and then moved by `to`.
    pub(super) fn moved(mut self, yaw: &Rotation, to: Vec3) -> Object {
        for (part, _) in &mut self.parts {
            part.rotation = yaw.after(&part.rotation);
            part.centre = yaw.apply(part.centre) + to;
        }
        self
    }
}

fn upright(shape: Shape, height: f32) -> Placed {
    Placed::new(shape, Rotation::IDENTITY, vec3(0.0, height, 0.0))
}
