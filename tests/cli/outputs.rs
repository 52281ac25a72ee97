//! No command overwrites its inputs. The unit tests of `native/src/outputs` check that every path of every
//! command is compared; here are the cases in which users lost a file.

use crate::sandbox::Sandbox;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 24);
    sandbox.pretrain("--steps 1 --out run").succeeded();
    std::fs::copy(
        sandbox.path("run/weights.safetensors"),
        sandbox.path("w.safetensors"),
    )
    .expect("copied");
    sandbox.write("photos.txt", "photos/001.png\nphotos/002.webp\n");
    sandbox
}

/// Checks that a call is refused with a message that contains `parts`, and that `files` are unchanged.
#[track_caller]
fn refused(sandbox: &Sandbox, arguments: &str, parts: &[&str], files: &[&str]) {
    let before: Vec<Vec<u8>> = files.iter().map(|file| sandbox.read(file)).collect();
    let ran = sandbox.run(arguments);
    ran.refused(parts);
    // Refused before any work: opening a device would have printed another line.
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    for (file, before) in files.iter().zip(before) {
        assert!(sandbox.read(file) == before, "{file} was written");
    }
}

#[test]
fn no_output_replaces_an_input() {
    let sandbox = sandbox();
    let w = ["w.safetensors"];
    let embed = "embed --images photos --weights w.safetensors";
    for out in [
        "w.safetensors",
        "./w.safetensors",
        "photos/../w.safetensors",
    ] {
        let parts = ["--out", out, "--weights w.safetensors", "which is read"];
        refused(&sandbox, &format!("{embed} --out {out}"), &parts, &w);
    }
    refused(
        &sandbox,
        "embed --images photos.txt --weights w.safetensors --out photos.npy",
        &["photos.txt (of --out photos.npy)", "--images photos.txt"],
        &["photos.txt"],
    );
    refused(
        &sandbox,
        &format!("{embed} --out o.npy --json photos/001.png"),
        &["--json photos/001.png", "--images photos holds"],
        &["photos/001.png"],
    );
    refused(
        &sandbox,
        "export w.safetensors --to safetensors --out w.safetensors",
        &["w.safetensors"],
        &w,
    );
    refused(
        &sandbox,
        "import w.safetensors --out w.safetensors",
        &["--out"],
        &w,
    );
    let pair = "match photos/001.png photos/003.jpg --device cpu";
    for (output, file) in [("--out", "photos/001.png"), ("--json", "photos/003.jpg")] {
        refused(
            &sandbox,
            &format!("{pair} {output} {file}"),
            &[output, file],
            &[file],
        );
    }
    refused(
        &sandbox,
        &format!("{pair} --out same.png --json ./same.png"),
        &["--out same.png", "--json ./same.png", "two names"],
        &[],
    );
    refused(
        &sandbox,
        "eval knn-seg --weights w.safetensors --data photos --out photos/001.png",
        &["--out photos/001.png", "--data photos"],
        &["photos/001.png"],
    );
    refused(
        &sandbox,
        "pack photos.txt photos.pack --json photos/002.webp",
        &["--json photos/002.webp", "photos.txt holds"],
        &["photos/002.webp"],
    );
    refused(
        &sandbox,
        "plot run --out run/matches_before.png",
        &["run/matches_before.png", "which is read"],
        &["run/matches_before.png"],
    );
}

#[cfg(unix)]
#[test]
fn links_are_seen_through() {
    let sandbox = sandbox();
    std::os::unix::fs::symlink("w.safetensors", sandbox.path("link.safetensors")).expect("a link");
    std::fs::hard_link(
        sandbox.path("w.safetensors"),
        sandbox.path("hard.safetensors"),
    )
    .expect("a link");
    for out in ["link.safetensors", "hard.safetensors"] {
        refused(
            &sandbox,
            &format!("import w.safetensors --out {out}"),
            &[out, "which is read"],
            &["w.safetensors", out],
        );
    }
}

#[test]
fn a_run_keeps_what_it_begins_with() {
    let sandbox = sandbox();
    let tiny = crate::sandbox::TINY;
    let weights = "run/weights.safetensors";
    refused(
        &sandbox,
        &format!("{tiny} --steps 1 --out run --overwrite --init {weights}"),
        &["--init run/weights.safetensors", "--out run"],
        &[weights],
    );
    refused(
        &sandbox,
        "pretrain --resume run --steps 2 --json run/weights.safetensors",
        &["--json", "--resume run"],
        &[weights],
    );
    refused(
        &sandbox,
        &format!("{tiny} --steps 1 --data photos --out photos/run"),
        &["--out photos/run", "--data photos", "elsewhere"],
        &[],
    );
    assert!(!sandbox.path("photos/run").exists());
}

#[test]
fn what_would_take_tens_of_gigabytes_is_refused_beforehand() {
    let sandbox = sandbox();
    sandbox.pictures("many", 400);
    let ran = sandbox.run(
        "embed --images many --weights w.safetensors --size 4096 --stride 8 --batch-size 400 --device cpu --out o.npy",
    );
    ran.refused(&["400 pictures at once of 4096 x 4096", "--batch-size"]);
    let ran =
        sandbox.run("match photos/001.png photos/003.jpg --size 4096 --stride 8 --device cpu");
    ran.refused(&["--size 4096", "too many to compare"]);
}

#[test]
fn the_pictures_of_an_index_are_not_replaced() {
    let sandbox = sandbox();
    let embed = "embed --images photos --weights w.safetensors --device cpu --size 32";
    sandbox
        .run(&format!("{embed} --out i.safetensors"))
        .succeeded();
    let search = "search photos/001.png --index i.safetensors --weights w.safetensors --device cpu";
    let before = sandbox.read("photos/007.png");
    let ran = sandbox.run(&format!("{search} --out photos/007.png"));
    ran.refused(&["photos/007.png", "--index i.safetensors holds"]);
    assert!(sandbox.read("photos/007.png") == before);
    // Another file in the pictures' folder is permitted, and a second call may replace it: it is not a
    // picture of the index.
    for _ in 0..2 {
        sandbox
            .run(&format!("{search} --out photos/found.png"))
            .succeeded();
    }
}
