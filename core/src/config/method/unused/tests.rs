use super::*;

#[test]
fn a_setting_of_the_other_method_is_refused_by_name() {
    let byol = MethodConfig {
        name: MethodName::Byol,
        ..MethodConfig::default()
    };
    assert_eq!(byol.validate(), Ok(()));
    let refused = |config: MethodConfig| config.validate().expect_err("no effect").to_string();
    let in_view = refused(MethodConfig {
        in_view_weight: 4.0,
        ..byol
    });
    let expected = "method.in_view_weight = 4.0: has no effect with method.name = \"byol\": leave it out, or set \
                    it to its default 0.0";
    assert_eq!(in_view, expected);
    let instances = refused(MethodConfig {
        name: MethodName::Byol,
        instances: 2,
        ..MethodConfig::default()
    });
    assert!(instances.starts_with("method.instances = 2: has no effect"));
    let univip = MethodConfig {
        name: MethodName::UniVip,
        instances: 2,
        projector_dim: 8,
        ..MethodConfig::default()
    };
    assert_eq!(univip.validate(), Ok(()));
    let three_sat = MethodConfig {
        name: MethodName::ThreeSat,
        attack_steps: 2,
        projector_dim: 8,
        ..MethodConfig::default()
    };
    assert_eq!(three_sat.validate(), Ok(()));
    let attack = refused(MethodConfig {
        name: MethodName::Byol,
        ..three_sat
    });
    assert!(attack.starts_with("method.attack_steps = 2: has no effect"));
    let hidden = refused(MethodConfig {
        projector_hidden: 512,
        ..MethodConfig::default()
    });
    assert!(hidden.starts_with("method.projector_hidden = 512: has no effect"));
}

#[test]
fn every_setting_that_is_listed_exists() {
    let all = to_value(MethodConfig::default()).expect("JSON");
    let lists = OF_DENSECL.iter().chain(&OF_BYOL).chain(&OF_UNIVIP);
    for key in lists.chain(&OF_THREE_SAT) {
        assert!(all.get(key).is_some(), "there is no method.{key}");
    }
}
