//! The known result that the browser's self-test compares a device with.
//!
//! `core/src/self_test.json` holds the CPU's result. After an intended change of the computation,
//! `DENSECL_WRITE_GOLDEN=1 cargo test --release --test self_test` writes it anew. If this test fails without
//! such a change, the code is wrong, not the file.

use std::fs;
use std::path::Path;

use densecl::self_test::{TOLERANCE, answer, deviation};
use densecl_tests::network::cpu;
use serde_json::json;

/// Allowed difference between compilers and processors; the backends' features agree to 4e-6.
const ROUNDING: f32 = 1e-4;

#[test]
fn the_cpu_gives_the_known_answer() {
    if std::env::var_os("DENSECL_WRITE_GOLDEN").is_some() {
        let [features, similarity] = pollster::block_on(answer(&cpu())).expect("the CPU answers");
        let golden = json!({ "features": rounded(&features), "similarity": rounded(&similarity) });
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/self_test.json");
        fs::write(path, format!("{golden}\n")).expect("the source tree can be written");
        return; // this program still contains the old file
    }
    let found = pollster::block_on(deviation(&cpu())).expect("the CPU answers");
    assert!(found <= ROUNDING, "{found}");
    const { assert!(ROUNDING < TOLERANCE) };
}

/// Rounds to 1e-5, a hundredth of the tolerance, to keep the file small: the browser downloads it.
fn rounded(values: &[f32]) -> Vec<f64> {
    let round = |value: &f32| (f64::from(*value) * 1e5).round() / 1e5;
    values.iter().map(round).collect()
}
