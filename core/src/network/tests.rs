use super::*;

fn model(backbone: Backbone, output_stride: usize, stride_in_1x1: bool) -> ModelConfig {
    ModelConfig {
        backbone,
        output_stride,
        stride_in_1x1,
        ..ModelConfig::default()
    }
}

#[test]
fn a_resnet50_is_torchvisions() {
    let network = Network::new(&model(Backbone::ResNet50, 32, false));
    let channels = network.stages.each_ref().map(|stage| stage.channels);
    assert_eq!(channels, [256, 512, 1024, 2048]);
    let strides = network.stages.each_ref().map(|stage| stage.stride);
    assert_eq!(strides, [4, 8, 16, 32]);
    // torchvision has 161 parameter tensors, two of them in the classifier, and two statistics in each of 53
    // normalisations.
    let tensors: Vec<TensorShape> = network.tensors().collect();
    assert_eq!(tensors.len(), 159 + 2 * 53);
    let parameters = tensors.iter().filter(|t| t.kind == Kind::Parameter);
    assert_eq!(
        parameters.map(TensorShape::count).sum::<usize>(),
        25_557_032 - 2_049_000
    );
    let shape = |name: &str| {
        let found = tensors.iter().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("no {name}")).shape.clone()
    };
    assert_eq!(shape("layer2.0.downsample.0.weight"), [512, 256, 1, 1]);
    assert_eq!(shape("layer4.2.conv2.weight"), [512, 512, 3, 3]);
    assert_eq!(shape("layer3.5.bn3.running_var"), [1024]);
    for tensor in &tensors {
        assert_eq!(is_statistic(&tensor.name), tensor.kind == Kind::Buffer);
    }
}

/// Stride and dilation of the convolutions in the first two blocks of a stage, and the stride of the shortcut.
fn movement(network: &Network, stage: usize) -> (Vec<[usize; 2]>, usize) {
    let blocks = &network.stages[stage].blocks[..2];
    let convolutions = blocks.iter().flat_map(|block| &block.convolutions);
    let shortcut = blocks[0].shortcut.as_ref().expect("sizes change");
    (
        convolutions.map(|c| [c.stride, c.dilation]).collect(),
        shortcut.stride,
    )
}

#[test]
fn the_stride_is_in_the_3x3_or_in_the_first_1x1() {
    let of = |output_stride, in_1x1| {
        let network = Network::new(&model(Backbone::ResNet50, output_stride, in_1x1));
        movement(&network, 3)
    };
    let (one, two, dilated) = ([1, 1], [2, 1], [1, 2]);
    assert_eq!(of(32, false), (vec![one, two, one, one, one, one], 2));
    assert_eq!(of(32, true), (vec![two, one, one, one, one, one], 2));
    // At output stride 16 the stride of this stage is replaced by dilation of the 3×3 convolutions after it.
    assert_eq!(of(16, false), (vec![one, one, one, one, dilated, one], 1));
    assert_eq!(
        of(16, true),
        (vec![one, dilated, one, one, dilated, one], 1)
    );
}

#[test]
fn maps_have_the_sizes_of_a_forward_pass() {
    for in_1x1 in [false, true] {
        let network = Network::new(&model(Backbone::ResNet50, 32, in_1x1));
        assert_eq!(
            network.stage_sides([75, 98]),
            [[19, 25], [10, 13], [5, 7], [3, 4]]
        );
        let maps = network.maps([75, 98]);
        assert_eq!(maps.len(), network.convolutions().count());
        let sides = |name: &str| {
            let map = maps.iter().find(|map| map.convolution.name == name);
            map.expect("a convolution").sides
        };
        assert_eq!(sides("conv1"), [38, 49]);
        let first = if in_1x1 { [10, 13] } else { [19, 25] };
        assert_eq!(sides("layer2.0.conv1"), first);
        assert_eq!(sides("layer2.0.conv3"), [10, 13]);
        assert_eq!(sides("layer2.0.downsample.0"), [10, 13]);
        let shortcuts = maps.iter().filter(|map| !map.relu).count();
        assert_eq!(shortcuts, 4);
    }
}

#[test]
fn files_name_stem_and_placement_of_the_stride_only_where_they_are_not_torchvisions() {
    #[derive(serde::Serialize)]
    struct File {
        #[serde(serialize_with = "in_metadata")]
        model: ModelConfig,
    }
    let written = |in_1x1| {
        let model = model(Backbone::ResNet50, 16, in_1x1);
        serde_json::to_string(&File { model }).expect("JSON")
    };
    let usual =
        r#"{"model":{"backbone":"resnet50","width":64,"output_stride":16,"dim":128,"num_grid":0}}"#;
    assert_eq!(written(false), usual);
    assert_eq!(
        written(true),
        usual.replace("}}", r#","stride_in_1x1":true}}"#)
    );
    let small = ModelConfig {
        stem: Stem::Cifar,
        ..model(Backbone::ResNet50, 8, false)
    };
    let text = serde_json::to_string(&File {
        model: small.clone(),
    });
    let text = text.expect("JSON");
    assert!(
        text.contains(r#""width":64,"stem":"cifar","output_stride":8"#),
        "{text}"
    );
    #[derive(serde::Deserialize)]
    struct Read {
        model: ModelConfig,
    }
    let read: Read = serde_json::from_str(&text).expect("settings");
    assert_eq!(read.model, small);
    let read: ModelConfig = serde_json::from_str(r#"{"backbone":"resnet50"}"#).expect("settings");
    assert!(!read.stride_in_1x1);

    let basic = model(Backbone::ResNet18, 32, true).validate();
    let message = basic.expect_err("no 1x1 convolution").to_string();
    assert!(message.contains("model.stride_in_1x1 = true"), "{message}");
}

#[test]
fn the_stem_for_small_pictures_keeps_their_pixels() {
    let small = ModelConfig {
        stem: Stem::Cifar,
        ..model(Backbone::ResNet18, 8, false)
    };
    small.validate().expect("its own stride");
    let network = Network::new(&small);
    assert_eq!((network.stem.size, network.stem.stride), (3, 1));
    assert_eq!(network.pool, None);
    let strides = network.stages.each_ref().map(|stage| stage.stride);
    assert_eq!(strides, [1, 2, 4, 8]);
    assert!(network.convolutions().all(|c| c.dilation == 1));
    assert_eq!(
        network.stage_sides([32, 32]),
        [[32, 32], [16, 16], [8, 8], [4, 4]]
    );
    assert_eq!(network.maps([32, 32])[0].sides, [32, 32]);
    // But for the first kernel it is the network for photographs.
    let usual = Network::new(&model(Backbone::ResNet18, 32, false));
    let differ: Vec<_> = (network.tensors().zip(usual.tensors()))
        .filter(|(a, b)| a != b)
        .map(|(a, _)| (a.name, a.shape))
        .collect();
    assert_eq!(differ, [("conv1.weight".to_string(), vec![64, 3, 3, 3])]);

    let message = ModelConfig {
        output_stride: 16,
        ..small
    };
    let message = message.validate().expect_err("no dilation below 1");
    let message = message.to_string();
    assert!(
        message.starts_with("model.output_stride = 16: with model.stem = \"cifar\"")
            && message.contains("must be 8"),
        "{message}"
    );
}
