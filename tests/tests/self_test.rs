//! The known answer by which a browser's device is judged.
//!
//! `core/src/self_test.json` holds what the CPU computes. After a change of what is asked,
//! `DENSECL_WRITE_GOLDEN=1 cargo test --release --test self_test` writes it anew; a change that was not
//! meant must not need that.

use std::fs;
use std::path::Path;

use densecl::self_test::{TOLERANCE, answer, deviation};
use densecl_tests::network::cpu;
use serde_json::json;

/// How far compilers and processors may be apart: the backends agree to 4e-6 on features.
const ROUNDING: f32 = 1e-4;

#[test]
fn the_cpu_gives_the_known_answer() {
    if std::env::var_os("DENSECL_WRITE_GOLDEN").is_some() {
        let [features, similarity] = pollster::block_on(answer(&cpu())).expect("the CPU answers");
        let golden = json!({ "features": rounded(&features), "similarity": rounded(&similarity) });
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/self_test.json");
        fs::write(path, format!("{golden}\n")).expect("the source tree can be written");
        return; // what was compiled in is the old answer
    }
    let found = pollster::block_on(deviation(&cpu())).expect("the CPU answers");
    assert!(found <= ROUNDING, "{found}");
    const { assert!(ROUNDING < TOLERANCE) };
}

/// To 1e-5, a hundredth of the tolerance: the browser downloads these numbers.
fn rounded(values: &[f32]) -> Vec<f64> {
    let round = |value: &f32| (f64::from(*value) * 1e5).round() / 1e5;
    values.iter().map(round).collect()
}
