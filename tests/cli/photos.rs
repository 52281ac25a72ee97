//! The weights trained on photographs that come with the program.

use std::{fs, path::Path};

use crate::sandbox::Sandbox;

fn scenes() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox
        .run("synth --out scenes --count 1 --size 64")
        .succeeded();
    sandbox
}

const PAIR: &str =
    "match scenes/images/00000_a.png scenes/images/00000_b.png --device cpu --size 64";

#[test]
fn match_needs_no_weights_of_the_users() {
    let sandbox = scenes();
    let ran = sandbox.run(&format!("{PAIR} --json m.json")).succeeded();
    assert!(ran.stderr.contains("resnet18 trained"), "{}", ran.stderr);
    assert_eq!(sandbox.json("m.json")["weights"], "photos");
    let untrained = sandbox.run(&format!("{PAIR} --weights random:resnet18"));
    let untrained = untrained.succeeded();
    assert!(
        untrained.stderr.contains("untrained"),
        "{}",
        untrained.stderr
    );
    // If the user has a file named `photos`, it is read instead of the included weights.
    sandbox.write("photos", b"notes");
    sandbox
        .run(PAIR)
        .refused(&["photos", "neither safetensors"]);
}

#[test]
fn points_get_heat_maps_below_the_matches() {
    let sandbox = scenes();
    sandbox.run(PAIR).succeeded();
    let plain = sandbox.picture("matches.png");
    sandbox
        .run(&format!("{PAIR} --at 10,20 --at 63.5,63.5"))
        .succeeded();
    let heated = sandbox.picture("matches.png");
    assert_eq!(heated.width(), plain.width());
    assert_eq!(heated.height(), plain.height() + 2 * (64 + 8));
    let cut = image::imageops::crop_imm(&heated, 0, 0, plain.width(), plain.height());
    assert_eq!(cut.to_image(), plain);

    sandbox
        .run(&format!("{PAIR} --at 64,3"))
        .refused(&["--at 64,3", "00000_a.png", "64 x 64"]);
    let malformed = sandbox.run(&format!("{PAIR} --at 64"));
    assert!(malformed.stderr.contains("120,80"), "{}", malformed.stderr);
}

#[test]
fn the_pages_manifest_describes_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = root.join("weights/densecl_r18_photos.safetensors");
    assert!(fs::metadata(&file).expect("the weights").len() <= 25_000_000);

    let sandbox = Sandbox::new();
    sandbox
        .run("export photos --web --out densecl_r18_photos")
        .succeeded();
    let committed = root.join("web/weights/densecl_r18_photos/manifest.json");
    let committed = fs::read_to_string(committed).expect("the manifest");
    assert_eq!(
        sandbox.text("densecl_r18_photos/manifest.json"),
        committed,
        "export photos --web makes another manifest than the page has: weights/README.md says how"
    );
    let bytes = fs::read(&file).expect("the weights");
    let shards: Vec<u8> = (0..3)
        .flat_map(|i| sandbox.read(&format!("densecl_r18_photos/densecl_r18_photos-{i:03}.bin")))
        .collect();
    assert!(shards == bytes, "the shards joined are not the file");
}

#[test]
fn weights_for_sending_around_are_half_the_size() {
    let sandbox = scenes();
    sandbox.pretrain("--steps 1 --out run").succeeded();
    sandbox
        .run("import run/weights.safetensors --half --out half.safetensors")
        .succeeded();
    let [whole, half] =
        ["run/weights.safetensors", "half.safetensors"].map(|name| sandbox.read(name).len());
    assert!(2 * half < whole + whole / 4, "{half} of {whole} bytes");
    sandbox
        .run(&format!("{PAIR} --weights half.safetensors"))
        .succeeded();
    let nowhere = sandbox.run("import run/weights.safetensors --half");
    assert!(nowhere.stderr.contains("--out"), "{}", nowhere.stderr);
}
