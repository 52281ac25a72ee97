use densecl_kernels::pool::{Shape, forward, gradient};

use crate::values;

#[test]
fn the_largest_of_each_window_gives_its_value_and_takes_its_gradient() {
    for input in [[5, 8], [6, 6], [1, 3]] {
        let shape = Shape {
            batch: 2,
            input,
            channels: 3,
        };
        let [height, width] = input;
        let [rows, columns] = shape.output();
        let x = values(2 * height * width * 3, 1);
        let g = values(2 * rows * columns * 3, 2);
        let mut expected = vec![0.0; g.len()];
        let mut back = vec![0.0; x.len()];
        for at in 0..g.len() {
            let (channel, cell) = (at % 3, at / 3);
            let (sample, y, x0) = (
                cell / (rows * columns),
                cell / columns % rows,
                cell % columns,
            );
            let inside =
                |at: usize, side: usize| (2 * at).saturating_sub(1)..(2 * at + 2).min(side);
            let best = inside(y, height)
                .flat_map(|y| inside(x0, width).map(move |x| (y, x)))
                .map(|(y, x)| ((sample * height + y) * width + x) * 3 + channel)
                .max_by(|&a, &b| x[a].total_cmp(&x[b]))
                .expect("a window has a pixel");
            expected[at] = x[best];
            back[best] += g[at];
        }
        let (found, taps) = forward(&x, &shape);
        assert_eq!(found, expected);
        assert_eq!(gradient(&g, &taps, &shape), back);
    }
}
