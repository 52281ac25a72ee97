//! The primitive solids: their intersections with rays, normals and extents.
//!
//! Intersections are analytic except those of the torus and the rounded box, which are found by sphere
//! tracing with the exact distance, inside the bounding box. Each solid is centred at the origin of its
//! own frame.

use super::math::{Rotation, Vec3, sin_cos, vec3};

/// The distance from the surface at which sphere tracing stops: under a hundredth of a pixel at 256 px.
const TRACE_PRECISION: f32 = 1e-4;
const TRACE_STEPS: usize = 64;

/// A solid centred at the origin of its own frame; `y` is up.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Ellipsoid {
        radii: Vec3,
    },
    /// The upper half of a ball; its flat side is the plane y = 0.
    Dome {
        radius: f32,
    },
    /// A cylinder, a cone or a truncated cone.
    Frustum {
        bottom: f32,
        top: f32,
        half_height: f32,
    },
    /// All points within `radius` of a vertical line segment of half length `half`.
    Capsule {
        radius: f32,
        half: f32,
    },
    Torus {
        major: f32,
        minor: f32,
    },
    /// All points within `radius` of the box with half edges `half`.
    RoundedBox {
        half: Vec3,
        radius: f32,
    },
    /// The convex solid of the points with n · p ≤ d for every face (n, d).
    Polyhedron {
        faces: Vec<(Vec3, f32)>,
        vertices: Vec<Vec3>,
    },
}

impl Shape {
    pub(super) fn cuboid(half: Vec3) -> Shape {
        let axes = [vec3(1.0, 0.0, 0.0), Vec3::UP, vec3(0.0, 0.0, 1.0)];
        let faces = axes
            .iter()
            .flat_map(|&n| [(n, half.dot(n)), (-n, half.dot(n))])
            .collect();
        let sign = |corner: u32, bit: u32| if corner >> bit & 1 == 0 { -1.0 } else { 1.0 };
        let vertices = (0..8)
            .map(|corner| half.scaled(vec3(sign(corner, 0), sign(corner, 1), sign(corner, 2))))
            .collect();
        Shape::Polyhedron { faces, vertices }
    }

    /// A right prism over a regular polygon of `sides`.
    pub(super) fn prism(sides: u32, radius: f32, half_height: f32) -> Shape {
        let (mut faces, mut vertices) = (
            vec![(Vec3::UP, half_height), (-Vec3::UP, half_height)],
            Vec::new(),
        );
        let (_, inner) = sin_cos(0.5 / sides as f32);
        for side in 0..sides {
            let (sin, cos) = sin_cos(side as f32 / sides as f32);
            faces.push((vec3(cos, 0.0, sin), radius * inner));
            let (sin, cos) = sin_cos((side as f32 + 0.5) / sides as f32);
            for y in [-half_height, half_height] {
                vertices.push(vec3(radius * cos, y, radius * sin));
            }
        }
        Shape::Polyhedron { faces, vertices }
    }

    /// A right pyramid over a regular polygon of `sides`.
    pub(super) fn pyramid(sides: u32, radius: f32, half_height: f32) -> Shape {
        let apex = vec3(0.0, half_height, 0.0);
        let (mut faces, mut vertices) = (vec![(-Vec3::UP, half_height)], vec![apex]);
        let (_, inner) = sin_cos(0.5 / sides as f32);
        for side in 0..sides {
            let (sin, cos) = sin_cos(side as f32 / sides as f32);
            let slope = radius * inner / (2.0 * half_height);
            let normal = vec3(cos, slope, sin).normalized();
            faces.push((normal, normal.dot(apex)));
            let (sin, cos) = sin_cos((side as f32 + 0.5) / sides as f32);
            vertices.push(vec3(radius * cos, -half_height, radius * sin));
        }
        Shape::Polyhedron { faces, vertices }
    }

    /// Whether the solid is convex.
    pub(super) fn is_convex(&self) -> bool {
        !matches!(self, Shape::Torus { .. })
    }

    /// The radius of the smallest sphere about the origin that holds the solid.
    pub(super) fn bounding_radius(&self) -> f32 {
        match self {
            Shape::Ellipsoid { radii } => radii.x.max(radii.y).max(radii.z),
            Shape::Dome { radius } => *radius,
            Shape::Frustum {
                bottom,
                top,
                half_height,
            } => {
                let widest = bottom.max(*top);
                (widest * widest + half_height * half_height).sqrt()
            }
            Shape::Capsule { radius, half } => radius + half,
            Shape::Torus { major, minor } => major + minor,
            Shape::RoundedBox { half, radius } => half.length() + radius,
            Shape::Polyhedron { vertices, .. } => {
                vertices.iter().map(|v| v.length()).fold(0.0, f32::max)
            }
        }
    }

    /// How far the solid extends in the unit direction `d`: the maximum of p · d over its points.
    pub(super) fn support(&self, d: Vec3) -> f32 {
        let flat = (d.x * d.x + d.z * d.z).sqrt();
        match self {
            Shape::Ellipsoid { radii } => radii.scaled(d).length(),
            Shape::Dome { radius } => radius * if d.y > 0.0 { 1.0 } else { flat },
            Shape::Frustum {
                bottom,
                top,
                half_height,
            } => (top * flat + half_height * d.y).max(bottom * flat - half_height * d.y),
            Shape::Capsule { radius, half } => radius + half * d.y.abs(),
            Shape::Torus { major, minor } => major * flat + minor,
            Shape::RoundedBox { half, radius } => half.dot(d.abs()) + radius,
            Shape::Polyhedron { vertices, .. } => {
                vertices.iter().map(|v| v.dot(d)).fold(f32::MIN, f32::max)
            }
        }
    }

    /// The first t > `t_min` at which the ray o + t·d enters the solid from outside; d is a unit vector.
    /// `o` must be the ray's point nearest to the origin (o · d = 0), so that the precision of `f32` does
    /// not depend on the camera's distance.
    pub(super) fn hit(&self, o: Vec3, d: Vec3, t_min: f32) -> Option<f32> {
        let t = match self {
            Shape::Ellipsoid { radii } => {
                let inverse = vec3(1.0 / radii.x, 1.0 / radii.y, 1.0 / radii.z);
                sphere_span(o.scaled(inverse), d.scaled(inverse), 1.0)?.0
            }
            Shape::Dome { radius } => {
                let (enter, exit) = sphere_span(o, d, *radius)?;
                let floor = -o.y / d.y;
                if d.y > 0.0 {
                    Some(enter.max(floor)).filter(|&t| t < exit)?
                } else {
                    Some(enter).filter(|&t| o.y + t * d.y >= 0.0)?
                }
            }
            Shape::Frustum {
                bottom,
                top,
                half_height,
            } => {
                return frustum_hit(o, d, t_min, *bottom, *top, *half_height);
            }
            Shape::Capsule { radius, half } => {
                // The ray enters through the cylinder between the two balls, else through the nearer ball.
                let side = frustum_side(o, d, *radius, 0.0)
                    .map(|(enter, _)| enter)
                    .filter(|t| (o.y + t * d.y).abs() <= *half);
                let ball = |y: f32| Some(sphere_span(o - vec3(0.0, y, 0.0), d, *radius)?.0);
                side.or_else(|| match (ball(*half), ball(-half)) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                })?
            }
            Shape::Torus { major, minor } => {
                let half = vec3(major + minor, *minor, major + minor);
                return self.trace(half, o, d, t_min);
            }
            Shape::RoundedBox { half, radius } => {
                return self.trace(*half + Vec3::splat(*radius), o, d, t_min);
            }
            Shape::Polyhedron { faces, .. } => {
                let (mut enter, mut exit) = (f32::MIN, f32::MAX);
                for &(normal, offset) in faces {
                    let (speed, gap) = (normal.dot(d), offset - normal.dot(o));
                    if speed < 0.0 {
                        enter = enter.max(gap / speed);
                    } else if speed > 0.0 {
                        exit = exit.min(gap / speed);
                    } else if gap < 0.0 {
                        return None;
                    }
                }
                Some(enter).filter(|&t| t < exit)?
            }
        };
        Some(t).filter(|&t| t > t_min)
    }

    /// The outward unit normal at a point of the surface.
    pub(super) fn normal(&self, p: Vec3) -> Vec3 {
        match self {
            Shape::Ellipsoid { radii } => {
                let squared = radii.scaled(*radii);
                vec3(p.x / squared.x, p.y / squared.y, p.z / squared.z).normalized()
            }
            Shape::Dome { radius } => {
                if p.y < 1e-4 * radius {
                    -Vec3::UP
                } else {
                    p.normalized()
                }
            }
            Shape::Frustum {
                bottom,
                top,
                half_height,
            } => {
                let slope = (top - bottom) / (2.0 * half_height);
                let radial = (p.x * p.x + p.z * p.z).sqrt();
                let inside = (bottom + top) * 0.5 + slope * p.y - radial;
                if half_height - p.y.abs() < inside {
                    vec3(0.0, p.y.signum(), 0.0)
                } else {
                    vec3(p.x, -slope * radial, p.z).normalized()
                }
            }
            Shape::Capsule { half, .. } => {
                (p - vec3(0.0, p.y.clamp(-half, *half), 0.0)).normalized()
            }
            Shape::Torus { major, .. } => {
                let onto_ring = major / (p.x * p.x + p.z * p.z).sqrt();
                (p - vec3(p.x * onto_ring, 0.0, p.z * onto_ring)).normalized()
            }
            Shape::RoundedBox { half, .. } => {
                let clamp = |v: f32, h: f32| v.clamp(-h, h);
                let core = vec3(clamp(p.x, half.x), clamp(p.y, half.y), clamp(p.z, half.z));
                (p - core).normalized()
            }
            Shape::Polyhedron { faces, .. } => {
                let depth = |face: &(Vec3, f32)| face.0.dot(p) - face.1;
                let nearest = faces.iter().max_by(|a, b| depth(a).total_cmp(&depth(b)));
                nearest.map_or(Vec3::UP, |face| face.0)
            }
        }
    }

    /// The distance from `p` to the surface, for the solids that are sphere traced.
    fn distance(&self, p: Vec3) -> f32 {
        match self {
            Shape::Torus { major, minor } => {
                let ring = (p.x * p.x + p.z * p.z).sqrt() - major;
                (ring * ring + p.y * p.y).sqrt() - minor
            }
            Shape::RoundedBox { half, radius } => {
                let q = p.abs() - *half;
                let outside = vec3(q.x.max(0.0), q.y.max(0.0), q.z.max(0.0));
                outside.length() + q.x.max(q.y).max(q.z).min(0.0) - radius
            }
            _ => unreachable!("met analytically"),
        }
    }

    /// Sphere traces the ray inside the box with half edges `half`, which contains the solid.
    fn trace(&self, half: Vec3, o: Vec3, d: Vec3, t_min: f32) -> Option<f32> {
        let (enter, exit) = box_span(o, d, half)?;
        let mut t = enter.max(t_min);
        for _ in 0..TRACE_STEPS {
            let distance = self.distance(o + d * t);
            if distance < TRACE_PRECISION {
                return Some(t);
            }
            t += distance;
            if t > exit {
                return None;
            }
        }
        None
    }
}

/// The t at which a ray enters and leaves the box with half edges `half` centred at the origin.
fn box_span(o: Vec3, d: Vec3, half: Vec3) -> Option<(f32, f32)> {
    let (mut enter, mut exit) = (f32::MIN, f32::MAX);
    for (o, d, half) in [(o.x, d.x, half.x), (o.y, d.y, half.y), (o.z, d.z, half.z)] {
        // For a ray parallel to a pair of faces the span is infinite, or empty when it runs outside of them.
        let (middle, reach) = (-o / d, half / d.abs());
        enter = enter.max(middle - reach);
        exit = exit.min(middle + reach);
    }
    (enter < exit).then_some((enter, exit))
}

/// The t at which a ray enters and leaves a sphere centred at the origin. `d` need not be a unit vector.
fn sphere_span(o: Vec3, d: Vec3, radius: f32) -> Option<(f32, f32)> {
    roots(d.dot(d), o.dot(d), o.dot(o) - radius * radius)
}

/// The roots of a·t² + 2b·t + c for a > 0, in ascending order.
fn roots(a: f32, b: f32, c: f32) -> Option<(f32, f32)> {
    let discriminant = b * b - a * c;
    (discriminant > 0.0).then(|| {
        let root = discriminant.sqrt();
        ((-b - root) / a, (-b + root) / a)
    })
}

/// The t at which a ray meets the infinite cone of radius `middle + slope · y`, in ascending order.
fn frustum_side(o: Vec3, d: Vec3, middle: f32, slope: f32) -> Option<(f32, f32)> {
    let (radius, growth) = (middle + slope * o.y, slope * d.y);
    let a = d.x * d.x + d.z * d.z - growth * growth;
    let b = o.x * d.x + o.z * d.z - radius * growth;
    let c = o.x * o.x + o.z * o.z - radius * radius;
    if a.abs() < 1e-6 {
        // A ray parallel to the surface meets it at most once.
        let t = -0.5 * c / b;
        return t.is_finite().then_some((t, t));
    }
    let sign = a.signum();
    let (first, second) = roots(a * sign, b * sign, c * sign)?;
    Some((first, second))
}

fn frustum_hit(o: Vec3, d: Vec3, t_min: f32, bottom: f32, top: f32, half: f32) -> Option<f32> {
    let (middle, slope) = ((bottom + top) * 0.5, (top - bottom) / (2.0 * half));
    let mut nearest = f32::MAX;
    if let Some((first, second)) = frustum_side(o, d, middle, slope) {
        for t in [first, second] {
            let y = o.y + t * d.y;
            if t > t_min && t < nearest && y.abs() <= half {
                nearest = t;
            }
        }
    }
    // Of the two caps only the one that faces the ray can be entered.
    let (y, radius) = if d.y < 0.0 {
        (half, top)
    } else {
        (-half, bottom)
    };
    let t = (y - o.y) / d.y;
    let (x, z) = (o.x + t * d.x, o.z + t * d.z);
    if t > t_min && t < nearest && x * x + z * z <= radius * radius {
        nearest = t;
    }
    (nearest < f32::MAX).then_some(nearest)
}

/// A solid with its position and orientation in the scene.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) shape: Shape,
    pub(super) rotation: Rotation,
    pub(super) centre: Vec3,
    pub(super) radius: f32,
}

impl Placed {
    pub(super) fn new(shape: Shape, rotation: Rotation, centre: Vec3) -> Placed {
        let radius = shape.bounding_radius();
        Placed {
            shape,
            rotation,
            centre,
            radius,
        }
    }

    /// The first t > 0 at which the ray enters the solid, if it is below `t_max`.
    #[inline]
    pub(super) fn hit(&self, origin: Vec3, direction: Vec3, t_max: f32) -> Option<f32> {
        let to_centre = self.centre - origin;
        let along = to_centre.dot(direction);
        let reach = self.radius * self.radius;
        let across = to_centre.dot(to_centre) - along * along;
        if across > reach || along < -self.radius || along - self.radius > t_max {
            return None;
        }
        let nearest = self.rotation.apply_inverse(direction * along - to_centre);
        let t = along
            + self
                .shape
                .hit(nearest, self.rotation.apply_inverse(direction), -along)?;
        (t < t_max).then_some(t)
    }

    /// Converts a point from the scene's frame to the solid's own.
    pub(super) fn to_local(&self, p: Vec3) -> Vec3 {
        self.rotation.apply_inverse(p - self.centre)
    }
}
