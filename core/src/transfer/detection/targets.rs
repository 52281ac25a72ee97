//! Assigns objects to cells as the targets of training.

use crate::boxes::Rect;

/// Centre sampling: a cell can have an object as its target only if the object's centre is less than this
/// many strides away along both axes.
const CENTER_RADIUS: f64 = 1.5;

/// The target of a foreground cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CellTarget {
    /// The index of the object.
    pub object: usize,
    /// The index of the class.
    pub class: usize,
    /// Distances from the cell's point to the left, upper, right and lower side of the box, in strides, > 0.
    pub sides: [f32; 4],
    /// √(min(l, r)/max(l, r) · min(t, b)/max(t, b)) for the distances l, t, r, b to the four sides; in (0, 1],
    /// 1 at the centre of the box.
    pub centerness: f32,
}

/// The target of each cell of a grid of (rows, columns), row major; `None` is background.
///
/// `objects` are boxes in pixels with their classes. The target of a cell is the object whose box contains
/// the cell's point near its centre; of several objects, the one with the smallest area. An object smaller
/// than a stride may contain no cell's point, and then is the target of no cell.
pub fn assign(
    objects: &[(Rect, usize)],
    [rows, columns]: [usize; 2],
    stride: f64,
) -> Vec<Option<CellTarget>> {
    let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let target = |(row, column): (usize, usize)| {
        let (x, y) = ((column as f64 + 0.5) * stride, (row as f64 + 0.5) * stride);
        let own = objects.iter().enumerate().filter(|(_, (rect, _))| {
            let [cx, cy] = rect.center();
            let near = (x - cx).abs().max((y - cy).abs()) < CENTER_RADIUS * stride;
            near && x > rect.x0 && y > rect.y0 && x < rect.x1 && y < rect.y1
        });
        let smallest = own.min_by(|(_, (a, _)), (_, (b, _))| a.area().total_cmp(&b.area()));
        smallest.map(|(object, (rect, class))| {
            let sides = [x - rect.x0, y - rect.y0, rect.x1 - x, rect.y1 - y].map(|d| d / stride);
            let share = |a: f64, b: f64| a.min(b) / a.max(b);
            let [left, top, right, bottom] = sides;
            CellTarget {
                object,
                class: *class,
                sides: sides.map(|d| d as f32),
                centerness: (share(left, right) * share(top, bottom)).sqrt() as f32,
            }
        })
    };
    cells.map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_near_the_centre_answer_and_the_smaller_object_wins() {
        // 4×4 cells of 8 px: points at 4, 12, 20, 28.
        let large = (Rect::new(0.0, 0.0, 32.0, 32.0), 0);
        let small = (Rect::new(9.0, 9.0, 15.0, 15.0), 1);
        let targets = assign(&[large, small], [4, 4], 8.0);
        let classes: Vec<Option<usize>> = targets.iter().map(|t| t.map(|t| t.class)).collect();
        let (n, l, s) = (None, Some(0), Some(1));
        // The corners of the large box are more than 1.5 strides from its centre.
        #[rustfmt::skip]
        assert_eq!(classes, [
            n, n, n, n,
            n, s, l, n,
            n, l, l, n,
            n, n, n, n,
        ]);
        let target = targets[6].expect("foreground");
        assert_eq!(target.sides, [2.5, 1.5, 1.5, 2.5]);
        assert!((target.centerness - 0.6).abs() < 1e-6);
        assert_eq!(targets[5].map(|t| t.centerness), Some(1.0));
    }
}
