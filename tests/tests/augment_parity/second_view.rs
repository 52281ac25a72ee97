//! The views of an image need not be made alike.

use densecl::augment::{SecondView, Stage, ViewConfig, draw_two, draw_views};

/// The second view of BYOL is blurred and solarised by other probabilities; a solarisation that never happens
/// draws nothing, so the views of older settings stay as they were.
#[test]
fn the_second_view_has_settings_of_its_own() {
    let plain = ViewConfig::default();
    let asymmetric = ViewConfig {
        blur_p: 1.0,
        second: SecondView {
            blur_p: Some(0.0),
            solarize_p: Some(1.0),
        },
        ..plain.clone()
    };
    for index in 0..50 {
        let [first, second] = draw_two(64, 48, &asymmetric, 2, index);
        assert!(first.blur_sigma.is_some() && !first.solarize);
        assert!(second.blur_sigma.is_none() && second.solarize);
        let whole = Stage::whole(plain.size);
        let three = draw_views([64, 48], &asymmetric, whole, 2, index, 3);
        assert_eq!(three[..2], [first, second]);
        assert!(three[2].blur_sigma.is_some() && !three[2].solarize);

        let unlikely = ViewConfig {
            second: SecondView {
                solarize_p: Some(0.0),
                ..SecondView::default()
            },
            ..plain.clone()
        };
        let views = |config| draw_two(64, 48, config, 2, index);
        assert_eq!(views(&unlikely), views(&plain));
    }
}
