//! Feature maps of many pictures: decoded on all cores, computed in batches of pictures of one size.

use burn::tensor::Tensor;
use densecl::features::Feature;
use image::RgbImage;
use rayon::prelude::*;

use crate::backbone::Backbone;

/// Pictures decoded at once; also the largest batch.
const CHUNK: usize = 16;
/// Largest number of pixels in a batch, so that large pictures take no more memory than small ones.
const BATCH_PIXELS: u32 = 1 << 20;

/// Calls `each` for the indices 0 to `count` − 1 in order, with the result of `open` and the feature map [1, C, h,
/// w] of its picture, not normalised.
///
/// `open` runs on several threads and returns the network's input and any further data of the picture. Only some
/// pictures are in memory at a time, whatever `count` is.
///
/// # Errors
/// The first error of `open` or `each`.
pub fn stream<T: Send>(
    backbone: &Backbone,
    feature: Feature,
    count: usize,
    label: &str,
    open: impl Fn(usize) -> anyhow::Result<(RgbImage, T)> + Sync,
    mut each: impl FnMut(usize, T, Tensor<4>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let gauge = backbone.watch.begin(label, count as u64);
    let mut next = 0;
    while next < count {
        let chunk = next..(next + CHUNK).min(count);
        let opened: Vec<(RgbImage, T)> = chunk
            .into_par_iter()
            .map(&open)
            .collect::<anyhow::Result<_>>()?;
        let (pictures, rest): (Vec<RgbImage>, Vec<T>) = opened.into_iter().unzip();
        let mut rest = rest.into_iter();
        for batch in pictures.chunk_by(|a, b| a.dimensions() == b.dimensions()) {
            let (width, height) = batch[0].dimensions();
            let at_once = (BATCH_PIXELS / (width * height)).max(1) as usize;
            for batch in batch.chunks(at_once) {
                let maps = backbone.features(batch, feature);
                for (map, rest) in maps.split(1, 0).into_iter().zip(&mut rest) {
                    each(next, rest, map)?;
                    next += 1;
                    gauge.advance(1);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use image::Rgb;

    use super::*;
    use crate::backbone::NamedWeights;

    #[test]
    fn maps_come_in_order_whatever_the_sizes_and_do_not_depend_on_the_batch() {
        let device = Device::flex();
        let weights =
            NamedWeights::parse(&["random:resnet10".to_string()], &device).expect("known");
        let backbone = weights[0].load(None, 0, &device).expect("made");
        let open = |i: usize| {
            let side = if i < 4 { 32 } else { 64 };
            Ok((RgbImage::from_pixel(side, 32, Rgb([i as u8 * 9; 3])), i))
        };
        let mut seen = 0;
        stream(
            &backbone,
            Feature::Stage3,
            20,
            "",
            open,
            |i, opened, map| {
                assert_eq!((i, opened), (seen, seen));
                seen += 1;
                let alone = backbone.features(&[open(i)?.0], Feature::Stage3);
                let far = (map - alone).abs().max().into_scalar::<f32>();
                assert!(far < 1e-4, "{far}");
                Ok(())
            },
        )
        .expect("nothing fails");
        assert_eq!(seen, 20);
    }
}
