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
    let cases: [(&str, &str); 27] = [
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
