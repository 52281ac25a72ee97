//! The tensors that an import expects are exactly those of the network that it builds.

use densecl::{
    config::{Backbone, ModelConfig},
    foreign::names::recognise,
    model::{Encoder, Tensors},
};
use densecl_tests::network::cpu;

#[test]
fn an_encoder_is_its_own_import() {
    use Backbone::{ResNet10, ResNet18, ResNet34, ResNet50, ResNet101};
    for backbone in [ResNet10, ResNet18, ResNet34, ResNet50, ResNet101] {
        let model = ModelConfig {
            backbone,
            width: 2,
            dim: 5,
            ..ModelConfig::default()
        };
        let encoder = Encoder::new(&model, 0, &cpu());
        let keys: Vec<_> = encoder
            .named()
            .into_iter()
            .map(|tensor| (tensor.name, tensor.shape))
            .collect();
        let mapping = recognise(&keys).expect("our own names");
        mapping.check().expect("all there");
        assert_eq!(mapping.model, model);
        assert_eq!(mapping.used.len(), keys.len());
    }
}
