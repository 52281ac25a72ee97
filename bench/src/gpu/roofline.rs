//! What a training step needs by its arithmetic, and how long a card takes at least by its data sheet.
//!
//! Bytes are counted as they move between a GPU's memory and its cores if every operation reads each of its operands once
//! and writes its result once: what a cache keeps between two kernels is not deducted, and what a kernel reads twice is
//! counted once. So the figure of this project's kernels can be compared with the least that the dependencies of a step
//! allow.

use densecl::network::{Map, ModelConfig, Network};
use serde::Serialize;

/// A card by its data sheet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Card {
    /// Its name.
    pub(crate) name: &'static str,
    /// Multiplications and additions in f32 per second, without matrix units.
    pub(crate) f32: f64,
    /// Bytes per second of its memory.
    pub(crate) bandwidth: f64,
}

/// One large card of each vendor, by the data sheets: boost clock, peak f32 without matrix units, memory bandwidth.
pub(crate) const CARDS: [Card; 3] = [
    Card {
        name: "NVIDIA GeForce RTX 4090",
        f32: 82.6e12,
        bandwidth: 1008e9,
    },
    Card {
        name: "AMD Radeon RX 7900 XTX",
        f32: 61.4e12,
        bandwidth: 960e9,
    },
    Card {
        name: "Intel Arc A770 16 GB",
        f32: 19.7e12,
        bandwidth: 560e9,
    },
];

/// What a step of DenseCL needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Needs {
    /// Multiplications and additions.
    pub(crate) operations: f64,
    /// Bytes that the dependencies of the step force through memory.
    pub(crate) least_bytes: f64,
    /// Bytes that this project's kernels read and write.
    pub(crate) our_bytes: f64,
    /// Bytes that Burn's operations read and write.
    pub(crate) burn_bytes: f64,
    /// Bytes that products with written patches would read and write.
    pub(crate) patch_bytes: f64,
}

impl Needs {
    /// The shortest time of a step on a card in seconds: no shorter than its arithmetic, nor than its traffic.
    pub(crate) fn least_seconds(&self, card: &Card) -> f64 {
        (self.operations / card.f32).max(self.least_bytes / card.bandwidth)
    }

    /// The needs of a step of `batch` pictures of `size` pixels, with maps of `bytes` per value. Both encoders run
    /// forward, one backward; dense and global InfoNCE against `queue` keys.
    pub(crate) fn of(
        model: &ModelConfig,
        size: usize,
        batch: usize,
        queue: usize,
        bytes: f64,
    ) -> Self {
        let network = Network::new(model);
        let ends: Vec<_> = network
            .blocks()
            .filter_map(|block| block.convolutions.last())
            .collect();
        let [mut operations, mut least, mut ours, mut burns, mut patches] = [0.0; 5];
        for (index, map) in network.maps([size; 2]).iter().enumerate() {
            let place = Place {
                is_stem: index == 0,
                ends_block: ends.contains(&map.convolution),
            };
            let cost = Cost::of(map, batch as f64, bytes, place);
            operations += cost.operations;
            least += cost.least;
            ours += cost.ours;
            burns += cost.burns;
            patches += cost.patches;
        }
        let [_, _, _, [side, _]] = network.stage_sides([size; 2]);
        let queries = (batch * side * side + batch) as f64;
        // Similarities of all queries with all keys, and the weighted sum of keys for the gradient; the kernel keeps both
        // on the chip.
        operations += 2.0 * 2.0 * queries * queue as f64 * model.dim as f64;
        let vectors = 4.0 * model.dim as f64 * (2.0 * queries + 2.0 * queue as f64);
        Self {
            operations,
            least_bytes: least + vectors,
            our_bytes: ours + vectors,
            burn_bytes: burns + vectors,
            patch_bytes: patches + vectors,
        }
    }
}

/// Where a convolution stands in the network.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Whether it is the first, so that the gradient of its input is not needed.
    is_stem: bool,
    /// Whether the sum with the shortcut follows its normalisation.
    ends_block: bool,
}

/// The cost of a convolution with its normalisation and what follows, in both encoders.
struct Cost {
    operations: f64,
    least: f64,
    ours: f64,
    burns: f64,
    patches: f64,
}

impl Cost {
    fn of(map: &Map, batch: f64, bytes: f64, place: Place) -> Self {
        let convolution = map.convolution;
        let [rows, columns] = map.sides;
        let pixels = batch * rows as f64 * columns as f64;
        let stride = (convolution.stride * convolution.stride) as f64;
        let (input, output) = (convolution.input as f64, convolution.output as f64);
        let taps = (convolution.size * convolution.size) as f64;
        // Values of the convolution's output and input, and those of the input that it reads.
        let (y, x) = (pixels * output, pixels * stride * input);
        let read = if convolution.size == 1 {
            pixels * input
        } else {
            x
        };
        // The products of a pass: two operations per multiplication.
        let product = 2.0 * pixels * taps * input * output;
        let products = if place.is_stem { 2.0 } else { 3.0 };
        // The gradients of the convolution: both read that of y, and one reads x, the other writes that of x.
        let of_x = if place.is_stem { 0.0 } else { y + x };
        let gradients = y + read + of_x;
        // Maps that are read or written in a forward and a backward pass of what follows the convolution's own output.
        let passes = Passes::of(place.ends_block, map.relu);
        // Patches are written and read for each product.
        let written = if convolution.size > 1 {
            2.0 * pixels * taps * input
        } else {
            0.0
        };
        let through = |[forward, backward]: [f64; 2]| {
            bytes * (2.0 * (read + y + forward * y) + backward * y + gradients)
        };
        let patches = (1.0 + products) * written;
        Self {
            operations: product * (1.0 + products),
            least: through(passes.least),
            ours: through(passes.ours),
            burns: through(passes.burns),
            patches: through(passes.ours) + bytes * patches,
        }
    }
}

/// How often maps of the size of a convolution's output are read or written, forward and backward, by its normalisation,
/// the sum with the shortcut, and ReLU.
struct Passes {
    least: [f64; 2],
    ours: [f64; 2],
    burns: [f64; 2],
}

impl Passes {
    fn of(ends_block: bool, relu: bool) -> Self {
        // Forward the normalisation reads the map for the statistics, which could be found while the map is written, and
        // reads it again to write its output. Backward it reads the gradient and the map for its sums, which could be found
        // while the gradient is written, and both again to write the gradient of the map.
        let mut passes = Self {
            least: [2.0, 3.0],
            ours: [3.0, 5.0],
            // Counted in `batch_norm_train` and `batch_norm_train_backward` of burn-backend 0.22.1.
            burns: [18.0, 24.0],
        };
        let mut add = |[least, ours, burns]: [[f64; 2]; 3]| {
            for way in 0..2 {
                passes.least[way] += least[way];
                passes.ours[way] += ours[way];
                passes.burns[way] += burns[way];
            }
        };
        if relu {
            // Ours is part of the normalisation; Burn's is an operation of its own.
            add([[0.0, 0.0], [0.0, 0.0], [2.0, 3.0]]);
        }
        if ends_block {
            // The shortcut is read. Backward the output is read for ReLU's mask, the rectified gradient is written for the
            // shortcut, and the gradients of both ways are added: while one of them is written, or by an operation of its
            // own.
            add([[1.0, 3.0], [1.0, 5.0], [3.0, 3.0]]);
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use densecl::config::Backbone;

    #[test]
    fn a_resnet_50_needs_what_is_known_of_it() {
        let model = ModelConfig {
            backbone: Backbone::ResNet50,
            ..ModelConfig::default()
        };
        let needs = Needs::of(&model, 224, 1, 0, 4.0);
        // 4.09 · 10⁹ multiplications forward, without the classifier. Forward twice, and backward two more times for all
        // but the stem.
        let forward = 2.0 * 4.087e9;
        assert!(
            (needs.operations / (4.0 * forward) - 1.0).abs() < 0.02,
            "{needs:?}"
        );
        assert!(needs.our_bytes <= 1.5 * needs.least_bytes, "{needs:?}");
        assert!(needs.patch_bytes > 1.4 * needs.our_bytes, "{needs:?}");
        assert!(needs.burn_bytes > 2.0 * needs.our_bytes, "{needs:?}");
        let slower = Needs::of(&model, 224, 256, 65_536, 4.0);
        for card in CARDS {
            assert!(slower.least_seconds(&card) > 200.0 * needs.least_seconds(&card));
        }
    }
}
