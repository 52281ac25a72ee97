//! Reads weights that another program trained, says which tensors are used, and writes them for a third program.
//!
//! ```sh
//! cargo run --release --example convert_weights -- resnet50.pth resnet50.onnx
//! ```

use anyhow::{Context, bail};
use densecl::weights::{Format, Weights};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, out] = arguments.as_slice() else {
        bail!("give a file of weights and the file to write")
    };
    let format = match out.rsplit('.').next() {
        Some("pth") => Format::Torch,
        Some("pkl") => Format::Detectron2,
        Some("onnx") => Format::Onnx,
        Some("safetensors") => Format::Safetensors,
        _ => bail!("{out}: the name must end in .pth, .pkl, .onnx or .safetensors"),
    };
    let bytes = std::fs::read(file).with_context(|| format!("reading {file}"))?;
    // Code in a pickle is never executed. A tensor of unknown purpose is an error.
    let weights = Weights::read(&bytes)?;
    let account = &weights.account;
    println!("{}: {} tensors used", account.layout, account.used.len());
    for (name, reason) in &account.dropped {
        println!("{name} is not used: {reason}");
    }
    let exported = weights.export(format, false)?;
    std::fs::write(out, exported).with_context(|| format!("writing {out}"))?;
    Ok(())
}
