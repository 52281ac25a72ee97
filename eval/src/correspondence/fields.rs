//! Files with the true correspondence of every pixel: `.flo`, NPY, disparities.

use std::path::Path;

use anyhow::{Context, bail};
use densecl::synthetic::Correspondence;

use densecl_train::data::index_png::read_index_png;
use densecl_train::files::read_at_most;

/// Longest permitted file: 8 bytes for each of 100 million pixels, and a header.
const MAX_BYTES: u64 = 801 << 20;
/// Middlebury's `.flo` marks unknown flow by values above this.
const UNKNOWN_FLOW: f32 = 1e9;
/// In Middlebury 2003 at quarter size a grey value is four times the disparity in pixels.
const GREY_PER_PIXEL: f32 = 4.0;
/// Largest difference in pixels of left and right disparity at a visible point.
const CONSISTENT: f32 = 1.0;

/// Reads optical flow (Baker et al., Middlebury): "PIEH", width, height, then (u, v) per pixel.
///
/// # Errors
/// When the file is not of this format or is truncated; one line with its path.
pub fn read_flo(path: &Path, size_b: [u32; 2]) -> anyhow::Result<Correspondence> {
    let bytes = read_at_most(path, MAX_BYTES)?;
    let shown = path.display();
    let number = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    let (Some(b"PIEH"), Some(width), Some(height)) = (bytes.get(..4), number(4), number(8)) else {
        bail!("{shown}: not a .flo file: it does not begin with PIEH");
    };
    let (width, height) = (u32::from_le_bytes(width), u32::from_le_bytes(height));
    let vectors = vectors(&bytes[12..], [width, height]).with_context(|| shown.to_string())?;
    let moved = vectors.enumerate().map(|(pixel, [u, v])| {
        let known = u.abs() <= UNKNOWN_FLOW && v.abs() <= UNKNOWN_FLOW;
        let [x, y] = center(pixel, width);
        known.then_some([x + u, y + v])
    });
    Ok(field([width, height], moved, size_b))
}

/// Reads the format of `densecl synth`: NPY, float32 [height, width, 2], the (x, y) of each pixel's point in the
/// other picture, NaN where it is hidden.
///
/// # Errors
/// When the file is not of this format or is truncated; one line with its path.
pub fn read_npy(path: &Path, size_b: [u32; 2]) -> anyhow::Result<Correspondence> {
    let bytes = read_at_most(path, MAX_BYTES)?;
    let (size, values) = npy_parts(&bytes).with_context(|| {
        format!(
            "{}: expected NPY 1.0, '<f4', C order, shape (height, width, 2)",
            path.display()
        )
    })?;
    let vectors = vectors(values, size).with_context(|| path.display().to_string())?;
    let known = vectors.map(|point| point.iter().all(|v| v.is_finite()).then_some(point));
    Ok(field(size, known, size_b))
}

/// Reads Middlebury 2003 disparities. Pixel x of the left picture corresponds to x − d in the right one, with d =
/// grey / 4; grey 0 means unknown. A point is hidden where the disparity in the right picture differs by more than a
/// pixel.
///
/// # Errors
/// When a picture cannot be used, or the two differ in size; one line with its path.
pub fn read_disparity(left: &Path, right: &Path) -> anyhow::Result<Correspondence> {
    let (ours, theirs) = (read_index_png(left)?, read_index_png(right)?);
    let (width, height) = ours.dimensions();
    if theirs.dimensions() != (width, height) {
        bail!(
            "{}: {} x {} pixels, but {} has {width} x {height}",
            right.display(),
            theirs.width(),
            theirs.height(),
            left.display()
        );
    }
    let points = ours.enumerate_pixels().map(|(x, y, grey)| {
        let shift = f32::from(grey[0]) / GREY_PER_PIXEL;
        let target = x as f32 - shift;
        let column = target.round();
        if grey[0] == 0 || column < 0.0 {
            return None;
        }
        let back = f32::from(theirs.get_pixel(column as u32, y)[0]) / GREY_PER_PIXEL;
        let visible = (back - shift).abs() <= CONSISTENT;
        visible.then_some([target + 0.5, y as f32 + 0.5])
    });
    Ok(field([width, height], points, [width, height]))
}

/// The centre of a pixel, (x, y).
fn center(pixel: usize, width: u32) -> [f32; 2] {
    let (x, y) = (pixel % width as usize, pixel / width as usize);
    [x as f32 + 0.5, y as f32 + 0.5]
}

/// A correspondence field; points outside the second picture are not visible.
fn field(
    [width, height]: [u32; 2],
    points: impl Iterator<Item = Option<[f32; 2]>>,
    [width_b, height_b]: [u32; 2],
) -> Correspondence {
    let inside = |[x, y]: [f32; 2]| {
        (0.0..width_b as f32).contains(&x) && (0.0..height_b as f32).contains(&y)
    };
    let (target, visible) = points
        .map(|point| (point.unwrap_or([-1.0; 2]), point.is_some_and(inside)))
        .unzip();
    Correspondence {
        width,
        height,
        target,
        visible,
    }
}

/// Exactly `width` · `height` pairs of little-endian float32.
fn vectors(
    bytes: &[u8],
    [width, height]: [u32; 2],
) -> anyhow::Result<impl Iterator<Item = [f32; 2]>> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels.checked_mul(8) != Some(bytes.len() as u64) {
        bail!(
            "{} bytes of values where {width} x {height} pixels need 8 each",
            bytes.len()
        );
    }
    let (pairs, _) = bytes.as_chunks::<8>();
    Ok(pairs.iter().map(|&[a, b, c, d, e, f, g, h]| {
        [
            f32::from_le_bytes([a, b, c, d]),
            f32::from_le_bytes([e, f, g, h]),
        ]
    }))
}

/// Width and height, and the bytes of the values.
fn npy_parts(bytes: &[u8]) -> Option<([u32; 2], &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY\x01\x00")?;
    let (length, rest) = rest.split_at_checked(2)?;
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    let (header, values) = rest.split_at_checked(length)?;
    let header: String = str::from_utf8(header)
        .ok()?
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    if !header.contains("'descr':'<f4'") || !header.contains("'fortran_order':False") {
        return None;
    }
    let (_, shape) = header.split_once("'shape':(")?;
    let (shape, _) = shape.split_once(')')?;
    match *shape.split(',').collect::<Vec<_>>() {
        [height, width, "2"] => Some(([width.parse().ok()?, height.parse().ok()?], values)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn flo(width: u32, height: u32, values: &[f32]) -> Vec<u8> {
        let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
        [b"PIEH".to_vec(), size, floats(values)].concat()
    }

    #[test]
    fn flow_moves_pixel_centres_and_knows_what_it_does_not_know() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a.flo");
        fs::write(&path, flo(3, 1, &[1.0, 0.25, 1e10, 0.0, 5.0, 0.0])).expect("written");
        let field = read_flo(&path, [3, 1]).expect("a flow");
        assert_eq!(field.at(0.5, 0.5), Some([1.5, 0.75]));
        assert_eq!(field.at(1.5, 0.5), None);
        // Points outside the picture.
        assert_eq!(field.at(2.5, 0.5), None);
    }

    #[test]
    fn disparities_shift_to_the_left_where_both_pictures_agree() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let [left, right] = ["l.png", "r.png"].map(|name| dir.path().join(name));
        let save = |path, row: [u8; 4]| {
            image::GrayImage::from_raw(4, 1, row.to_vec())
                .expect("four pixels")
                .save(path)
                .expect("a picture");
        };
        // Disparities 1, unknown, 2, 1; in the right picture pixel 2 belongs to another surface.
        save(&left, [4, 0, 8, 4]);
        save(&right, [8, 0, 40, 0]);
        let field = read_disparity(&left, &right).expect("disparities");
        let found: Vec<_> = (0..4).map(|x| field.at(x as f32 + 0.5, 0.5)).collect();
        assert_eq!(found, [None, None, Some([0.5, 0.5]), None]);
    }

    #[test]
    fn hostile_files_are_refused_in_a_line() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("x");
        let npy = |header: &str, values: &[u8]| {
            let length = (header.len() as u16).to_le_bytes();
            [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), values].concat()
        };
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 2), }\n";
        let whole = npy(header, &floats(&[1.5, 0.5, f32::NAN, 0.5]));
        fs::write(&path, &whole).expect("written");
        let field = read_npy(&path, [2, 1]).expect("whole");
        assert_eq!(
            (field.at(0.5, 0.5), field.at(1.5, 0.5)),
            (Some([1.5, 0.5]), None)
        );

        let mut bad = vec![
            npy(&header.replace("<f4", "<f8"), &[0; 16]),
            npy(&header.replace("False", "True"), &[0; 16]),
            npy(
                &header.replace("(1, 2, 2)", "(4294967295, 4294967295, 2)"),
                &[0; 16],
            ),
            npy(&header.replace("(1, 2, 2)", "(0, 2, 2)"), &[]),
            npy("'shape':(", &[]),
            flo(u32::MAX, u32::MAX, &[0.0; 4]),
            flo(2, 2, &[0.0; 7]),
            Vec::new(),
        ];
        bad.extend((0..whole.len()).map(|cut| whole[..cut].to_vec()));
        for bytes in bad {
            fs::write(&path, &bytes).expect("written");
            for result in [read_npy(&path, [2, 1]), read_flo(&path, [2, 1])] {
                let error = format!("{:#}", result.expect_err("refused"));
                assert!(error.contains('x') && !error.contains('\n'), "{error}");
            }
        }
    }
}
