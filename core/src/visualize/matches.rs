//! Draws matches between two pictures as lines from one to the other.

use image::{Rgb, RgbImage};

use super::layout::{enlarge, side_by_side};
use super::raster::{disc, line};

/// The colour of a match known to be right: the sky blue of Okabe and Ito's palette, which is
/// distinguishable from [`WRONG`] with every kind of colour-blindness.
pub const CORRECT: Rgb<u8> = Rgb([86, 180, 233]);

/// The colour of a match known to be wrong: an orange close to that of Okabe and Ito's palette.
pub const WRONG: Rgb<u8> = Rgb([238, 119, 20]);

/// One drawn match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatchLine {
    /// Position [x, y] in picture A, in its pixels (continuous; before any enlargement).
    pub a: [f32; 2],
    /// Position [x, y] in picture B, in its pixels (continuous; before any enlargement).
    pub b: [f32; 2],
    /// Similarity in [-1, 1], which determines the opacity.
    pub score: f32,
    /// Whether the match is right, where the truth is known.
    pub correct: Option<bool>,
}

/// Options of [`draw_matches`]. Lengths are in pixels of the result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrawOptions {
    /// Whole factor by which both pictures are enlarged before drawing; 1 leaves their size. For small
    /// pictures of about 100 pixels.
    pub scale: u32,
    /// How much the pictures are dimmed behind the lines: 0 leaves them as they are, 1 makes them dark grey.
    pub dim: f32,
    /// White space between the pictures.
    pub gap: u32,
    /// Thickness of a line.
    pub line_width: f32,
    /// Radius of the dots at both ends of a line.
    pub dot_radius: f32,
    /// Opacity of a line whose score is `score_range[0]` or less, in [0, 1].
    pub faintest: f32,
    /// Opacity of a line whose score is `score_range[1]` or more, in [0, 1].
    pub strongest: f32,
    /// The scores of the `faintest` and the `strongest` lines; in between the opacity is linear.
    pub score_range: [f32; 2],
}

impl Default for DrawOptions {
    fn default() -> Self {
        Self {
            scale: 1,
            dim: 0.6,
            gap: 8,
            line_width: 1.5,
            dot_radius: 2.5,
            faintest: 0.25,
            strongest: 0.9,
            score_range: [0.0, 1.0],
        }
    }
}

impl DrawOptions {
    /// The opacity of a line with this score; NaN gives `faintest`.
    fn opacity(&self, score: f32) -> f32 {
        let [low, high] = self.score_range;
        let t = match (score - low) / (high - low) {
            _ if score.is_nan() => 0.0,
            t if high > low => t.clamp(0.0, 1.0),
            _ => 1.0,
        };
        self.faintest + (self.strongest - self.faintest) * t
    }
}

/// Draws `a` and `b` side by side with one line per match, the highest scores last (on top).
///
/// A line's colour is [`CORRECT`] or [`WRONG`] where the truth is known. Otherwise it depends on the
/// position in A, so that neighbouring lines have similar colours and a smooth warp looks smooth.
/// A match with a coordinate that is not finite is left out.
pub fn draw_matches(
    a: &RgbImage,
    b: &RgbImage,
    matches: &[MatchLine],
    options: &DrawOptions,
) -> RgbImage {
    let scale = options.scale.max(1);
    let size = [a.width() as f32, a.height() as f32];
    let picture = |image| dimmed(enlarge(image, scale), options.dim);
    let (mut canvas, offset) = side_by_side(&picture(a), &picture(b), options.gap);

    let mut drawn: Vec<&MatchLine> = matches
        .iter()
        .filter(|m| m.a.iter().chain(&m.b).all(|v| v.is_finite()))
        .collect();
    drawn.sort_by(|x, y| x.score.total_cmp(&y.score));

    let ends = |m: &MatchLine| {
        let scale = scale as f32;
        let to = [
            m.b[0] * scale + offset[0] as f32,
            m.b[1] * scale + offset[1] as f32,
        ];
        ([m.a[0] * scale, m.a[1] * scale], to)
    };
    let color = |m: &MatchLine| match m.correct {
        Some(true) => CORRECT,
        Some(false) => WRONG,
        None => position_color(m.a[0] / size[0].max(1.0), m.a[1] / size[1].max(1.0)),
    };
    for m in &drawn {
        let (from, to) = ends(m);
        line(
            &mut canvas,
            from,
            to,
            options.line_width,
            color(m),
            options.opacity(m.score),
        );
    }
    // The dots are drawn after all lines, so that no line covers an end of a match.
    for m in &drawn {
        let (from, to) = ends(m);
        for end in [from, to] {
            disc(
                &mut canvas,
                end,
                options.dot_radius + 1.0,
                Rgb([20, 20, 20]),
                0.7,
            );
            disc(&mut canvas, end, options.dot_radius, color(m), 1.0);
        }
    }
    canvas
}

/// The picture blended by `amount` in [0, 1] towards a dark grey version of itself.
fn dimmed(mut image: RgbImage, amount: f32) -> RgbImage {
    const DARKNESS: f32 = 0.6;
    let amount = amount.clamp(0.0, 1.0);
    for pixel in image.pixels_mut() {
        let [r, g, b] = pixel.0.map(f32::from);
        let target = DARKNESS * (0.299 * r + 0.587 * g + 0.114 * b);
        pixel.0 = [r, g, b].map(|c| (c + (target - c) * amount).round() as u8);
    }
    image
}

/// The colour of a position (u, v) in [0, 1]² of picture A: the hue is the direction from the centre, the
/// chroma grows with the distance from it, and the lightness is constant. The colour space is Oklab
/// (Ottosson 2020), in which equal distances look equally large.
fn position_color(u: f32, v: f32) -> Rgb<u8> {
    const LIGHTNESS: f32 = 0.78;
    let (x, y) = (2.0 * u - 1.0, 2.0 * v - 1.0);
    let chroma = 0.07 + 0.10 * x.hypot(y).min(1.0);
    let hue = y.atan2(x);
    oklab_to_srgb(LIGHTNESS, chroma * hue.cos(), chroma * hue.sin())
}

/// Converts Oklab to 8-bit sRGB; colours outside of sRGB are clipped.
fn oklab_to_srgb(lightness: f32, a: f32, b: f32) -> Rgb<u8> {
    let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let linear = [
        4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
        -1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s,
        -0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s,
    ];
    Rgb(linear.map(|c| {
        let c = c.clamp(0.0, 1.0);
        let encoded = if c <= 0.003_130_8 {
            12.92 * c
        } else {
            1.055 * c.powf(1.0 / 2.4) - 0.055
        };
        (encoded * 255.0).round() as u8
    }))
}
