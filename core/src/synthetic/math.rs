//! The little linear algebra the renderer needs, in `f32`.
//!
//! A pixel is computed with `+ - * /` and `sqrt` only. IEEE 754 rounds these correctly and Rust never
//! fuses them, so they give the same bits on every platform; the platform's `sin`, `pow` and the like
//! would not. Angles use [`sin_cos`] below, a power series of the same operations.

use std::ops::{Add, Mul, Neg, Sub};

/// A point, a direction or a linear RGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Vec3 {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) z: f32,
}

pub(super) const fn vec3(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

impl Vec3 {
    pub(super) const ZERO: Vec3 = vec3(0.0, 0.0, 0.0);
    pub(super) const UP: Vec3 = vec3(0.0, 1.0, 0.0);

    pub(super) fn splat(value: f32) -> Vec3 {
        vec3(value, value, value)
    }

    pub(super) fn dot(self, other: Vec3) -> f32 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }

    pub(super) fn cross(self, other: Vec3) -> Vec3 {
        vec3(
            self.y * other.z - self.z * other.y,
            self.z * other.x - self.x * other.z,
            self.x * other.y - self.y * other.x,
        )
    }

    pub(super) fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    pub(super) fn normalized(self) -> Vec3 {
        self * (1.0 / self.length())
    }

    /// The component-wise product, which is the light that a coloured surface reflects.
    pub(super) fn scaled(self, other: Vec3) -> Vec3 {
        vec3(self.x * other.x, self.y * other.y, self.z * other.z)
    }

    pub(super) fn abs(self) -> Vec3 {
        vec3(self.x.abs(), self.y.abs(), self.z.abs())
    }

    /// Linear interpolation: `self` for the amount 0, `other` for 1.
    pub(super) fn mix(self, other: Vec3, amount: f32) -> Vec3 {
        self + (other - self) * amount
    }

    /// An arbitrary unit vector at a right angle to this one.
    pub(super) fn any_orthogonal(self) -> Vec3 {
        let helper = if self.x.abs() < 0.7 {
            vec3(1.0, 0.0, 0.0)
        } else {
            Vec3::UP
        };
        self.cross(helper).normalized()
    }
}

impl Add for Vec3 {
    type Output = Vec3;
    fn add(self, other: Vec3) -> Vec3 {
        vec3(self.x + other.x, self.y + other.y, self.z + other.z)
    }
}

impl Sub for Vec3 {
    type Output = Vec3;
    fn sub(self, other: Vec3) -> Vec3 {
        vec3(self.x - other.x, self.y - other.y, self.z - other.z)
    }
}

impl Mul<f32> for Vec3 {
    type Output = Vec3;
    fn mul(self, factor: f32) -> Vec3 {
        vec3(self.x * factor, self.y * factor, self.z * factor)
    }
}

impl Neg for Vec3 {
    type Output = Vec3;
    fn neg(self) -> Vec3 {
        vec3(-self.x, -self.y, -self.z)
    }
}

/// A rotation matrix by its rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rotation {
    rows: [Vec3; 3],
}

impl Rotation {
    pub(super) const IDENTITY: Rotation = Rotation {
        rows: [
            vec3(1.0, 0.0, 0.0),
            vec3(0.0, 1.0, 0.0),
            vec3(0.0, 0.0, 1.0),
        ],
    };

    /// A rotation about the vertical axis; `turns` is the angle in full turns.
    pub(super) fn yaw(turns: f32) -> Rotation {
        let (sin, cos) = sin_cos(turns);
        Rotation {
            rows: [vec3(cos, 0.0, sin), Vec3::UP, vec3(-sin, 0.0, cos)],
        }
    }

    /// A rotation that turns the unit vector `from` straight down.
    pub(super) fn lay_down(from: Vec3) -> Rotation {
        let side = from.any_orthogonal();
        Rotation {
            rows: [side, -from, side.cross(-from)],
        }
    }

    /// A rotation made of three numbers in [0, 1); uniform numbers give uniform rotations (Shoemake 1992).
    pub(super) fn from_uniform(u: [f32; 3]) -> Rotation {
        let (sin1, cos1) = sin_cos(u[1]);
        let (sin2, cos2) = sin_cos(u[2]);
        let (a, b) = ((1.0 - u[0]).sqrt(), u[0].sqrt());
        let (x, y, z, w) = (a * sin1, a * cos1, b * sin2, b * cos2);
        Rotation {
            rows: [
                vec3(
                    1.0 - 2.0 * (y * y + z * z),
                    2.0 * (x * y - z * w),
                    2.0 * (x * z + y * w),
                ),
                vec3(
                    2.0 * (x * y + z * w),
                    1.0 - 2.0 * (x * x + z * z),
                    2.0 * (y * z - x * w),
                ),
                vec3(
                    2.0 * (x * z - y * w),
                    2.0 * (y * z + x * w),
                    1.0 - 2.0 * (x * x + y * y),
                ),
            ],
        }
    }

    pub(super) fn apply(&self, v: Vec3) -> Vec3 {
        vec3(
            self.rows[0].dot(v),
            self.rows[1].dot(v),
            self.rows[2].dot(v),
        )
    }

    pub(super) fn apply_inverse(&self, v: Vec3) -> Vec3 {
        self.rows[0] * v.x + self.rows[1] * v.y + self.rows[2] * v.z
    }

    /// The rotation by `first` followed by `self`.
    pub(super) fn after(&self, first: &Rotation) -> Rotation {
        Rotation {
            rows: self.rows.map(|row| first.apply_inverse(row)),
        }
    }
}

/// Sine and cosine of an angle in full turns, by power series in `f64`.
pub(super) fn sin_cos(turns: f32) -> (f32, f32) {
    let reduced = f64::from(turns) - (f64::from(turns) + 0.5).floor();
    let x = reduced * std::f64::consts::TAU;
    // |x| ≤ π, so the first term left out is at most π²⁴/24! < 2e-12.
    let (mut sin, mut cos, mut term) = (0.0, 0.0, 1.0);
    for n in 0..24 {
        match n % 4 {
            0 => cos += term,
            1 => sin += term,
            2 => cos -= term,
            _ => sin -= term,
        }
        term *= x / f64::from(n + 1);
    }
    (sin as f32, cos as f32)
}

/// The angle of (x, y) in full turns, in [-0.5, 0.5], with an error of up to 1e-3. Textures need no more,
/// and the result is the same on every platform, unlike `atan2`.
pub(super) fn angle(x: f32, y: f32) -> f32 {
    let (ax, ay) = (x.abs(), y.abs());
    let ratio = ax.min(ay) / ax.max(ay).max(1e-12);
    // A cubic approximation of atan(r)/2π on [0, 1] that is exact at both ends.
    let octant = ratio * (0.125 + (1.0 - ratio) * (0.0389 + 0.0106 * ratio));
    let quadrant = if ay > ax { 0.25 - octant } else { octant };
    let half = if x < 0.0 { 0.5 - quadrant } else { quadrant };
    if y < 0.0 { -half } else { half }
}

/// The largest integer not above `x`. `f32::floor` would be a library call on x86 without SSE 4.1.
#[inline]
pub(super) fn floor(x: f32) -> i32 {
    let truncated = x as i32;
    truncated - i32::from((truncated as f32) > x)
}

/// The fractional part, in [0, 1).
#[inline]
pub(super) fn fract(x: f32) -> f32 {
    x - floor(x) as f32
}

/// 0 below `low`, 1 above `high`, a smooth cubic between.
#[inline]
pub(super) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
