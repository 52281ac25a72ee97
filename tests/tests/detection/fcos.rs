//! Compares the head, targets, losses and gradients of FCOS with torchvision's.

use densecl::boxes::Rect;
use densecl::model::Init;
use densecl::transfer::detection::{FcosHead, assign, fcos_loss};
use densecl_tests::golden::{TOLERANCE, assert_close};
use densecl_tests::network::{Gradient, cpu, fill, gradients, input, values};

use crate::{golden, index, indices, list, numbers};

#[test]
fn predictions_losses_and_gradients_are_those_of_torchvision() {
    let golden = golden("fcos/fcos.json");
    let size = |name: &str| index(&golden[name]);
    let floats = |name: &str| -> Vec<f32> {
        let values = numbers(&golden[name]).into_iter();
        values.map(|value| value as f32).collect()
    };
    let grid: [usize; 2] = indices(&golden["grid"]).try_into().expect("two");
    let stride = size("stride") as f64;
    let targets: Vec<_> = list(&golden["objects"])
        .iter()
        .map(|objects| {
            let objects: Vec<(Rect, usize)> = list(objects)
                .iter()
                .map(|object| {
                    let [x0, y0, x1, y1] = numbers(&object["box"]).try_into().expect("four");
                    (Rect::new(x0, y0, x1, y1), index(&object["class"]))
                })
                .collect();
            assign(&objects, grid, stride)
        })
        .collect();

    let device = cpu();
    let init = Init::new(0, &device);
    let (channels, classes) = (size("channels"), size("classes"));
    let mut head = FcosHead::new(&init, channels, classes, size("hidden"), size("convs"));
    fill(&mut head, "", Gradient::Tracked);
    let features = input("fcos/features", [targets.len(), channels, grid[0], grid[1]]);
    let features = features.autodiff().require_grad();

    let predictions = head.forward(features.clone());
    for (name, map) in [
        ("class_logits", &predictions.classes),
        ("sides", &predictions.sides),
        ("centerness", &predictions.centerness),
    ] {
        // torchvision's order: picture, cell, channel.
        let got = values(&map.clone().permute([0, 2, 3, 1]));
        assert_close(name, &got, &floats(name), TOLERANCE);
    }

    let loss = fcos_loss(predictions, &targets);
    for (name, part) in [
        ("classification", &loss.classes),
        ("bbox_regression", &loss.boxes),
        ("bbox_ctrness", &loss.centerness),
    ] {
        let want = golden["losses"][name].as_f64().expect("a number") as f32;
        assert_close(name, &values(part), &[want], TOLERANCE);
    }

    let backward = loss.total().backward();
    let of_features = features.grad(&backward).expect("a gradient");
    let found = gradients(&head, &backward);
    for (name, got) in [
        ("gradient_features", &values(&of_features)),
        ("gradient_neck", &found["neck.0.weight"]),
        ("gradient_boxes", &found["regression_head.bbox_reg.bias"]),
        (
            "gradient_classes",
            &found["classification_head.cls_logits.bias"],
        ),
    ] {
        assert_close(name, got, &floats(name), TOLERANCE);
    }
}

#[test]
fn a_batch_without_objects_has_a_loss_and_a_gradient() {
    let device = cpu();
    let init = Init::new(0, &device);
    let mut head = FcosHead::new(&init, 8, 2, 32, 1);
    fill(&mut head, "", Gradient::Tracked);
    let predictions = head.forward(input("features", [1, 8, 3, 3]));
    let loss = fcos_loss(predictions, &[vec![None; 9]]).total();
    assert!(values(&loss)[0] > 0.0);
    let found = gradients(&head, &loss.backward());
    let bias = &found["classification_head.cls_logits.bias"];
    assert!(bias.iter().all(|g| *g > 0.0), "{bias:?}");
}
