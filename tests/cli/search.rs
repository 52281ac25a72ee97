//! `search` in an index that `embed` wrote.

use serde_json::Value;

use crate::embed::{COUNT, EMBED, sandbox};
use crate::sandbox::SafeTensors;

const SEARCH: &str = "search --weights run/weights.safetensors --device cpu";

#[test]
fn a_picture_finds_itself_and_others() {
    let sandbox = sandbox();
    sandbox
        .run(&format!(
            "{EMBED} --out f.safetensors --feature dense,global,stage3+stage4"
        ))
        .succeeded();
    let ran = sandbox.run(&format!(
        "{SEARCH} photos/003.jpg --index f.safetensors --k 3 --out found.png --json found.json"
    ));
    let ran = ran.succeeded();
    assert_eq!(ran.stdout.lines().count(), 3, "{}", ran.stdout);
    assert!(
        ran.stdout
            .lines()
            .next()
            .expect("a line")
            .ends_with("photos/003.jpg")
    );
    let found = sandbox.json("found.json");
    assert_eq!(
        (&found["feature"], &found["rows"]),
        (&Value::from("dense"), &Value::from(COUNT))
    );
    let found = found["found"].as_array().expect("a list").clone();
    assert_eq!(found[0]["name"], "003.jpg");
    let scores: Vec<f64> = found
        .iter()
        .map(|f| f["score"].as_f64().expect("a score"))
        .collect();
    assert!(
        scores[0] > 0.999 && scores.is_sorted_by(|a, b| a >= b),
        "{scores:?}"
    );
    let ran = sandbox.run(&format!(
        "{SEARCH} photos/003.jpg --index f.safetensors --k 1 --feature stage3+stage4"
    ));
    let best = ran.succeeded().stdout;
    assert!(best.trim_end().ends_with("photos/003.jpg"), "{best}");
    assert!(best.starts_with(" 1.0000"), "{best}");
    // One row with the query and the three pictures found.
    let sheet = sandbox.picture("found.png");
    assert_eq!(
        sheet.dimensions(),
        (12 + 4 * (192 + 12), 12 + 192 + 22 + 12)
    );

    // After the indexed pictures have been moved, the search still finds their names and draws gaps for them.
    std::fs::rename(sandbox.path("photos"), sandbox.path("moved")).expect("moved");
    let command = format!(
        "{SEARCH} moved/003.jpg --index f.safetensors --feature global --json - --out g.png"
    );
    let ran = sandbox.run(&command).succeeded();
    assert!(ran.stderr.contains("--images says where"), "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON alone");
    assert_eq!(report["found"].as_array().expect("a list").len(), 10);
    let ran = sandbox
        .run(&format!("{command} --images moved"))
        .succeeded();
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
}

#[test]
fn an_index_of_something_else_is_refused() {
    let sandbox = sandbox();
    sandbox
        .run(&format!("{EMBED} --out f.safetensors"))
        .succeeded();
    let search = format!("{SEARCH} photos/003.jpg --index");

    sandbox
        .pretrain("--steps 1 --out other --seed 5")
        .succeeded();
    sandbox
        .run(&format!(
            "{} photos/003.jpg --index f.safetensors",
            SEARCH.replace("run/", "other/")
        ))
        .refused(&[
            "other/weights.safetensors are not the weights of f.safetensors",
            "run/weights.safetensors",
        ]);
    for feature in ["global", "stage3", "stage3+stage4"] {
        sandbox
            .run(&format!("{search} f.safetensors --feature {feature}"))
            .refused(&[&format!("--feature {feature}"), "it has stage4"]);
    }
    sandbox
        .run(&format!(
            "{EMBED} --out fused.safetensors --feature stage3+stage4"
        ))
        .succeeded();
    for feature in ["stage3", "stage4"] {
        sandbox
            .run(&format!("{search} fused.safetensors --feature {feature}"))
            .refused(&[&format!("--feature {feature}"), "it has stage3+stage4"]);
    }
    // An index whose header names another feature than its vectors were made with.
    let mut mixed = SafeTensors::parse(&sandbox.read("fused.safetensors"));
    let header = mixed.header.to_string().replace("stage3+stage4", "stage4");
    mixed.header = serde_json::from_str(&header).expect("still JSON");
    sandbox.write("mixed.safetensors", mixed.to_bytes());
    sandbox
        .run(&format!("{search} mixed.safetensors"))
        .refused(&["no vectors of 64 numbers called stage4"]);
    sandbox
        .run(&format!("{EMBED} --out cells.safetensors --pool none"))
        .succeeded();
    sandbox
        .run(&format!("{search} cells.safetensors"))
        .refused(&["--pool mean"]);

    sandbox
        .run(&format!("{search} run/weights.safetensors"))
        .refused(&[
            "run/weights.safetensors cannot be used as index",
            "not one of `densecl embed`",
        ]);
    let whole = sandbox.read("f.safetensors");
    for length in [0, 4, 100, whole.len() - 1] {
        sandbox.write("cut.safetensors", &whole[..length]);
        sandbox
            .run(&format!("{search} cut.safetensors"))
            .refused(&["cut.safetensors cannot be used", "truncated"]);
    }
    let mut file = SafeTensors::parse(&whole);
    file.header["stage4"]["shape"] = serde_json::json!([6, 128]);
    sandbox.write("shape.safetensors", file.to_bytes());
    sandbox
        .run(&format!("{search} shape.safetensors"))
        .refused(&["--pool mean"]);
    sandbox
        .run(&format!("{search} nowhere.safetensors"))
        .refused(&["nowhere.safetensors cannot be used"]);
    sandbox
        .run(&format!(
            "{SEARCH} run/weights.safetensors --index f.safetensors"
        ))
        .refused(&["not a JPEG"]);
}
