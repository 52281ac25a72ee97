use super::*;
use crate::settings;

/// The verdict on a network whose activations take more memory than its parameters, given `host` bytes of
/// memory and the largest permitted tensor.
fn of(host: u64, largest_tensor: Option<u64>, sets: &[&str]) -> anyhow::Result<String> {
    let mut all = vec![
        "model.backbone=resnet18",
        "model.width=16",
        "views.size=224",
        "train.batch_size=64",
        "method.bn_groups=4",
        "data.prefetch=1",
        "optim.accumulate=1",
    ];
    all.extend(sets);
    let sets: Vec<String> = all.into_iter().map(String::from).collect();
    let config: RunConfig = settings::resolve(&[], &sets).expect("settings");
    config.validate().expect("valid settings");
    let place = Place {
        device: &Device::flex(),
        name: "it",
        is_the_hosts: true,
        seat: Seat::ALONE,
        had: Had {
            host: Some(host),
            device: None,
            largest_tensor,
        },
    };
    verdict(&config, 1000, &place)
}

/// The bytes that a step needs, read from the note of [`of`].
fn needed() -> u64 {
    let note = of(64 << 30, None, &[]).expect("enough");
    let mut words = note.split_whitespace().skip(4);
    let number = words.next().and_then(|n| n.parse::<f64>().ok());
    assert_eq!(words.next(), Some("MB"), "{note}");
    (number.expect("a number") * 1e6) as u64
}

#[test]
fn enough_is_noted_too_little_is_refused_and_what_lies_between_is_warned_of() {
    let note = of(64 << 30, None, &[]).expect("enough");
    assert!(note.starts_with("a step needs about"), "{note}");
    assert!(!note.contains("fit"), "{note}");

    let too_little = 100_000_000;
    let refused = of(too_little, None, &[]).expect_err("refused").to_string();
    for part in [
        "a step needs about",
        "100.00 MB are available",
        "train.exceeds_memory = true",
    ] {
        assert!(refused.contains(part), "`{part}` is not in: {refused}");
    }
    let insisted = of(too_little, None, &["train.exceeds_memory=true"]);
    assert!(insisted.expect("insisted").contains("it may not fit"));

    // With exactly the estimated memory the run starts, but with a warning, because the estimate may be 25
    // % off.
    let warned = of(needed(), None, &[]).expect("may be enough");
    assert!(warned.contains("it may not fit"), "{warned}");
}

/// The number that `text` suggests for `key`.
fn suggested(text: &str, key: &str) -> usize {
    let rest = text.split(&format!("--set {key}=")).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no {key} in: {text}"));
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    let number = digits.and_then(|digits| digits.parse().ok());
    number.expect("a number")
}

#[test]
fn what_is_suggested_fits_and_what_is_next_to_it_does_not() {
    let had = needed() / 7 * 5;
    let refused = of(had, None, &[]).expect_err("too little").to_string();
    let fits = |set: String| {
        let note = of(had, None, &[&set]);
        note.is_ok_and(|note| !note.contains("it may not fit"))
    };
    let parts = suggested(&refused, "optim.accumulate");
    assert!(parts > 1 && 64 % parts == 0, "{refused}");
    assert!(fits(format!("optim.accumulate={parts}")));
    assert!(!fits(format!("optim.accumulate={}", parts / 2)));
    let batch = suggested(&refused, "train.batch_size");
    assert!(fits(format!("train.batch_size={batch}")));
    assert!(!fits(format!("train.batch_size={}", batch + 4)));
    let size = suggested(&refused, "views.size");
    assert!(fits(format!("views.size={size}")));
    assert!(!fits(format!("views.size={}", size + 32)));

    let hopeless = of(1 << 20, None, &[]).expect_err("nothing").to_string();
    assert!(hopeless.contains("smaller model.backbone"), "{hopeless}");
}

#[test]
fn a_tensor_larger_than_the_device_takes_is_refused_beforehand() {
    // 64 maps of 16 channels at 112 x 112: 51.4 MB.
    let refused = of(64 << 30, Some(26_000_000), &[]);
    let refused = refused.expect_err("too large").to_string();
    let limit = "it takes at most 26.00 MB in one";
    assert!(refused.contains(limit), "{refused}");
    assert_eq!(suggested(&refused, "optim.accumulate"), 2);
    assert_eq!(suggested(&refused, "train.batch_size"), 32);
}

#[test]
fn as_many_parts_are_chosen_as_ranks_and_memory_need() {
    let sets = ["train.batch_size=64", "method.bn_groups=4"].map(String::from);
    let config: RunConfig = settings::resolve(&[], &sets).expect("settings");
    let device = Device::flex();
    let chosen = |ranks: usize, host: u64| {
        let place = Place {
            device: &device,
            name: "it",
            is_the_hosts: true,
            seat: Seat {
                rank: 0,
                ranks,
                neighbours: ranks,
            },
            had: Had {
                host: Some(host),
                device: None,
                largest_tensor: None,
            },
        };
        parts(&config, 1000, &place)
    };
    let plenty = 1 << 50;
    assert_eq!(
        [1, 2, 4, 16].map(|ranks| chosen(ranks, plenty)),
        [1, 2, 4, 16]
    );
    // Where memory is short, more parts, but still a power of two for each rank.
    let needed = |accumulate: usize| {
        let mut config = config.clone();
        config.optim.accumulate = accumulate;
        let place = Place {
            device: &device,
            name: "it",
            is_the_hosts: true,
            seat: Seat::ALONE,
            had: Had {
                host: None,
                device: None,
                largest_tensor: None,
            },
        };
        let queue = config.method.queue_len(1000, 64).expect("a queue");
        Needed::estimate(&config, queue, &place).host
    };
    assert!(needed(4) < needed(2) && needed(2) < needed(1));
    let just = |accumulate| (needed(accumulate) as f64 / ESTIMATE_ERROR) as u64 + 1;
    assert_eq!(chosen(1, just(2)), 2);
    assert_eq!(chosen(1, just(4)), 4);
    // Nothing fits: the step is refused with the number of ranks.
    assert_eq!(chosen(2, 1 << 20), 2);
}
