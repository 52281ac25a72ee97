//! Masks of single objects as run lengths, in COCO's two formats and from polygons.
//!
//! Pixels are numbered column by column, as in COCO; the first run is of pixels outside the mask and may be empty. The
//! functions give what pycocotools' `mask` gives, bit for bit.

use crate::{
    boxes::Rect,
    error::{Error, Result},
};

/// Points per pixel along an edge of a polygon, as in pycocotools.
const SCALE: f64 = 5.0;

/// The pixels of one object in a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Width and height of the picture in pixels.
    size: [u32; 2],
    /// Lengths of the runs, beginning with pixels outside.
    runs: Vec<u32>,
}

fn wrong(message: String) -> Error {
    Error::Format(message)
}

fn pixels_of([width, height]: [u32; 2]) -> u64 {
    u64::from(width) * u64::from(height)
}

impl Mask {
    /// The mask of the pixels for which `inside` (row by row) is set.
    ///
    /// # Panics
    /// When there is not one value per pixel.
    pub fn from_pixels(inside: &[bool], size: [u32; 2]) -> Self {
        let [width, height] = size.map(|side| side as usize);
        assert_eq!(inside.len(), width * height, "a value per pixel");
        let mut runs = vec![0];
        let mut current = false;
        for column in 0..width {
            for row in 0..height {
                if inside[row * width + column] != current {
                    current = !current;
                    runs.push(0);
                }
                if let Some(run) = runs.last_mut() {
                    *run += 1;
                }
            }
        }
        Self { size, runs }
    }

    /// A mask from the lengths of its runs (COCO's uncompressed RLE).
    ///
    /// # Errors
    /// [`Error::Format`] when they do not add up to the number of pixels.
    pub fn from_runs(runs: Vec<u32>, size: [u32; 2]) -> Result<Self> {
        let sum: u64 = runs.iter().map(|&run| u64::from(run)).sum();
        if sum != pixels_of(size) {
            let [width, height] = size;
            return Err(wrong(format!(
                "its runs are of {sum} pixels in all, but the picture has {width} x {height} = {}",
                pixels_of(size)
            )));
        }
        Ok(Self { size, runs })
    }

    /// A mask from COCO's compressed RLE: a run's difference to the run before the last, in groups of five bits.
    ///
    /// # Errors
    /// [`Error::Format`] when the text is no such code, or its runs do not add up to the number of pixels.
    pub fn from_compressed(text: &str, size: [u32; 2]) -> Result<Self> {
        let mut runs: Vec<u32> = Vec::new();
        let mut codes = text.bytes();
        while codes.len() > 0 {
            let (mut value, mut shift) = (0i64, 0);
            loop {
                let code = codes.next().map(|byte| i64::from(byte) - 48);
                let Some(code) = code.filter(|code| (0..64).contains(code) && shift < 60) else {
                    return Err(wrong(
                        "its compressed RLE is damaged or truncated".to_string(),
                    ));
                };
                value |= (code & 0x1f) << shift;
                shift += 5;
                if code & 0x20 == 0 {
                    if code & 0x10 != 0 {
                        value |= -1 << shift;
                    }
                    break;
                }
            }
            if runs.len() > 2 {
                value += i64::from(runs[runs.len() - 2]);
            }
            let run = u32::try_from(value);
            let run =
                run.map_err(|_| wrong(format!("its compressed RLE has a run of {value} pixels")))?;
            runs.push(run);
        }
        Self::from_runs(runs, size)
    }

    /// The union of polygons, each a list x, y, x, y, … of corners in pixels.
    ///
    /// # Errors
    /// [`Error::Format`] for a polygon of fewer than three points, or with a coordinate that is no number or absurdly
    /// far outside.
    pub fn from_polygons(polygons: &[Vec<f64>], size: [u32; 2]) -> Result<Self> {
        let mut union: Option<Self> = None;
        for polygon in polygons {
            let one = Self::from_polygon(polygon, size)?;
            union = Some(match union {
                None => one,
                Some(union) => union.union(&one),
            });
        }
        union.ok_or_else(|| wrong("it has no polygon".to_string()))
    }

    /// `rleFrPoly` of pycocotools: the boundary is drawn at five times the size; where it crosses the centre of a
    /// column, a run begins or ends.
    fn from_polygon(polygon: &[f64], size: [u32; 2]) -> Result<Self> {
        /// Farther outside than this a corner is an error of the file; the limit bounds the work.
        const FAR: f64 = 3e4;
        if polygon.len() < 6 || polygon.len() % 2 == 1 {
            return Err(wrong(format!(
                "a polygon of {} numbers: at least three points are needed, x and y of each",
                polygon.len()
            )));
        }
        if let Some(value) = polygon
            .iter()
            .find(|value| value.is_nan() || value.abs() > FAR)
        {
            return Err(wrong(format!("a polygon has the coordinate {value}")));
        }
        let [width, height] = size.map(i64::from);
        let corners: Vec<[i64; 2]> = polygon
            .chunks_exact(2)
            .map(|corner| [0, 1].map(|axis| (SCALE * corner[axis] + 0.5) as i64))
            .collect();
        let mut boundary: Vec<[i64; 2]> = Vec::new();
        for (i, &corner) in corners.iter().enumerate() {
            edge(corner, corners[(i + 1) % corners.len()], &mut boundary);
        }
        let mut crossings: Vec<i64> = Vec::new();
        for pair in boundary.windows(2) {
            let [[before_x, before_y], [x, y]] = [pair[0], pair[1]];
            if x == before_x {
                continue;
            }
            let left = if x < before_x { x } else { x - 1 };
            let column = (left as f64 + 0.5) / SCALE - 0.5;
            if column.fract() != 0.0 || column < 0.0 || column > (width - 1) as f64 {
                continue;
            }
            let row = (y.min(before_y) as f64 + 0.5) / SCALE - 0.5;
            let row = row.clamp(0.0, height as f64).ceil();
            crossings.push(column as i64 * height + row as i64);
        }
        crossings.push(width * height);
        crossings.sort_unstable();
        let mut before = 0;
        let lengths = crossings.into_iter().map(|at| {
            let length = (at - before) as u32;
            before = at;
            length
        });
        // Two crossings at one place cancel each other.
        let mut runs: Vec<u32> = Vec::new();
        let mut joins = false;
        for (i, length) in lengths.enumerate() {
            if joins {
                if let Some(run) = runs.last_mut() {
                    *run += length;
                }
                joins = false;
            } else if length == 0 && i > 0 {
                joins = true;
            } else {
                runs.push(length);
            }
        }
        Self::from_runs(runs, size)
    }

    /// Width and height of the picture in pixels.
    pub fn size(&self) -> [u32; 2] {
        self.size
    }

    /// Number of pixels of the object.
    pub fn area(&self) -> u64 {
        self.spans().map(|[start, end]| end - start).sum()
    }

    /// Whether each pixel belongs to the object, row by row.
    pub fn pixels(&self) -> Vec<bool> {
        let [width, height] = self.size.map(|side| side as usize);
        let mut inside = vec![false; width * height];
        for [start, end] in self.spans() {
            for at in start as usize..end as usize {
                inside[(at % height) * width + at / height] = true;
            }
        }
        inside
    }

    /// The box around the object; `None` where it has no pixels.
    pub fn bounds(&self) -> Option<Rect> {
        let height = u64::from(self.size[1]);
        let mut bounds: Option<[u64; 4]> = None;
        for [start, end] in self.spans() {
            let (first, last) = (start / height, (end - 1) / height);
            let (top, bottom) = if first == last {
                (start % height, (end - 1) % height)
            } else {
                (0, height - 1)
            };
            let [x0, y0, x1, y1] = bounds.unwrap_or([first, top, last, bottom]);
            bounds = Some([x0.min(first), y0.min(top), x1.max(last), y1.max(bottom)]);
        }
        bounds.map(|[x0, y0, x1, y1]| {
            let [x0, y0, x1, y1] = [x0, y0, x1 + 1, y1 + 1].map(|at| at as f64);
            Rect::new(x0, y0, x1, y1)
        })
    }

    /// Number of pixels that both masks have.
    ///
    /// # Panics
    /// When they are of pictures of different sizes.
    pub fn intersection(&self, other: &Self) -> u64 {
        assert_eq!(self.size, other.size, "masks of one picture");
        let (mut ours, mut theirs) = (self.spans().peekable(), other.spans().peekable());
        let mut both = 0;
        while let (Some(&[a, b]), Some(&[c, d])) = (ours.peek(), theirs.peek()) {
            both += b.min(d).saturating_sub(a.max(c));
            if b <= d {
                ours.next();
            } else {
                theirs.next();
            }
        }
        both
    }

    /// Intersection over union, in [0, 1]; 0 for two empty masks.
    ///
    /// # Panics
    /// When they are of pictures of different sizes.
    pub fn iou(&self, other: &Self) -> f64 {
        let both = self.intersection(other);
        let either = self.area() + other.area() - both;
        if either == 0 {
            0.0
        } else {
            both as f64 / either as f64
        }
    }

    fn union(&self, other: &Self) -> Self {
        let pairs = self.pixels().into_iter().zip(other.pixels());
        let either: Vec<bool> = pairs.map(|(a, b)| a || b).collect();
        Self::from_pixels(&either, self.size)
    }

    /// First pixel and end of each run inside the mask, in ascending order; none is empty.
    fn spans(&self) -> impl Iterator<Item = [u64; 2]> {
        let mut at = 0;
        let spans = self.runs.iter().enumerate().map(move |(i, &run)| {
            let start = at;
            at += u64::from(run);
            (i % 2 == 1, [start, at])
        });
        spans.filter_map(|(inside, [start, end])| (inside && end > start).then_some([start, end]))
    }
}

/// Appends the points of an edge, from its first to its last.
fn edge(from: [i64; 2], to: [i64; 2], boundary: &mut Vec<[i64; 2]>) {
    let [dx, dy] = [0, 1].map(|axis| (to[axis] - from[axis]).abs());
    let along = usize::from(dx < dy);
    let across = 1 - along;
    let flip = from[along] > to[along];
    let (start, end) = if flip { (to, from) } else { (from, to) };
    let length = dx.max(dy);
    let slope = if length == 0 {
        0.0
    } else {
        (end[across] - start[across]) as f64 / length as f64
    };
    for step in 0..=length {
        let t = if flip { length - step } else { step };
        let mut point = [0; 2];
        point[along] = start[along] + t;
        point[across] = (start[across] as f64 + slope * t as f64 + 0.5) as i64;
        boundary.push(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<Mask>) -> String {
        result.expect_err("refused").to_string()
    }

    #[test]
    fn a_mask_is_what_it_was_made_from() {
        let inside = [false, true, true, true, false, true];
        let mask = Mask::from_pixels(&inside, [3, 2]);
        assert_eq!(mask.pixels(), inside);
        assert_eq!(mask.area(), 4);
        assert_eq!(mask.bounds(), Some(Rect::new(0.0, 0.0, 3.0, 2.0)));
        let runs = Mask::from_runs(vec![1, 2, 1, 2], [3, 2]).expect("six pixels");
        assert_eq!(runs, mask);
        let empty = Mask::from_pixels(&[false; 6], [3, 2]);
        assert_eq!((empty.area(), empty.bounds()), (0, None));
        assert_eq!(
            (mask.iou(&mask), mask.iou(&empty), empty.iou(&empty)),
            (1.0, 0.0, 0.0)
        );
    }

    #[test]
    fn wrong_codes_are_refused() {
        assert!(message(Mask::from_runs(vec![1, 2], [2, 2])).contains("3 pixels"));
        for text in ["`", "1\u{7}", "é", "PPPPPPPPPPPPPPPPPP1"] {
            assert!(
                message(Mask::from_compressed(text, [2, 2])).contains("RLE"),
                "{text}"
            );
        }
        for polygon in [vec![1.0, 1.0, 2.0, 2.0], vec![0.0; 7]] {
            assert!(message(Mask::from_polygons(&[polygon], [4, 4])).contains("three points"));
        }
        let endless = vec![0.0, 0.0, f64::INFINITY, 0.0, 1.0, 1.0];
        assert!(message(Mask::from_polygons(&[endless], [4, 4])).contains("inf"));
        assert!(message(Mask::from_polygons(&[], [4, 4])).contains("no polygon"));
    }
}
