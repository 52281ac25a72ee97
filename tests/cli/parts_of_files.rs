//! `--prefix` and `--ignore`: a part of a file of another program.

use serde_json::Value;

use crate::interop::golden;
use crate::sandbox::Sandbox;

#[test]
fn a_part_of_a_file_is_taken_by_prefix_and_patterns() {
    let sandbox = Sandbox::new();
    sandbox.pictures("p", 2);
    let file = golden("torch/mmpretrain.pth");
    let account = |options: &str| -> Value {
        let ran = sandbox.run(&format!("import {file} {options} --json -"));
        serde_json::from_str(&ran.succeeded().stdout).expect("JSON")
    };
    let reasons = |account: &Value| -> Vec<String> {
        let dropped = account["dropped"].as_array().expect("a list");
        let head = dropped.iter().filter(|one| {
            let key = one["key"].as_str();
            key.is_some_and(|key| key.starts_with("head."))
        });
        head.map(|one| one["reason"].as_str().expect("text").to_string())
            .collect()
    };
    let part = account("--prefix backbone.");
    assert!(part["layout"].as_str().expect("text").contains("backbone"));
    assert_eq!(
        reasons(&part),
        ["its name does not begin with backbone."; 2]
    );
    let part = account("--ignore head.fc.*");
    assert_eq!(reasons(&part), ["ignored, as head.fc.*"; 2]);

    let matches = |options: &str| {
        let run = "match p/below/000.jpg p/001.png --size 64 --out m.png --json - --device cpu";
        let ran = sandbox.run(&format!("{run} --weights {file} {options}"));
        ran.succeeded().stdout
    };
    assert_eq!(matches("--prefix backbone."), matches(""));
    sandbox
        .run(&format!("export {file} --out x.pth --prefix net."))
        .refused(&["mmpretrain.pth cannot be used", "--prefix net.", "its keys"]);
    sandbox
        .run(&format!("export {file} --out x.pth --ignore neck.*"))
        .refused(&["--ignore neck.*"]);
    sandbox
        .pretrain("--steps 1 --out run --set train.init_prefix=x")
        .refused(&["train.init_prefix", "train.init"]);
}
