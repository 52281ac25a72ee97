//! Tells the linker to export `__wasm_call_ctors`, so that the page calls it, once.
//!
//! It runs what CubeCL and the crates below it register before they are used. If nobody refers to it, the linker takes the
//! module for a program that is entered once, and puts a call to it in front of every exported function. In the module for a
//! GPU that took more than half a second of each picture.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo::rustc-link-arg-cdylib=--export=__wasm_call_ctors");
    }
}
