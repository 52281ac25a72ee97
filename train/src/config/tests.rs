use super::*;
use crate::settings;

#[test]
fn the_objective_is_said_in_words() {
    let said = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        let config: RunConfig = settings::resolve(&[], &sets).expect("known keys");
        config.method.objective()
    };
    assert_eq!(said(&[]), "DenseCL");
    assert_eq!(said(&["method.name=byol"]), "BYOL");
    assert_eq!(said(&["method.name=univip"]), "UniVIP");
    assert_eq!(said(&["method.name=3sat"]), "3SAT");
    assert_eq!(
        said(&["method.lambda=0", "method.in_view_weight=1"]),
        "MoCo v2"
    );
    assert_eq!(
        said(&["method.matching=geometry", "method.in_view_weight=1"]),
        "DenseCL with true positives and in-view negatives"
    );
    assert_eq!(
        said(&["method.in_view_weight=1"]),
        "DenseCL with in-view negatives"
    );
}

#[test]
fn what_does_not_fit_together_is_named() {
    let cases: [(&str, &str); 38] = [
        ("method.bn_groups=3", "method.bn_groups = 3"),
        ("optim.accumulate=7", "optim.accumulate = 7"),
        ("views.size=100", "views.size = 100"),
        ("train.batch_size=0", "train.batch_size = 0"),
        ("method.lambda=1.5", "method.lambda = 1.5"),
        ("method.in_view_weight=-1", "method.in_view_weight = -1"),
        (
            "method.in_view_temperature=0",
            "method.in_view_temperature = 0",
        ),
        (
            "method.in_view_weight=1 views.size=32",
            "which here has 1 x 1",
        ),
        (
            "method.matching=centred method.bn_groups=1 train.batch_size=3 optim.accumulate=3",
            "train.batch_size of at least 6",
        ),
        (
            "method.name=byol method.in_view_weight=1",
            "has no effect with method.name = \"byol\"",
        ),
        (
            "method.projector_dim=8",
            "has no effect with method.name = \"densecl\"",
        ),
        (
            "method.name=byol method.projector_dim=0",
            "method.projector_dim = 0: must be 1 to 65,536 units",
        ),
        (
            "method.name=byol method.bn_groups=4 train.batch_size=4",
            "a group has 1 image",
        ),
        (
            "method.name=byol train.continue_from=x.pth",
            "train.init starts from their backbone",
        ),
        ("optim.trust=0", "optim.trust = 0: must be above 0"),
        (
            "method.name=univip method.transport_epsilon=0",
            "method.transport_epsilon = 0: must be between 0.001 and 1000",
        ),
        (
            "method.name=univip method.instances=0",
            "method.instances = 0: must be 1 to 64",
        ),
        (
            "method.name=univip method.instance_size=100",
            "method.instance_size = 100: must be a multiple of 32",
        ),
        (
            "method.name=univip method.transport_iterations=0",
            "method.transport_iterations = 0: must be 1 to 10,000",
        ),
        (
            "method.name=univip method.lambda=0.3",
            "has no effect with method.name = \"univip\"",
        ),
        (
            "method.name=byol method.instances=2",
            "method.instances = 2: has no effect",
        ),
        (
            "method.name=byol data.boxes=random",
            "data.boxes = \"random\": has no effect with BYOL",
        ),
        (
            "views.instances.min_side=7",
            "views.instances: has no effect with DenseCL",
        ),
        (
            "method.name=univip views.instances.tries=0",
            "views.instances.tries = 0: must be 1 to 10,000",
        ),
        (
            "method.name=univip data.source=photos data.boxes=objects",
            "only the embedded scenes know their objects",
        ),
        (
            "method.name=3sat method.attack_epsilon=0",
            "method.attack_epsilon = 0: must be above 0 and at most 1",
        ),
        (
            "method.name=3sat method.attack_epsilon=1.5",
            "method.attack_epsilon = 1.5: must be above 0 and at most 1",
        ),
        (
            "method.name=3sat method.attack_step=9/255",
            "must be above 0 and at most method.attack_epsilon",
        ),
        (
            "method.name=3sat method.attack_steps=0",
            "method.attack_steps = 0: must be 1 to 10,000",
        ),
        (
            "method.name=3sat method.adversarial_warmup=1",
            "method.adversarial_warmup = 1: must be at least 0 and below 1",
        ),
        (
            "method.name=byol method.attack_steps=2",
            "method.attack_steps = 2: has no effect",
        ),
        (
            "model.stem=cifar",
            "model.output_stride = 32: with model.stem = \"cifar\"",
        ),
        (
            "data.cut_objects=8",
            "data.cut_objects = 8: must be 0 (whole scenes), or 16 to scenes.size = 160",
        ),
        ("data.cut_objects=200", "data.cut_objects = 200: must be 0"),
        (
            "data.source=photos data.cut_objects=32",
            "only the embedded scenes know their objects",
        ),
        (
            "method.name=univip data.boxes=objects data.cut_objects=32",
            "these are boxes of whole scenes",
        ),
        ("views.curriculum.size=50", "views.curriculum.size = 50"),
        ("views.second.blur_p=2", "views.second.blur_p = 2"),
    ];
    for (sets, expected) in cases {
        let sets: Vec<String> = sets.split(' ').map(str::to_string).collect();
        let config: RunConfig = settings::resolve(&[], &sets).expect("known keys");
        let error = config.validate().expect_err("out of range").to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn ranks_share_a_batch_in_powers_of_two_or_are_told_what_fits() {
    let of = |sets: &str| -> RunConfig {
        let sets: Vec<String> = sets.split(' ').map(String::from).collect();
        settings::resolve(&[], &sets).expect("known keys")
    };
    let config = of("train.batch_size=48 method.bn_groups=2 optim.accumulate=12");
    for (ranks, fits) in [
        (1, true),
        (3, true),
        (6, true),
        (12, true),
        (2, false),
        (4, false),
    ] {
        assert_eq!(config.ensure_divides(ranks).is_ok(), fits, "{ranks} ranks");
    }
    assert_eq!(config.ranks_that_fit(), [1, 3, 6, 12]);
    let refused = |sets: &str, ranks: usize| {
        let refused = of(sets).ensure_divides(ranks).expect_err("refused");
        refused.to_string()
    };
    let batch = "train.batch_size=48 method.bn_groups=2 optim.accumulate";
    // 16 parts of 3 images would not divide into 2 groups, so the largest that fits is named.
    assert!(refused(&format!("{batch}=12"), 4).contains("set it to 8, or to 0"));
    assert!(refused(&format!("{batch}=1"), 4).contains("set it to 4, or to 0"));
    let never = refused(&format!("{batch}=1"), 5);
    assert!(
        never.contains("5 ranks") && never.contains("a multiple of 10"),
        "{never}"
    );
}
