//! What a classifier says of pictures as they are and after attacks on it.

use anyhow::Context;
use burn::tensor::Tensor;
use densecl::attack::{perturb, random_start};
use densecl::augment::normalize;
use densecl::config::Attack;
use densecl::model::Tensors;
use densecl::rng::{Purpose, stream};
use densecl::transfer::linear::cross_entropy;

use super::{Classifier, Kind, Pictures, describe};
use crate::backbone::Backbone;

/// Pixels of a batch: 256 pictures of 32 px.
const BATCH_PIXELS: usize = 1 << 18;

/// The verdicts on all pictures.
pub(super) struct Judged {
    /// The class that is found, as it is.
    pub(super) predicted: Vec<usize>,
    /// Whether that is right.
    pub(super) right: Vec<bool>,
    /// After each attack.
    pub(super) attacked: Vec<Attacked>,
}

/// The verdicts after an attack. Pictures that are classified wrongly as they are, are not attacked: no perturbation at
/// all is the weakest attack.
pub(super) struct Attacked {
    /// The class that is found.
    pub(super) predicted: Vec<usize>,
    /// Whether that is right.
    pub(super) right: Vec<bool>,
    /// δ [3, S, S] of each picture that was attacked, row major.
    pub(super) deltas: Vec<Option<Vec<f32>>>,
}

/// Judges a classifier by `pictures`, as they are and after each of `attacks`.
///
/// # Errors
/// When the device fails.
pub(super) fn judge(
    backbone: &Backbone,
    classifier: &Classifier,
    pictures: &Pictures,
    attacks: &[Attack],
    kind: Kind,
    seed: u64,
) -> anyhow::Result<Judged> {
    let side = pictures.images[0].width() as usize;
    let at_once = (BATCH_PIXELS / (side * side)).max(1);
    let all: Vec<usize> = (0..pictures.images.len()).collect();
    let mut predicted = Vec::with_capacity(all.len());
    for batch in all.chunks(at_once) {
        let images = normalize(pictures.pixels(batch, backbone));
        predicted.extend(classes_of(classifier.classify(images))?);
    }
    let is_right = |found: &[usize]| -> Vec<bool> {
        let pairs = found.iter().zip(&pictures.classes);
        pairs.map(|(found, class)| found == class).collect()
    };
    let right = is_right(&predicted);
    let hit: Vec<usize> = all.into_iter().filter(|&i| right[i]).collect();
    let mut attacked = Vec::with_capacity(attacks.len());
    let constant = classifier.clone().constant();
    for (number, attack) in attacks.iter().enumerate() {
        let label = format!("{} {}", kind.name(), describe(attack));
        let gauge = backbone.watch.begin(&label, hit.len() as u64);
        let mut found = predicted.clone();
        let mut deltas = vec![None; found.len()];
        for (index, batch) in hit.chunks(at_once).enumerate() {
            let pixels = pictures.pixels(batch, backbone);
            let classes: Vec<usize> = batch.iter().map(|&i| pictures.classes[i]).collect();
            let draw = ((number as u64) << 32) + index as u64;
            let mut rng = stream(seed, Purpose::Attack, draw);
            let start = random_start(attack, pixels.dims(), &mut rng, &backbone.device);
            let delta = perturb(attack, &pixels, start, |pixels| {
                cross_entropy(constant.classify(normalize(pixels)), &classes)
            })
            .delta;
            let logits = classifier.classify(normalize(pixels + delta.clone()));
            let values = delta.try_into_vec_as::<f32>();
            let values = values.context("reading a perturbation back from the device")?;
            let of_each = values.chunks_exact(3 * side * side);
            for ((&i, class), delta) in batch.iter().zip(classes_of(logits)?).zip(of_each) {
                found[i] = class;
                deltas[i] = Some(delta.to_vec());
            }
            gauge.advance(batch.len() as u64);
        }
        attacked.push(Attacked {
            right: is_right(&found),
            predicted: found,
            deltas,
        });
    }
    Ok(Judged {
        predicted,
        right,
        attacked,
    })
}

/// The class with the largest logit of each row of [N, classes]; of equal ones the first.
fn classes_of(logits: Tensor<2>) -> anyhow::Result<Vec<usize>> {
    let [_, classes] = logits.dims();
    let values = logits.try_into_vec_as::<f32>();
    let values = values.context("reading logits back from the device")?;
    let largest = |row: &[f32]| {
        (1..classes).fold(
            0,
            |best, class| if row[class] > row[best] { class } else { best },
        )
    };
    Ok(values.chunks_exact(classes).map(largest).collect())
}
