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
    let cases: [(&str, &str); 17] = [
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
