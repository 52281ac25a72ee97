//! Average precision of scenes that can be computed by hand.

use super::*;

fn found(x: f64, score: f64) -> Detection {
    Detection {
        rect: Rect::new(x, 0.0, x + 10.0, 10.0),
        class: 0,
        score,
    }
}

fn truth(x: f64) -> Truth {
    Truth::new(found(x, 0.0).rect, 0)
}

#[test]
fn all_found_is_1_nothing_found_is_0_and_no_object_is_none() {
    let perfect = Scene {
        truths: vec![truth(0.0), truth(20.0)],
        found: vec![found(20.0, 0.9), found(0.0, 0.8)],
    };
    let ap = average_precision(std::slice::from_ref(&perfect), 2);
    assert_eq!((ap.ap, ap.recall), (Some(1.0), Some(1.0)));
    assert_eq!(ap.per_class, [Some(1.0), None]);
    let blind = Scene {
        found: vec![],
        ..perfect
    };
    assert_eq!(average_precision(&[blind], 1).ap, Some(0.0));
    assert_eq!(average_precision(&[Scene::default()], 1).ap, None);
}

#[test]
fn a_second_detection_of_an_object_is_wrong_and_one_of_a_difficult_object_is_not() {
    // Computed by hand: the detections of rank 1 and 3 are correct, that of rank 2 is wrong. The precision
    // is 1 up to a recall of 0.5 (51 points) and 2/3 beyond (50 points).
    let scene = Scene {
        truths: vec![truth(0.0), truth(20.0)],
        found: vec![found(0.0, 0.9), found(0.0, 0.8), found(20.0, 0.7)],
    };
    let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
    let ap = average_precision(std::slice::from_ref(&scene), 1);
    assert!((ap.ap50.expect("objects") - expected).abs() < 1e-12);

    let mut difficult = scene;
    difficult.truths.push(Truth {
        difficult: true,
        ..truth(40.0)
    });
    difficult.found = vec![found(0.0, 0.9), found(40.0, 0.8), found(20.0, 0.7)];
    assert_eq!(
        average_precision(std::slice::from_ref(&difficult), 1).ap50,
        Some(1.0)
    );
    // A picture that is drawn twice counts twice, one that is not drawn does not count.
    let empty = Scene::default();
    let judged = Judged::new(&[difficult, empty], 1);
    let again = judged.precision(&[0, 0, 1]);
    assert_eq!(again[1], Some(1.0));
    assert_eq!(judged.precision(&[1]), [None; 3]);
}

#[test]
fn a_wrong_detection_as_large_as_a_bound_counts_for_the_sizes_on_both_sides() {
    let square = |x: f64, side: f64| Rect::new(x, 0.0, x + side, side);
    let wrong = Detection {
        rect: square(500.0, 32.0),
        ..found(0.0, 0.9)
    };
    let precision = |side: f64| {
        let rect = square(0.0, side);
        average_precision(
            &[Scene {
                truths: vec![Truth::new(rect, 0)],
                found: vec![
                    wrong,
                    Detection {
                        rect,
                        ..found(0.0, 0.8)
                    },
                ],
            }],
            1,
        )
    };
    // The wrong detection comes first, so that the precision is 1/2 at every recall.
    for ap in [precision(10.0).ap_small, precision(50.0).ap_medium] {
        assert!((ap.expect("an object") - 0.5).abs() < 1e-12, "{ap:?}");
    }
    assert_eq!(precision(100.0).ap_large, Some(1.0));
}
