//! Graph-based segmentation (Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004).
//!
//! Pixels are the nodes of a graph; each is joined to its eight neighbours by edges whose weight is the distance of their
//! colours. In ascending order of weight, an edge joins two components where it weighs no more than the heaviest edge
//! inside either plus k/size: a larger k prefers larger components.

/// Three colour planes, row major, with values between 0 and 255.
#[derive(Debug, Clone)]
pub(super) struct Planes {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: [Vec<f32>; 3],
}

/// The component of each pixel, numbered from 0 in the order of their first pixels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segments {
    pub(super) of_pixel: Vec<u32>,
    pub(super) count: usize,
}

/// Components that are joined step by step, each with its size and the greatest weight that may join it.
struct Forest {
    parent: Vec<u32>,
    size: Vec<u32>,
    limit: Vec<f32>,
}

impl Forest {
    fn new(count: usize, k: f32) -> Self {
        Self {
            parent: (0..count as u32).collect(),
            size: vec![1; count],
            limit: vec![k; count],
        }
    }

    fn root(&mut self, mut node: u32) -> u32 {
        while self.parent[node as usize] != node {
            let above = self.parent[self.parent[node as usize] as usize];
            self.parent[node as usize] = above;
            node = above;
        }
        node
    }

    /// Joins two components, given by their roots, and returns the root of both.
    fn join(&mut self, a: u32, b: u32) -> u32 {
        let (large, small) = if self.size[a as usize] >= self.size[b as usize] {
            (a, b)
        } else {
            (b, a)
        };
        self.parent[small as usize] = large;
        self.size[large as usize] += self.size[small as usize];
        large
    }
}

/// Segments planes that are smooth already; components of fewer than `least` pixels are joined to a neighbour.
pub(super) fn segment(planes: &Planes, k: f32, least: u32) -> Segments {
    let edges = edges(planes);
    let mut forest = Forest::new(planes.width * planes.height, k);
    for edge in &edges {
        let [a, b] = edge.ends.map(|end| forest.root(end));
        let limit = forest.limit[a as usize].min(forest.limit[b as usize]);
        if a != b && edge.weight <= limit {
            let root = forest.join(a, b) as usize;
            forest.limit[root] = edge.weight + k / forest.size[root] as f32;
        }
    }
    for edge in &edges {
        let [a, b] = edge.ends.map(|end| forest.root(end));
        if a != b && forest.size[a as usize].min(forest.size[b as usize]) < least {
            forest.join(a, b);
        }
    }
    number(&mut forest)
}

struct Edge {
    weight: f32,
    ends: [u32; 2],
}

/// All edges, the lightest first; equal weights in the order of the pixels.
fn edges(planes: &Planes) -> Vec<Edge> {
    let (width, height) = (planes.width, planes.height);
    let distance = |a: usize, b: usize| {
        let squares = planes.channels.iter().map(|plane| {
            let difference = plane[a] - plane[b];
            difference * difference
        });
        squares.sum::<f32>().sqrt()
    };
    // The bits of floats that are not negative sort as the floats do; the place makes each key unique.
    let mut keys: Vec<u64> = Vec::with_capacity(4 * width * height);
    let places = [(1, 0), (0, 1), (1, 1), (-1, 1)];
    for y in 0..height {
        for x in 0..width {
            let from = y * width + x;
            for (number, (right, down)) in places.into_iter().enumerate() {
                let Some(column) = x.checked_add_signed(right).filter(|&x| x < width) else {
                    continue;
                };
                if y + down < height {
                    let weight = distance(from, (y + down) * width + column);
                    let place = 4 * from + number;
                    keys.push(u64::from(weight.to_bits()) << 32 | place as u64);
                }
            }
        }
    }
    keys.sort_unstable();
    let edge = |key: u64| {
        let place = (key & u64::from(u32::MAX)) as usize;
        let (from, (right, down)) = (place / 4, places[place % 4]);
        let to = (from + down * width).wrapping_add_signed(right);
        Edge {
            weight: f32::from_bits((key >> 32) as u32),
            ends: [from as u32, to as u32],
        }
    };
    keys.into_iter().map(edge).collect()
}

fn number(forest: &mut Forest) -> Segments {
    let pixels = forest.parent.len();
    let mut numbers = vec![u32::MAX; pixels];
    let mut count = 0;
    let mut of_pixel = Vec::with_capacity(pixels);
    for pixel in 0..pixels as u32 {
        let number = &mut numbers[forest.root(pixel) as usize];
        if *number == u32::MAX {
            *number = count;
            count += 1;
        }
        of_pixel.push(*number);
    }
    Segments {
        of_pixel,
        count: count as usize,
    }
}

/// The planes after a Gaussian blur with standard deviation `sigma` in pixels; the border is repeated.
pub(super) fn smooth(planes: &Planes, sigma: f32) -> Planes {
    let radius = (4.0 * sigma).ceil() as usize;
    let weight = |x: usize| (-0.5 * (x as f32 / sigma).powi(2)).exp();
    let mut kernel: Vec<f32> = (0..=radius).map(weight).collect();
    let sum = kernel[0] + 2.0 * kernel[1..].iter().sum::<f32>();
    kernel.iter_mut().for_each(|value| *value /= sum);
    let (width, height) = (planes.width, planes.height);
    let channels = planes.channels.each_ref().map(|plane| {
        let by_row = along(plane, &kernel, [height, width], [width, 1]);
        along(&by_row, &kernel, [width, height], [1, width])
    });
    Planes {
        width,
        height,
        channels,
    }
}

/// Convolves each of `lines` lines of `length` values with a symmetric kernel; `between` lines and values are these steps.
fn along(
    plane: &[f32],
    kernel: &[f32],
    [lines, length]: [usize; 2],
    [between, step]: [usize; 2],
) -> Vec<f32> {
    let mut out = vec![0.0; plane.len()];
    for line in 0..lines {
        let at = |place: usize| line * between + place * step;
        for place in 0..length {
            let mut sum = kernel[0] * plane[at(place)];
            for (offset, weight) in kernel.iter().enumerate().skip(1) {
                let before = plane[at(place.saturating_sub(offset))];
                let after = plane[at((place + offset).min(length - 1))];
                sum += weight * (before + after);
            }
            out[at(place)] = sum;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes(width: usize, height: usize, value: impl Fn(usize, usize) -> f32) -> Planes {
        let plane: Vec<f32> = (0..width * height)
            .map(|pixel| value(pixel % width, pixel / width))
            .collect();
        Planes {
            width,
            height,
            channels: [plane.clone(), plane.clone(), plane],
        }
    }

    #[test]
    fn areas_of_one_colour_are_components() {
        let picture = planes(30, 20, |x, y| if x >= 10 && y < 8 { 200.0 } else { 10.0 });
        let found = segment(&picture, 50.0, 5);
        assert_eq!(found.count, 2);
        for (pixel, component) in found.of_pixel.iter().enumerate() {
            let inside = pixel % 30 >= 10 && pixel / 30 < 8;
            assert_eq!(*component, u32::from(inside));
        }
    }

    #[test]
    fn a_smooth_slope_is_one_component_and_small_ones_are_joined() {
        // The columns are joined first, of 10 pixels each; the next edges weigh 4·√3 = 6.9, and the limit is k/10.
        let slope = planes(60, 10, |x, _| 4.0 * x as f32);
        assert_eq!(segment(&slope, 100.0, 1).count, 1);
        assert_eq!(segment(&slope, 50.0, 1).count, 60);
        let spot = planes(20, 20, |x, y| if (x, y) == (7, 7) { 255.0 } else { 0.0 });
        assert_eq!(segment(&spot, 1.0, 1).count, 2);
        assert_eq!(segment(&spot, 1.0, 2).count, 1);
    }

    #[test]
    fn smoothing_keeps_the_sum_and_spreads_a_point() {
        let point = planes(41, 41, |x, y| if (x, y) == (20, 20) { 100.0 } else { 0.0 });
        let smooth = smooth(&point, 0.8);
        let plane = &smooth.channels[0];
        let sum: f32 = plane.iter().sum();
        assert!((sum - 100.0).abs() < 1e-3, "{sum}");
        let variance: f32 = plane
            .iter()
            .enumerate()
            .map(|(pixel, value)| value / 100.0 * ((pixel % 41) as f32 - 20.0).powi(2))
            .sum();
        assert!((variance - 0.64).abs() < 0.02, "{variance}");
    }
}
