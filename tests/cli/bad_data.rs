//! Training data that is missing, too little, or not pictures.

use crate::sandbox::Sandbox;

#[test]
fn missing_and_unusable_data_is_named() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("empty")).expect("made");
    sandbox.write("texts/a.txt", "no picture");
    sandbox.write("nothing.txt", "# nothing\n");
    sandbox.write("binary.lst", b"\xff\0\xfe");
    sandbox.pictures("few", 3);
    let cases: [(&str, &[&str]); 6] = [
        ("missing", &["missing does not exist", "folder of images"]),
        (
            "empty",
            &["empty contains no images", ".jpg", "another folder"],
        ),
        ("texts", &["texts contains no images", "there are 1 .txt"]),
        (
            "nothing.txt",
            &["nothing.txt lists no images", "a path per line"],
        ),
        ("binary.lst", &["binary.lst is not a text file"]),
        (
            "few",
            &["3 images are fewer than the batch of 4", "at most 3"],
        ),
    ];
    for (data, parts) in cases {
        sandbox
            .pretrain(&format!("--steps 1 --out run --data {data}"))
            .refused(parts);
    }
}

/// A PNG file that ends after the header with this width and height.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    bytes.extend(&chunk);
    bytes.extend(crc32(&chunk).to_be_bytes());
    bytes.extend(b"\0\0\0\x04IDAT\0\0\0\0");
    bytes
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 * (sum & 1))
        })
    })
}

/// Writes five files that do not decode. Returns the name of each and a part of the reason that must be
/// reported.
fn spoil(sandbox: &Sandbox, folder: &str) -> [(&'static str, &'static str); 5] {
    let picture = |name: &str| sandbox.read(&format!("{folder}/{name}"));
    let jpeg = picture("003.jpg");
    let mut png = picture("001.png");
    let middle = png.len() / 2;
    png[middle..].fill(0x55);
    sandbox.write(&format!("{folder}/bad_cut.jpg"), &jpeg[..jpeg.len() / 2]);
    sandbox.write(&format!("{folder}/bad_data.png"), png);
    sandbox.write(&format!("{folder}/bad_empty.webp"), b"");
    sandbox.write(
        &format!("{folder}/bad_huge.png"),
        png_header(30_000, 30_000),
    );
    sandbox.write(&format!("{folder}/bad_text.jpg"), "no picture");
    [
        ("bad_cut.jpg", "truncated"),
        ("bad_data.png", "corrupt"),
        ("bad_empty.webp", "empty"),
        (
            "bad_huge.png",
            "30000 x 30000 pixels are over the limit of 100 megapixels",
        ),
        ("bad_text.jpg", "not a JPEG, PNG, WebP or PNM image"),
    ]
}

#[test]
fn a_few_bad_files_are_skipped_named_once_counted_and_listed() {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 55);
    let bad = spoil(&sandbox, "photos");
    // Three epochs must warn of each file once. One file in 20 is held out for the measurement and may be a
    // bad one.
    let ran = sandbox
        .pretrain("--epochs 3 --data photos --out run --set eval.pairs=3")
        .succeeded();
    let list = sandbox.text("run/bad_files.txt");
    for (name, reason) in bad {
        let warnings = ran
            .stderr
            .lines()
            .filter(|line| line.contains(name))
            .collect::<Vec<_>>();
        assert_eq!(warnings.len(), 1, "{name}: {}", ran.stderr);
        assert!(
            warnings[0].contains("skipped") && warnings[0].contains(reason),
            "{warnings:?}"
        );
        let listed = list
            .lines()
            .filter(|line| line.contains(name))
            .collect::<Vec<_>>();
        assert_eq!(listed.len(), 1, "{name}: {list}");
        assert!(listed[0].contains(reason), "{listed:?}");
    }
    assert_eq!(list.lines().count(), 5);
    assert_eq!(sandbox.json("run/result.json")["bad_files"], 5);
    assert!(
        ran.stderr
            .contains("skipped: 5, listed in run/bad_files.txt"),
        "{}",
        ran.stderr
    );

    // A resumed run still counts the bad files found before.
    sandbox.run("pretrain --resume run --steps 43").succeeded();
    assert_eq!(sandbox.json("run/result.json")["bad_files"], 5);
}

#[test]
fn too_many_bad_files_stop_the_run() {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 12);
    spoil(&sandbox, "photos");
    let ran = sandbox.pretrain("--epochs 3 --data photos --out run");
    ran.refused(&["files do not decode", "share of 0.1", "photos/bad_"]);

    let mut list: String = (0..3).map(|i| format!("gone_{i}.jpg\n")).collect();
    list += "photos/001.png\nphotos/003.jpg\nphotos/007.png\nphotos/010.png\n";
    sandbox.write("list.txt", list);
    let ran = sandbox.pretrain("--epochs 3 --data list.txt --set method.queue=4 --out gone");
    ran.refused(&[
        "of 7 files do not decode",
        "gone_",
        "No such file",
        "data.max_bad_share",
    ]);

    for i in 0..6 {
        sandbox.write(&format!("all/{i}.jpg"), "no picture");
    }
    let ran = sandbox.pretrain(
        "--steps 1 --data all --out all_bad --set data.max_bad_share=1 --set method.queue=4",
    );
    ran.refused(&["none of the 6 files decodes", "give other images"]);
}

#[test]
fn pictures_to_match_must_be_pictures() {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 1 --out run").succeeded();
    sandbox.pictures("photos", 4);
    for (name, reason) in spoil(&sandbox, "photos") {
        for order in [
            format!("photos/{name} photos/001.png"),
            format!("photos/001.png photos/{name}"),
        ] {
            let ran = sandbox.run(&format!(
                "match {order} --weights run/weights.safetensors --device cpu"
            ));
            ran.refused(&[&format!("photos/{name}"), reason]);
        }
    }
    let cases: [(&str, &[&str]); 8] = [
        ("--size 31", &["--size 31", "between 32 and 4096"]),
        ("--size 5000", &["--size 5000", "between 32 and 4096"]),
        ("--stride 12", &["--stride 12", "8, 16 or 32"]),
        ("--threshold 7", &["--threshold 7", "between -1 and 1"]),
        ("--threshold nan", &["--threshold NaN", "between -1 and 1"]),
        ("--out m.bmp", &["m.bmp", ".png"]),
        ("--out nowhere/m.png", &["nowhere/m.png"]),
        ("--json nowhere/m.json", &["nowhere/m.json"]),
    ];
    let pictures =
        "match photos/001.png photos/002.webp --weights run/weights.safetensors --device cpu";
    for (arguments, parts) in cases {
        sandbox
            .run(&format!("{pictures} {arguments}"))
            .refused(parts);
    }
    let missing =
        sandbox.run("match no.png photos/001.png --weights run/weights.safetensors --device cpu");
    missing.refused(&["no.png", "No such file"]);
}
