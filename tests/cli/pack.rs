//! `densecl pack`: training from a pack gives the same run as training from the folder.

use crate::sandbox::Sandbox;

const RUN: &str = "--steps 9 --set data.max_bad_share=0.5 --set checkpoint.every_steps=3";

/// A folder with thirty pictures and a file that is not a picture.
fn photos() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 30);
    sandbox.write("photos/017.jpg", "no picture");
    sandbox
}

#[test]
fn a_pack_trains_as_its_folder_does_and_can_be_resumed() {
    let sandbox = photos();
    sandbox
        .run("pack photos photos.pack --json packed.json")
        .succeeded();
    let report = sandbox.json("packed.json");
    assert_eq!(
        (&report["pictures"], &report["resized"]),
        (&31.into(), &0.into())
    );
    assert_eq!(report["unreadable"], serde_json::json!([]));
    let bytes = sandbox.read("photos.pack").len();
    assert_eq!(report["pack_bytes"], bytes);

    sandbox
        .pretrain(&format!("{RUN} --data photos --out folder"))
        .succeeded();
    sandbox
        .pretrain(&format!("{RUN} --data photos.pack --out pack"))
        .succeeded();
    assert_eq!(sandbox.metrics("pack"), sandbox.metrics("folder"));
    assert!(sandbox.text("pack/bad_files.txt").contains("photos.pack"));

    sandbox.run("pretrain --resume pack --steps 12").succeeded();
    sandbox
        .run("pretrain --resume folder --steps 12")
        .succeeded();
    assert_eq!(sandbox.metrics("pack"), sandbox.metrics("folder"));

    // A run cannot be resumed with other pictures under the same names.
    sandbox.pictures("photos", 20);
    sandbox.write("photos/001.png", "another");
    sandbox.run("pack photos photos.pack").succeeded();
    sandbox
        .run("pretrain --resume pack --steps 15")
        .refused(&["the data has changed"]);
}

#[test]
fn larger_pictures_are_made_smaller() {
    let sandbox = photos();
    let ran = sandbox
        .run("pack photos small.pack --max-side 32 --json -")
        .succeeded();
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        report["resized"], 30,
        "all but the file that is not a picture"
    );
    sandbox
        .pretrain(&format!("{RUN} --data small.pack --out run"))
        .succeeded();
    // The pictures have 48 x 40 pixels, so this limit changes nothing.
    sandbox
        .run("pack photos same.pack --max-side 48")
        .succeeded();
    sandbox.run("pack photos whole.pack").succeeded();
    assert!(sandbox.read("same.pack") == sandbox.read("whole.pack"));
}

#[test]
fn a_file_that_is_gone_keeps_an_empty_place() {
    let sandbox = photos();
    sandbox.write(
        "list.txt",
        "photos/001.png\nphotos/gone.jpg\nphotos/002.webp\n",
    );
    let ran = sandbox.run("pack list.txt list.pack --json -").succeeded();
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(report["pictures"], 3);
    let path = report["unreadable"][0]["path"].as_str().expect("a path");
    assert!(path.ends_with("gone.jpg"), "{path}");
    assert!(
        ran.stderr.contains("its place is left empty"),
        "{}",
        ran.stderr
    );
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let sandbox = photos();
    sandbox.run("pack photos photos.pack").succeeded();
    let cases: [(&str, &[&str]); 8] = [
        ("pack nowhere x.pack", &["nowhere does not exist"]),
        ("pack photos x.zip", &["x.zip", "ends in .pack"]),
        ("pack photos nowhere/x.pack", &["nowhere/x.pack"]),
        (
            "pack photos.pack x.pack",
            &["photos.pack is a pack already"],
        ),
        (
            "pack photos x.pack --max-side 3",
            &["--max-side 3", "between 32"],
        ),
        (
            "pack photos x.pack --json nowhere/x.json",
            &["nowhere/x.json"],
        ),
        (
            "pretrain --set train.device=cpu --data cut.pack",
            &["cut.pack", "make it again"],
        ),
        (
            "pretrain --set train.device=cpu --data text.pack",
            &["text.pack", "does not begin as one"],
        ),
    ];
    let whole = sandbox.read("photos.pack");
    sandbox.write("cut.pack", &whole[..whole.len() - 1]);
    sandbox.write("text.pack", "a text of more than thirty-two bytes");
    for (arguments, parts) in cases {
        sandbox.run(arguments).refused(parts);
    }
    assert!(!sandbox.path("x.pack").exists());
}
