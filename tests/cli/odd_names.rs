//! Names of files that are not UTF-8 or contain line breaks are kept without loss in all files that are
//! written.
#![cfg(unix)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Ran, SafeTensors, Sandbox, TINY};

/// A file name from bytes, which need not be UTF-8.
fn odd(name: &[u8]) -> OsString {
    OsString::from_vec(name.to_vec())
}

/// Twenty pictures, and three more whose names differ in one byte.
fn photos() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 20);
    for (name, source) in [
        (b"a\xE8.png".as_slice(), "001"),
        (b"a\xE9.png", "007"),
        (b"a?.png", "013"),
    ] {
        let name = OsStr::from_bytes(name);
        let from = sandbox.path(&format!("photos/{source}.png"));
        fs::copy(from, sandbox.path("photos").join(name)).expect("a copy");
    }
    sandbox
}

fn run(sandbox: &Sandbox, arguments: &str, odd: &[&OsStr]) -> Ran {
    let output = sandbox.command(arguments).args(odd).output();
    Ran::from(output.expect("the binary starts"))
}

/// Asserts that the command line's parser refuses the call, so that nothing is done.
fn named_by_clap(ran: &Ran, part: &str) {
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains(part), "{}", ran.stderr);
}

#[test]
fn a_run_on_such_files_into_such_a_folder_keeps_all_names() {
    let sandbox = photos();
    fs::write(
        sandbox.path("photos").join(odd(b"b\xE9\nb.jpg")),
        "no picture",
    )
    .expect("a file");
    sandbox.write("photos/c\nc.jpg", "no picture");
    let out = odd(b"run\xFF");
    let training = format!("{TINY} --steps 6 --data photos --out");
    run(&sandbox, &training, &[&out]).succeeded();
    let folder = sandbox.path("").join(&out);
    let text = |name: &str| fs::read_to_string(folder.join(name)).expect(name);
    let result: Value = serde_json::from_str(&text("result.json")).expect("JSON");
    assert_eq!(result["weights"], r#""run\xFF/weights.safetensors""#);
    let bad = text("bad_files.txt");
    let lines: Vec<&str> = bad.lines().collect();
    let reason = ": not a JPEG, PNG, WebP or PNM image";
    assert_eq!(
        lines,
        [
            format!(r#""photos/b\xE9\nb.jpg"{reason}"#),
            format!(r#""photos/c\nc.jpg"{reason}"#)
        ]
    );
    assert_eq!(result["bad_files"], 2);
    // Each line of the list is one file; a resumed run reads the list and writes the same one.
    run(&sandbox, "pretrain --steps 9 --resume", &[&out]).succeeded();
    assert_eq!(text("bad_files.txt"), bad);

    let weights = folder.join("weights.safetensors");
    let match_json =
        "match photos/001.png photos/007.png --device cpu --size 64 --json m.json --weights";
    let named = run(&sandbox, match_json, &[weights.as_os_str()]);
    named_by_clap(&named, r#"run\xFF/weights.safetensors" is not UTF-8"#);
}

#[test]
fn an_index_a_list_and_a_pack_tell_such_files_apart_and_find_them() {
    let sandbox = photos();
    sandbox.pretrain("--steps 1 --out run").succeeded();
    let common = "--weights run/weights.safetensors --device cpu";
    let embed = format!("embed {common} --size 64 --images photos");
    sandbox
        .run(&format!("{embed} --out i.safetensors --json i.json"))
        .succeeded();
    let file = SafeTensors::parse(&sandbox.read("i.safetensors"));
    let range = &file.header["names"]["data_offsets"];
    let [start, end] = [0, 1].map(|i| range[i].as_u64().expect("a place") as usize);
    let names: Vec<String> = serde_json::from_slice(&file.data[start..end]).expect("names");
    let odd_names: Vec<&String> = names.iter().filter(|name| name.contains('a')).collect();
    assert_eq!(odd_names, [r"a?.png", r#""a\xE8.png""#, r#""a\xE9.png""#]);

    // The query and a picture found have names that are not UTF-8; the picture's file is found by its name's
    // bytes.
    let query = Path::new("photos").join(odd(b"a\xE9.png"));
    let search = format!("search {common} --index i.safetensors --k 2 --json s.json --out s.png");
    let ran = run(&sandbox, &search, &[query.as_os_str()]).succeeded();
    assert!(!ran.stderr.contains("--images says"), "{}", ran.stderr);
    let report = sandbox.json("s.json");
    assert_eq!(report["query"], r#""photos/a\xE9.png""#);
    let found = report["found"].as_array().expect("a list");
    let found: Vec<&Value> = found.iter().map(|hit| &hit["name"]).collect();
    assert!(found.contains(&&json!(r#""a\xE9.png""#)), "{found:?}");

    // A list of paths in the encoding of the file names.
    fs::write(sandbox.path("photos/list"), b"a\xE8.png\n002.webp\n").expect("a list");
    sandbox
        .run(&format!("{embed}/list --out l.npy"))
        .succeeded();
    assert_eq!(sandbox.text("l.txt"), "002.webp\n\"a\\xE8.png\"\n");

    sandbox.write("photos/d\\d.png", sandbox.read("photos/001.png"));
    sandbox.write("photos/d/d.png", sandbox.read("photos/001.png"));
    sandbox.run("pack photos p.pack").succeeded();
    let pack = sandbox.read("p.pack");
    for name in [
        &br#""a\xE8.png""#[..],
        br#""a\xE9.png""#,
        b"d/d.png",
        b"d\\d.png",
    ] {
        let times = pack
            .windows(name.len())
            .filter(|window| window == &name)
            .count();
        assert_eq!(times, 1, "{}", name.escape_ascii());
    }

    let data = format!("{TINY} --out no --data");
    let refused = run(&sandbox, &data, &[&odd(b"dir\xE9")]);
    named_by_clap(&refused, r#""dir\xE9" is not UTF-8"#);
    assert!(!sandbox.path("no").exists());
}
