//! Settings and devices that do not exist or do not fit: the error is one line, and no run is started.

use crate::sandbox::Sandbox;

#[test]
fn settings_that_do_not_exist_or_do_not_fit_are_named() {
    let sandbox = Sandbox::new();
    let cases: [(&str, &[&str]); 26] = [
        (
            "--set optim.lrr=1",
            &[
                "--set optim.lrr=1",
                "no setting `optim.lrr`",
                "did you mean `optim.lr`?",
            ],
        ),
        (
            "--set model.lr=1",
            &["no setting `model.lr`", "did you mean `optim.lr`?"],
        ),
        ("--set zzz=1", &["no setting `zzz`", "`optim`"]),
        ("--set optim.lr", &["write --set section.key=value"]),
        (
            "--set optim.lr=fast",
            &["`optim.lr`", "\"fast\"", "expected f64"],
        ),
        (
            "--set train.epochs=1.5",
            &["`train.epochs`", "expected u64"],
        ),
        (
            "--set model.backbone=resnet19",
            &["`resnet19`", "`resnet18`"],
        ),
        ("--set optim.lr=-1", &["optim.lr = -1", "0 or above"]),
        ("--set optim.lr=nan", &["optim.lr = NaN", "0 or above"]),
        (
            "--set method.lambda=1.5",
            &["method.lambda = 1.5", "between 0 and 1"],
        ),
        (
            "--set method.temperature=0",
            &["method.temperature = 0", "above 0"],
        ),
        (
            "--set model.output_stride=4",
            &["model.output_stride = 4", "8, 16 or 32"],
        ),
        (
            "--set views.size=100",
            &["views.size = 100", "multiple of 32"],
        ),
        ("--set scenes.size=3", &["scenes.size = 3", "16 to 2048"]),
        (
            "--set data.max_bad_share=2",
            &["data.max_bad_share = 2", "between 0 and 1"],
        ),
        (
            "--set method.bn_groups=3",
            &["method.bn_groups = 3", "must divide"],
        ),
        (
            "--set optim.accumulate=3",
            &["optim.accumulate = 3", "must divide"],
        ),
        (
            "--set method.queue=2",
            &["method.queue = 2", "at least one batch", "0 sizes it"],
        ),
        (
            "--set method.queue=17",
            &["method.queue = 17", "16 images", "queue_exceeds_data"],
        ),
        (
            "--set data.scene_count=3",
            &["3 images are fewer than the batch of 4", "train.batch_size"],
        ),
        (
            "--config nothing",
            &["nothing is neither a file nor a preset", "quickstart"],
        ),
        ("--json .", &["--json .", "is a folder"]),
        ("--set data.prefetch=0", &["data.prefetch = 0", "1 to 1024"]),
        ("--set data.threads=9999", &["data.threads = 9999", "1024"]),
        (
            "--set data.scene_count=0",
            &["data.scene_count = 0", "at least 1"],
        ),
        (
            "--json nowhere/x.json",
            &["--json nowhere/x.json", "no folder nowhere"],
        ),
    ];
    for (arguments, parts) in cases {
        sandbox
            .pretrain(&format!("--steps 1 --out run {arguments}"))
            .refused(parts);
        assert!(!sandbox.path("run/config.toml").exists(), "{arguments}");
    }
    let insisted = "--steps 1 --out run --set method.queue=17 --set method.queue_exceeds_data=true";
    sandbox.pretrain(insisted).succeeded();
    for wrong in ["--steps 1 --epochs 1", "--steps 0", "--batch-size four"] {
        let ran = sandbox.pretrain(wrong);
        assert_eq!(ran.code, Some(2), "{wrong}: {}", ran.stderr);
    }
}

#[test]
fn a_file_of_settings_is_blamed_with_its_line() {
    let sandbox = Sandbox::new();
    let cases: [(&[u8], &[&str]); 5] = [
        (
            b"[optim]\nlr = = 3\n",
            &["my.toml, line 2, column 6", "not valid TOML"],
        ),
        (
            b"\n[optim]\nlrr = 3\n",
            &["my.toml, line 3", "`optim.lrr`", "did you mean `optim.lr`?"],
        ),
        (
            b"[optim]\nlr = \"x\"\n",
            &["my.toml, line 2", "`optim.lr`", "expected f64"],
        ),
        (b"optim = 3\n", &["my.toml, line 1", "optim"]),
        (b"\xff\xfe", &["my.toml is not UTF-8 text"]),
    ];
    for (text, parts) in cases {
        sandbox.write("my.toml", text);
        sandbox.run("config my.toml").refused(parts);
        sandbox.run("pretrain --config my.toml").refused(parts);
    }
    std::fs::create_dir(sandbox.path("folder")).expect("made");
    sandbox
        .run("config folder")
        .refused(&["cannot read the settings in folder"]);
    assert!(!sandbox.path("runs").exists());
}

#[test]
fn devices_that_are_not_there_are_named_with_those_that_are() {
    let sandbox = Sandbox::new();
    let unknown: &[&str] = &["\"nonsense\"", "auto, cpu, vulkan, metal, wgpu, cuda"];
    sandbox
        .pretrain("--steps 1 --device nonsense")
        .refused(unknown);
    if cfg!(not(feature = "cuda")) {
        let cuda: &[&str] = &["--device cuda", "--features cuda", "--device auto"];
        sandbox.pretrain("--steps 1 --device cuda").refused(cuda);
    }
    if cfg!(target_os = "linux") {
        // The graphics driver may print lines before the error, so only the last line is checked.
        let metal = sandbox.pretrain("--steps 1 --device metal");
        assert_eq!(metal.code, Some(1));
        let last = metal.stderr.lines().last().expect("a line");
        assert!(
            last.starts_with("error: --device metal: no such adapter"),
            "{last}"
        );
        assert!(last.contains("there is cpu"), "{last}");
    }
    assert!(!sandbox.path("runs").exists());
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_the_good_checkpoint_stays() {
    let sandbox = Sandbox::new();
    sandbox
        .pretrain("--steps 2 --set checkpoint.every_steps=1 --out run")
        .succeeded();
    let good = sandbox.read("run/checkpoints/step_00000002.safetensors");
    // The run goes on with a huge learning rate, which makes the loss infinite as a bad batch could.
    let settings = sandbox.text("run/config.toml");
    let exploding = settings.replace("\nlr = 0.03\n", "\nlr = 1e30\n");
    assert_ne!(settings, exploding);
    sandbox.write("run/config.toml", exploding);
    let ran = sandbox.run("pretrain --resume run --steps 9 --set checkpoint.every_steps=0");
    ran.refused(&[
        "not finite at step 4",
        "checkpoint of step 2 is kept",
        "optim.lr",
    ]);
    assert_eq!(
        sandbox.read("run/checkpoints/step_00000002.safetensors"),
        good
    );

    let every_ten = "--steps 30 --set optim.lr=1e30 --set log.every_steps=10 --out other";
    let ran = sandbox.pretrain(every_ten);
    ran.refused(&[
        "not finite at step 10",
        "no checkpoint had been written",
        "optim.clip_norm",
    ]);
    assert!(sandbox.names("other/checkpoints").is_empty());
}
