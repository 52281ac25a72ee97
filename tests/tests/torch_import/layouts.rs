//! The program that wrote a checkpoint is recognised, and each of its tensors is listed as used, dropped or
//! unknown.

use densecl::{
    Error,
    config::Backbone,
    foreign::{
        names::{Imported, Layout, Mapping, Reason, recognise},
        torch::state_dict,
    },
    weights::Stored,
};

use crate::bytes;

type Tensors = Vec<(String, Stored)>;

fn tensors(file: &str) -> Tensors {
    state_dict(&bytes(file)).expect("a whole file").tensors
}

fn account(tensors: &Tensors) -> Result<Mapping, Error> {
    let keys: Vec<_> = tensors
        .iter()
        .map(|(name, stored)| (name.clone(), stored.shape.clone()))
        .collect();
    recognise(&keys)
}

/// The mapping and the imported tensors of a valid file.
fn import(file: &str) -> (Mapping, Imported) {
    let tensors = tensors(file);
    let mapping = account(&tensors).unwrap_or_else(|e| panic!("{file}: {e}"));
    assert_eq!(
        mapping.used.len() + mapping.dropped.len() + mapping.unknown.len(),
        tensors.len(),
        "{file}: a tensor is in none of the three lists"
    );
    let imported = mapping
        .apply(tensors)
        .unwrap_or_else(|e| panic!("{file}: {e}"));
    (mapping, imported)
}

fn dropped(mapping: &Mapping, reason: &Reason) -> usize {
    let same = mapping.dropped.iter().filter(|(_, why)| why == reason);
    same.count()
}

#[test]
fn backbones() {
    use Backbone::{ResNet10, ResNet18, ResNet50};
    // The last two columns: number of dropped counters, one for each batch normalisation, and of dropped
    // classifier tensors.
    let cases = [
        ("authors_backbone", Layout::Backbone, ResNet10, 2, 12, 0),
        ("half", Layout::Backbone, ResNet10, 2, 12, 0),
        ("torchvision_r18", Layout::Torchvision, ResNet18, 2, 20, 2),
        ("torchvision_r50", Layout::Torchvision, ResNet50, 1, 53, 2),
        ("mmpretrain", Layout::OpenMmlab, ResNet18, 2, 20, 2),
    ];
    for (file, layout, backbone, width, counters, classifier) in cases {
        let (mapping, imported) = import(&format!("{file}.pth"));
        assert_eq!(mapping.layout, layout, "{file}");
        assert_eq!(mapping.model.backbone, backbone, "{file}");
        assert_eq!(mapping.model.width, width, "{file}");
        assert_eq!(dropped(&mapping, &Reason::Counter), counters, "{file}");
        assert_eq!(dropped(&mapping, &Reason::Classifier), classifier, "{file}");
        assert_eq!(imported.tensors.len(), counters * 5, "{file}");
        assert_eq!(imported.tensors["conv1.weight"].shape, [width, 3, 7, 7]);
        assert!(
            !mapping.is_checkpoint() && mapping.absent.len() == 5,
            "{file}"
        );
    }
}

#[test]
fn training_states() {
    for file in [
        "authors_checkpoint.pth",
        "authors_legacy.pth",
        "mmselfsup.pth",
    ] {
        let (mapping, imported) = import(file);
        assert!(
            mapping.absent.is_empty(),
            "{file} lacks {:?}",
            mapping.absent
        );
        assert_eq!((mapping.model.width, mapping.model.dim), (2, 6), "{file}");
        // Two encoders, each with 60 backbone and 8 head tensors, and two queues.
        assert_eq!(imported.tensors.len(), 2 * 68 + 2, "{file}");
        assert_eq!(imported.queue_positions, [4, 8], "{file}");
        let dense = &imported.tensors["key.dense_head.conv2.weight"];
        assert_eq!(dense.shape, [6, 16, 1, 1], "{file}");
    }
    let (mapping, _) = import("authors_checkpoint.pth");
    assert_eq!(mapping.layout, Layout::Authors);
    let copy = Reason::CopyOf("encoder_q.0.conv1.weight".to_string());
    assert_eq!(dropped(&mapping, &copy), 1);
}

#[test]
fn a_queue_is_turned_from_columns_to_rows() {
    let tensors = tensors("authors_checkpoint.pth");
    let (_, columns) = tensors
        .iter()
        .find(|(name, _)| name == "queue2")
        .expect("a queue");
    let (_, imported) = import("authors_checkpoint.pth");
    let rows = &imported.tensors["queue.dense"];
    assert_eq!(
        (&columns.shape[..], &rows.shape[..]),
        (&[6, 10][..], &[10, 6][..])
    );
    for (i, key) in rows.values.chunks(6).enumerate() {
        let column: Vec<f32> = (0..6).map(|d| columns.values[d * 10 + i]).collect();
        assert_eq!(key, column, "key {i}");
    }
}

#[test]
fn moco() {
    let (v1, imported) = import("moco_v1.pth");
    assert_eq!(v1.layout, Layout::Moco);
    assert_eq!(v1.absent, ["global head", "dense head", "dense queue"]);
    assert_eq!(dropped(&v1, &Reason::LinearHead), 4);
    assert_eq!((v1.model.dim, imported.queue_positions), (6, [4, 0]));

    let (v2, imported) = import("moco_v2_legacy.pth");
    assert_eq!(v2.absent, ["dense head", "dense queue"]);
    assert_eq!(v2.model.dim, 6);
    assert_eq!(
        imported.tensors["query.global_head.fc2.weight"].shape,
        [6, 16]
    );
    assert!(v2.used.contains(&(
        "module.encoder_k.fc.0.bias".to_string(),
        "key.global_head.fc1.bias".to_string()
    )));
}

#[test]
fn lightly_and_ours() {
    let (mapping, imported) = import("lightly.pth");
    assert_eq!(mapping.layout, Layout::Lightly);
    assert_eq!(imported.tensors.len(), 60);
    assert!(imported.tensors.contains_key("layer4.0.downsample.1.bias"));
    assert!(dropped(&mapping, &Reason::OtherMethod) > 60);

    let (mapping, imported) = import("ours.pth");
    assert_eq!(mapping.layout, Layout::Densecl);
    assert!(mapping.dropped.is_empty());
    assert_eq!(imported.tensors.len(), 68);
}

#[test]
fn our_checkpoints_keep_their_names() {
    let (_, imported) = import("authors_checkpoint.pth");
    let mut tensors: Tensors = imported.tensors.into_iter().collect();
    let velocity: Tensors = tensors
        .iter()
        .filter(|(name, _)| !name.contains("running_"))
        .filter_map(|(name, stored)| {
            let name = name.strip_prefix("query.")?;
            Some((format!("velocity.{name}"), stored.clone()))
        })
        .collect();
    tensors.extend(velocity);
    let mapping = account(&tensors).expect("our own layout");
    assert_eq!(mapping.layout, Layout::Densecl);
    assert!(mapping.absent.is_empty());
    let again = mapping.apply(tensors.clone()).expect("nothing is wrong");
    assert_eq!(again.tensors, tensors.into_iter().collect());
}

/// The error of a valid file after `change` to its tensors.
fn error_after(file: &str, change: impl FnOnce(&mut Tensors)) -> String {
    let mut tensors = tensors(file);
    change(&mut tensors);
    let result = account(&tensors).and_then(|mapping| mapping.apply(tensors));
    result.expect_err("something is wrong").to_string()
}

fn tensor<'t>(tensors: &'t mut Tensors, name: &str) -> &'t mut Stored {
    let found = tensors.iter_mut().find(|(key, _)| key == name);
    &mut found.expect("a known key").1
}

#[test]
fn what_is_wrong_is_named() {
    let scalar = || Stored {
        shape: vec![1],
        values: vec![0.0],
    };
    let error = error_after("half.pth", |t| t.push(("stem.0.weight".into(), scalar())));
    assert!(error.contains("no part of it: stem.0.weight"), "{error}");
    let error = error_after("half.pth", |t| t.retain(|(name, _)| name != "bn1.bias"));
    assert!(error.contains("missing tensors: bn1.bias"), "{error}");
    let error = error_after("half.pth", |t| tensor(t, "bn1.bias").shape = vec![2, 1]);
    assert!(
        error.contains("bn1.bias has shape [2, 1], expected [2]"),
        "{error}"
    );
    let error = error_after("half.pth", |t| tensor(t, "bn1.bias").values[1] = f32::NAN);
    assert_eq!(error, "bn1.bias holds NaN");
    let error = error_after("half.pth", |t| tensor(t, "conv1.weight").shape[2] = 3);
    assert!(
        error.contains("the first convolution has shape [2, 3, 3, 7]"),
        "{error}"
    );
    let error = error_after("half.pth", |t| {
        t.retain(|(name, _)| !name.starts_with("layer4"))
    });
    assert!(error.contains("[1, 1, 1, 0] basic blocks"), "{error}");
    let error = error_after("half.pth", |t| t[0].0 = "patch_embed.proj.weight".into());
    assert!(error.contains("a vision transformer"), "{error}");
    let error = error_after("half.pth", Vec::clear);
    assert!(error.contains("no layout known"), "{error}");
}

#[test]
fn a_training_state_must_be_consistent() {
    let file = "authors_checkpoint.pth";
    let error = error_after(file, |t| tensor(t, "queue_ptr").values[0] = 10.0);
    assert!(
        error.contains("queue.global is written at 10, past its 10 keys"),
        "{error}"
    );
    let error = error_after(file, |t| tensor(t, "queue2_ptr").values[0] = -1.0);
    assert!(error.contains("queue2_ptr is -1, below 0"), "{error}");
    let error = error_after(file, |t| t.retain(|(name, _)| name != "queue"));
    assert!(error.contains("missing tensors: queue.global"), "{error}");
    let error = error_after(file, |t| tensor(t, "queue").shape = vec![60]);
    assert!(error.contains("queue has shape [60]"), "{error}");
    let error = error_after(file, |t| tensor(t, "backbone.bn1.bias").values[0] += 1.0);
    assert!(
        error.contains("should be the same as encoder_q.0.bn1.bias"),
        "{error}"
    );
    let gone = |name: &str| name.starts_with("encoder_k.1.mlp.");
    let error = error_after(file, |t| t.retain(|(name, _)| !gone(name)));
    assert!(
        error.contains("missing tensors: key.global_head.fc1.bias"),
        "{error}"
    );
}
