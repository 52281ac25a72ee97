//! Key points in CSV files: our own format, and those in which the tests of PF-PASCAL and PF-WILLOW are published.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::pairs::Pair;
use densecl_train::data::scan::with_extension_in_any_case;
use densecl_train::files::{folder_of, read_text};

/// A point in both pictures, (x, y) in pixels, pixel centres at +0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct KeyPoint {
    pub(super) a: [f32; 2],
    pub(super) b: [f32; 2],
}

/// The key points of a pair.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeyPoints {
    pub(super) points: Vec<KeyPoint>,
    /// The larger side in pixels of the object's box in B, where the points are of an object.
    pub(super) object: Option<f32>,
}

impl KeyPoints {
    /// The points that are inside both pictures, whose sizes are given in pixels.
    pub(super) fn inside(&self, [a, b]: [[u32; 2]; 2]) -> impl Iterator<Item = &KeyPoint> + Clone {
        let inside = |[x, y]: [f32; 2], [width, height]: [u32; 2]| {
            (0.0..width as f32).contains(&x) && (0.0..height as f32).contains(&y)
        };
        let points = self.points.iter();
        points.filter(move |point| inside(point.a, a) && inside(point.b, b))
    }

    /// Points of an object whose box is the smallest around its points in B, as in PF-WILLOW.
    fn of_object(points: Vec<KeyPoint>) -> Self {
        let side = |axis: usize| {
            let along = points.iter().map(|point| point.b[axis]);
            let least = along.clone().fold(f32::INFINITY, f32::min);
            along.fold(f32::NEG_INFINITY, f32::max) - least
        };
        let larger = side(0).max(side(1));
        Self {
            object: (larger > 0.0).then_some(larger),
            points,
        }
    }
}

/// The columns of our own CSV, a point in a row.
pub(super) const COLUMNS: &str = "image_a,image_b,xa,ya,xb,yb";
/// The columns of PF-PASCAL's test pairs, in which each of the last four has a list with `;` between its numbers.
const PF_PASCAL: &str = "source_image,target_image,class,XA,YA,XB,YB";
/// PF-WILLOW's test pairs: two pictures, then the xs of ten points in A, their ys, and the same in B.
const PF_WILLOW: &str = "imageA,imageB";
const WILLOW_POINTS: usize = 10;

/// Reads a CSV of key points; its first line says in which format. Paths are relative to the file.
///
/// # Errors
/// For the first line that is wrong; the message has its number.
pub(super) fn csv(file: &Path) -> anyhow::Result<Vec<Pair>> {
    let shown = file.display();
    let text = read_text(file)?;
    let mut lines = (1..).zip(text.lines().map(str::trim));
    let header = lines.next().map(|(_, line)| line.replace(' ', ""));
    let header = header.unwrap_or_default();
    let is_willow =
        header.starts_with(PF_WILLOW) && header.split(',').count() == 2 + 4 * WILLOW_POINTS;
    let rows = lines.filter(|(_, line)| !line.is_empty());
    let rows = rows.map(|(number, line)| {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        (number, line, cells)
    });
    let expected = |number: usize, columns: &str, line: &str| {
        anyhow::anyhow!("{shown}, line {number}: expected {columns}, found \"{line}\"")
    };
    let there = |name: &str| {
        // A picture that is not there is told by its name when its pair is opened.
        let path = folder_of(file).join(name);
        with_extension_in_any_case(&path).unwrap_or(path)
    };
    let pair = |a: &str, b: &str, points: KeyPoints| {
        Pair::of_points(format!("{a} {b}"), [there(a), there(b)], points)
    };
    let mut pairs = Vec::new();
    if header == COLUMNS {
        let mut grouped: BTreeMap<[String; 2], Vec<KeyPoint>> = BTreeMap::new();
        for (number, line, cells) in rows {
            let point = match *cells {
                [_, _, xa, ya, xb, yb] => numbers(&[xa, ya, xb, yb]),
                _ => None,
            };
            let Some(&[xa, ya, xb, yb]) = point.as_deref() else {
                return Err(expected(number, COLUMNS, line));
            };
            let key = [cells[0].to_string(), cells[1].to_string()];
            let (a, b) = ([xa, ya], [xb, yb]);
            grouped.entry(key).or_default().push(KeyPoint { a, b });
        }
        pairs.extend(grouped.into_iter().map(|([a, b], points)| {
            let object = None;
            pair(&a, &b, KeyPoints { points, object })
        }));
    } else if header == PF_PASCAL {
        for (number, line, cells) in rows {
            let lists = match *cells {
                [_, _, _, ref lists @ ..] if lists.len() == 4 => {
                    let lists = lists.iter().map(|list| {
                        let entries: Vec<&str> = list.split(';').map(str::trim).collect();
                        numbers(&entries)
                    });
                    lists.collect::<Option<Vec<Vec<f32>>>>()
                }
                _ => None,
            };
            let points = lists.and_then(|lists| zipped(&lists));
            let points = points.ok_or_else(|| expected(number, PF_PASCAL, line))?;
            pairs.push(pair(cells[0], cells[1], KeyPoints::of_object(points)));
        }
    } else if is_willow {
        for (number, line, cells) in rows {
            let lists = cells.get(2..).and_then(numbers).map(|all| {
                let lists = all.chunks(WILLOW_POINTS).map(<[f32]>::to_vec);
                lists.collect::<Vec<_>>()
            });
            let points = lists.and_then(|lists| zipped(&lists));
            let points =
                points.ok_or_else(|| expected(number, "two pictures and 40 coordinates", line))?;
            pairs.push(pair(cells[0], cells[1], KeyPoints::of_object(points)));
        }
    } else {
        bail!(
            "{shown}: expected a CSV whose first line is {COLUMNS}, or {PF_PASCAL} (PF-PASCAL), or {PF_WILLOW},… with \
             42 columns (PF-WILLOW)"
        );
    }
    if pairs.is_empty() {
        bail!("{shown} holds no key points below its first line");
    }
    Ok(pairs)
}

/// All cells as numbers; `None` where one is none.
fn numbers(cells: &[&str]) -> Option<Vec<f32>> {
    let number = |cell: &&str| cell.parse().ok().filter(|v: &f32| v.is_finite());
    cells.iter().map(number).collect()
}

/// Points from the lists of their xs and ys in A and in B, all of one length.
fn zipped(lists: &[Vec<f32>]) -> Option<Vec<KeyPoint>> {
    let [xa, ya, xb, yb] = lists else {
        return None;
    };
    let count = xa.len();
    if count == 0 || [ya, xb, yb].iter().any(|list| list.len() != count) {
        return None;
    }
    let point = |i: usize| KeyPoint {
        a: [xa[i], ya[i]],
        b: [xb[i], yb[i]],
    };
    Some((0..count).map(point).collect())
}

/// The file of a picture in a folder, whatever the case of its ending.
pub(super) fn picture_in(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    with_extension_in_any_case(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::correspondence::pairs::Truth;

    fn read(text: &str) -> anyhow::Result<Vec<KeyPoints>> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("pairs.csv");
        fs::write(&file, text).expect("written");
        for name in ["a.png", "b.png"] {
            let picture = image::RgbImage::new(4, 4);
            picture.save(dir.path().join(name)).expect("a picture");
        }
        let pairs = csv(&file)?;
        let points = pairs
            .iter()
            .map(|pair| match pair.open().expect("pictures").truth {
                Truth::Points(points) => points,
                _ => panic!("no key points"),
            });
        Ok(points.collect())
    }

    #[test]
    fn pf_pascal_and_pf_willow_are_read_as_they_are_published() {
        let found = read(&format!(
            "{PF_PASCAL}\na.png,b.png,3,1;2;3,4;5;6,10;20;30,7;8;9.5\n"
        ));
        let found = found.expect("PF-PASCAL");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].points.len(), 3);
        assert_eq!(found[0].points[2].a, [3.0, 6.0]);
        assert_eq!(found[0].points[2].b, [30.0, 9.5]);
        assert_eq!(found[0].object, Some(20.0));

        let names = ["XA", "YA", "XB", "YB"];
        let columns = names
            .iter()
            .flat_map(|name| (1..=10).map(move |i| format!("{name}{i}")));
        let header = format!("imageA,imageB,{}", columns.collect::<Vec<_>>().join(","));
        let values: Vec<String> = (0..40).map(|i| format!("{i}.5")).collect();
        let text = format!("{header}\na.png,b.png,{}\n", values.join(","));
        let found = read(&text).expect("PF-WILLOW");
        assert_eq!(found[0].points[9].a, [9.5, 19.5]);
        assert_eq!(found[0].points[9].b, [29.5, 39.5]);
        assert_eq!(found[0].object, Some(9.0));
    }

    #[test]
    fn a_wrong_row_is_named_by_its_line() {
        let message = |text: &str| format!("{:#}", read(text).expect_err("refused"));
        let lists = message(&format!(
            "{PF_PASCAL}\na.png,b.png,3,1;2;3,4;5,10;20;30,7;8;9\n"
        ));
        assert!(
            lists.contains("line 2") && lists.contains("XA,YA"),
            "{lists}"
        );
        let header = format!("imageA,imageB{}", ",x".repeat(40));
        let short = message(&format!("{header}\na.png,b.png,1,2\n"));
        assert!(
            short.contains("line 2") && short.contains("40 coordinates"),
            "{short}"
        );
        assert!(message("imageA,imageB\n").contains("PF-WILLOW"));
        assert!(message(&format!("{PF_PASCAL}\n")).contains("no key points"));
    }
}
