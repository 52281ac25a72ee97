use std::path::Path;

use burn::tensor::Device;

use super::*;
use crate::backbone::NamedWeights;

fn settings() -> Settings {
    Settings {
        steps: 3,
        fine_tune: FineTuneConfig {
            epochs: 2,
            batch: 16,
            ..FineTuneConfig::default()
        },
        linear: LinearConfig {
            epochs: 20,
            batch: 16,
            ..LinearConfig::default()
        },
        ..Settings::default()
    }
}

fn backbone() -> Backbone {
    let device = Device::flex();
    let weights = NamedWeights::parse(&["random:resnet10".to_string()], &device);
    let weights = weights.expect("known");
    weights[0].load(None, 0, &device).expect("made")
}

#[test]
fn an_attack_lowers_the_accuracy_and_stays_in_its_range() {
    let task = Robust::open(Path::new("scenes:16"), Some(40), settings()).expect("scenes");
    let backbone = backbone();
    let before: Vec<_> = backbone.encoder.named();
    let measured = task.measure(&backbone, &[0]).expect("measured");
    let figures = &measured[0].figures;
    let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "linear, clean",
            "linear, PGD-3 at 2/255",
            "linear, PGD-3 at 8/255",
            "fine-tuned, clean",
            "fine-tuned, PGD-3 at 2/255",
            "fine-tuned, PGD-3 at 8/255",
            "always the commonest class",
        ]
    );
    let values: Vec<f64> = figures.iter().map(|figure| figure.value).collect();
    for of_classifier in [&values[..3], &values[3..6]] {
        assert!(of_classifier[1] <= of_classifier[0] && of_classifier[2] <= of_classifier[0]);
    }
    // The linear classifier of an untrained network may be wrong everywhere before the attack.
    assert!(values[5] < values[3], "{values:?}");
    assert!(measured[0].picture.is_some());
    let of_class = &measured[0].details["linear"][0];
    assert!(of_class["robust"]["8/255"].is_u64() && of_class["class"] == "sphere");

    // The same again, and the backbone as it was: fine-tuning trains a copy.
    let again = task.measure(&backbone, &[0]).expect("measured");
    assert_eq!(again[0].figures, *figures);
    let bits = |tensors: Vec<densecl::model::NamedTensor>| -> Vec<Vec<f32>> {
        let tensors = tensors.into_iter();
        tensors
            .map(|tensor| tensor.values.try_into_vec_as().expect("on the CPU"))
            .collect()
    };
    assert!(bits(backbone.encoder.named()) == bits(before));

    // Every perturbation, not only its effect.
    let val = task.pictures(&task.set.val).expect("in memory");
    let train = task.pictures(&task.set.train).expect("in memory");
    let linear = classifier::linear(&backbone, &train, 13, &settings().linear, 0);
    let linear = linear.expect("trained");
    let judged = judge(&backbone, &linear, &val, &task.attacks, Kind::Linear, 0);
    let judged = judged.expect("judged");
    for (attack, attacked) in task.attacks.iter().zip(&judged.attacked) {
        let mut moved = 0;
        for (i, delta) in attacked.deltas.iter().enumerate() {
            assert_eq!(delta.is_some(), judged.right[i]);
            let delta = delta.as_deref().unwrap_or_default();
            assert!(delta.iter().all(|d| d.abs() <= attack.epsilon as f32));
            moved += usize::from(delta.iter().any(|d| d.abs() > 0.5 * attack.epsilon as f32));
        }
        assert_eq!(moved, judged.right.iter().filter(|right| **right).count());
    }
}

#[test]
fn what_is_out_of_range_names_its_option() {
    let message = |settings: Settings| {
        let opened = Robust::open(Path::new("scenes:8"), None, settings);
        format!("{:#}", opened.err().expect("refused"))
    };
    for (settings, expected) in [
        (
            Settings {
                epsilons: vec![0.0],
                ..settings()
            },
            "--epsilon = 0: must be above 0",
        ),
        (
            Settings {
                epsilons: vec![0.01, 2.0],
                ..settings()
            },
            "--epsilon = 2: ",
        ),
        (
            Settings {
                step: Some(0.5),
                ..settings()
            },
            "--attack-step = 0.5: must be above 0 and at most --epsilon",
        ),
        (
            Settings {
                steps: 0,
                ..settings()
            },
            "--attack-steps = 0: must be 1 to 10,000",
        ),
        (
            Settings {
                size: 40,
                ..settings()
            },
            "--size 40: must be a multiple of 32",
        ),
        (
            Settings {
                fine_tune: FineTuneConfig {
                    lr: -1.0,
                    ..FineTuneConfig::default()
                },
                ..settings()
            },
            "--fine-tune-lr -1: must be above 0",
        ),
    ] {
        let message = message(settings);
        assert!(
            message.starts_with(expected) && !message.contains('\n'),
            "{message}"
        );
    }
}
