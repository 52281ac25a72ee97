//! A run is determined by its settings and seed, and every variant of the method can be trained.

use crate::sandbox::Sandbox;

#[test]
fn a_run_follows_from_its_seed_whatever_the_threads() {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 20);
    let weights = |name: &str, arguments: &str| {
        let run = format!("--steps 6 --data photos --out {name} {arguments}");
        sandbox.pretrain(&run).succeeded();
        sandbox.weights(name)
    };
    let one = weights("one", "--set data.threads=1");
    assert_eq!(
        weights("three", "--set data.threads=3 --set data.prefetch=1"),
        one
    );
    assert_eq!(sandbox.metrics("one"), sandbox.metrics("three"));
    assert_eq!(weights("again", "--set data.threads=1"), one);
    assert_ne!(weights("other", "--set data.threads=1 --seed 1"), one);
}

#[test]
fn every_kind_of_step_runs() {
    let sandbox = Sandbox::new();
    let cases = [
        ("plain", ""),
        (
            "accumulate",
            "--set optim.accumulate=2 --set method.bn_groups=1",
        ),
        ("clip", "--set optim.clip_norm=0.1"),
        ("moco", "--set method.lambda=0"),
        (
            "dense_only",
            "--set method.lambda=1 --set method.lambda_warmup_steps=2",
        ),
        ("by_dense", "--set method.matching=dense"),
        ("by_content", "--set method.matching=centred"),
        ("by_chance", "--set method.matching=random"),
        (
            "pooled",
            "--set model.num_grid=3 --set model.output_stride=16",
        ),
        ("fine", "--set model.output_stride=8"),
        (
            "bottleneck",
            "--set model.backbone=resnet50 --set model.width=4",
        ),
        ("per_epoch", "--set optim.schedule=epoch --steps 8"),
        (
            "per_step",
            "--set optim.schedule=step --set optim.scale_lr=true --steps 8",
        ),
        ("ordered_keys", "--set method.shuffle_keys=false"),
        (
            "byol",
            "--set method.name=byol --set method.queue=0 --set method.projector_hidden=16 \
             --set method.projector_dim=8 --set views.second.solarize_p=0.5",
        ),
        (
            "byol_lars",
            "--set method.name=byol --set method.queue=0 --set method.projector_hidden=16 \
             --set method.momentum_schedule=cosine --set optim.name=lars --set optim.warmup_epochs=0.5",
        ),
        (
            "univip",
            "--set method.name=univip --set method.queue=0 --set method.projector_hidden=16 \
             --set method.projector_dim=8 --set method.instances=2 --set method.instance_size=32 \
             --set views.instances.min_side=8 --set views.scale=[0.5,1.0]",
        ),
        (
            "3sat",
            "--set method.name=3sat --set method.queue=0 --set method.projector_hidden=16 \
             --set method.projector_dim=8 --set method.attack_epsilon=4/255 --set method.attack_step=0.01 \
             --set method.attack_steps=2 --set method.adversarial_warmup=0.5 --set model.stem=cifar \
             --set model.output_stride=8 --set views.size=32 --set data.cut_objects=32",
        ),
        (
            "curriculum",
            "--set views.curriculum.region=0.1 --set views.curriculum.size=32",
        ),
        (
            "unmeasured",
            "--set eval.pairs=0 --set log.tensorboard=false",
        ),
    ];
    for (name, arguments) in cases {
        let steps = if arguments.contains("--steps") {
            ""
        } else {
            "--steps 4"
        };
        sandbox
            .pretrain(&format!("{steps} {arguments} --out {name}"))
            .succeeded();
        for row in sandbox.metrics(name) {
            assert!(
                row["loss"].as_f64().is_some_and(f64::is_finite),
                "{name}: {row}"
            );
        }
        let method = match name {
            "moco" => "mocov2",
            "byol" | "byol_lars" => "byol",
            "univip" => "univip",
            "3sat" => "3sat",
            _ => "densecl",
        };
        assert_eq!(sandbox.weights_info(name)["method"], method);
    }
    // Each setting changes what is learned, except that to measure nothing changes nothing.
    let learned = cases.map(|(name, _)| (name, sandbox.weights(name)));
    for (index, (name, weights)) in learned.iter().enumerate() {
        for (other, others) in &learned[..index] {
            let alike = [*other, *name] == ["plain", "unmeasured"];
            assert_eq!(weights == others, alike, "{name} and {other}");
        }
    }

    let column = |name: &str, key: &str| -> Vec<f64> {
        let rows = sandbox.metrics(name);
        rows.iter()
            .map(|row| row[key].as_f64().expect(key))
            .collect()
    };
    assert_eq!(column("3sat", "adversarial_weight"), [0.0, 0.0, 0.0, 0.5]);
    let attacked = sandbox.metrics("3sat");
    assert!(attacked[0].get("loss_adversarial").is_none());
    assert!(attacked[3]["loss_adversarial"].is_f64());
    assert_eq!(column("dense_only", "lambda"), [0.0, 0.0, 1.0, 1.0]);
    // Half an epoch of four steps: from 0 over two steps, then the cosine.
    let warmed_up = column("byol_lars", "learning_rate");
    assert_eq!(warmed_up[..3], [0.0, 0.015, 0.03], "{warmed_up:?}");
    let momentum = column("byol_lars", "momentum");
    assert!(momentum.is_sorted_by(|a, b| a < b), "{momentum:?}");
    assert!(sandbox.metrics("byol")[0].get("loss_dense").is_none());
    // The run has two epochs of four steps; the schedule per epoch changes the rate after the fourth.
    let per_epoch = column("per_epoch", "learning_rate");
    assert!(
        per_epoch[..4].iter().all(|lr| *lr == per_epoch[0]),
        "{per_epoch:?}"
    );
    assert!(per_epoch[4] < per_epoch[3]);
    let per_step = column("per_step", "learning_rate");
    assert!(per_step.is_sorted_by(|a, b| a > b), "{per_step:?}");
    assert_eq!(per_step[0], 0.03 * 4.0 / 256.0);
    assert!(sandbox.names("unmeasured/tensorboard").is_empty());
}

#[test]
fn half_precision_is_asked_for_and_accounted_for() {
    let sandbox = Sandbox::new();
    let losses = |name: &str| -> Vec<f64> {
        let rows = sandbox.metrics(name);
        rows.iter()
            .map(|row| row["loss"].as_f64().expect("a loss"))
            .collect()
    };
    sandbox.pretrain("--steps 4 --out f32").succeeded();
    for precision in ["bf16", "f16"] {
        let run = format!("--steps 4 --precision {precision} --out {precision}");
        let told = sandbox.pretrain(&run).succeeded().stderr;
        assert!(told.contains("slower than f32 on a CPU"), "{told}");
        for (half, single) in losses(precision).into_iter().zip(losses("f32")) {
            assert!((half - single).abs() < 0.1 * single, "{half} for {single}");
        }
        let scale = &sandbox.metrics(precision)[3]["loss_scale"];
        assert_eq!(scale.is_number(), precision == "f16", "{scale}");
    }
    assert_eq!(sandbox.metrics("f16")[3]["skipped_steps"], 0);
    let unknown = sandbox.pretrain("--precision f8 --out f8");
    unknown.refused(&["optim.precision", "f8", "bf16"]);
}
