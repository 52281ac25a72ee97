//! `densecl import FILE`: reads weights of another program, and lists what became of each tensor.

use std::path::Path;

use anyhow::{Context, bail};
use densecl::error::first_names;
use densecl::weights::{Account, FilePrecision, Weights};
use serde_json::{Value, json};

use crate::cli;
use crate::console;
use densecl_train::files::write_atomically;
use densecl_train::weights::{by_reason, read_quietly};

/// Imports the weights, and prints the list.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &cli::Import) -> anyhow::Result<()> {
    let cli::Import {
        file,
        out,
        json,
        half,
        stride_in_1x1,
        part,
    } = args;
    if let Some(out) = out {
        let extension = out.extension().unwrap_or_default();
        if !extension.eq_ignore_ascii_case("safetensors") {
            bail!(
                "--out {}: weights are written as safetensors; give a name that ends in .safetensors",
                out.display()
            );
        }
    }
    let mut weights = read_quietly(file, &part.into())?;
    if *stride_in_1x1 {
        weights = weights.with_stride_in_1x1().context("--stride-in-1x1")?;
    }
    if let Some(out) = out {
        let precision = if *half {
            FilePrecision::Half
        } else {
            FilePrecision::F32
        };
        write_atomically(out, &weights.to_bytes(precision)?)?;
    }
    let to_stdout = json.as_deref() == Some(Path::new("-"));
    if let Some(json) = json {
        let text = serde_json::to_string_pretty(&report(args, &weights))? + "\n";
        if to_stdout {
            console::print(&text)?;
        } else {
            write_atomically(json, text.as_bytes())?;
        }
    }
    if !to_stdout {
        console::print(&table(file, &weights))?;
    }
    if let Some(out) = out {
        console::note(format_args!("written: {}", out.display()));
    }
    Ok(())
}

/// Number of names shown of each kind; `--json` lists all.
const SHOWN: usize = 2;

fn table(file: &Path, weights: &Weights) -> String {
    let Weights { info, account, .. } = weights;
    let Account {
        container,
        layout,
        under,
        used,
        dropped,
        beside,
        absent,
    } = account;
    let mut text = String::new();
    let mut row = |what: &str, says: String| text += &format!("{what:<9} {says}\n");
    row("file", file.display().to_string());
    row("packed by", container.to_string());
    row("layout", layout.to_string());
    row("network", info.model.describe());
    let place = match under.as_str() {
        "" => String::new(),
        under => format!(" under `{under}`"),
    };
    row("tensors", format!("{}{place}", used.len() + dropped.len()));
    let example = used.iter().find(|(key, name)| key != name).or(used.first());
    let example = example.map_or(String::new(), |(key, name)| {
        format!(", e.g. {key} -> {name}")
    });
    row("used", format!("{}{example}", used.len()));
    for (reason, keys) in by_reason(account) {
        row(
            "dropped",
            format!("{}, {reason}: {}", keys.len(), first_names(&keys, SHOWN)),
        );
    }
    if !absent.is_empty() {
        row("lacking", absent.join(", "));
    }
    if !beside.is_empty() {
        let names: Vec<&str> = beside.iter().map(String::as_str).collect();
        row("not read", names.join(", "));
    }
    text
}

fn report(args: &cli::Import, weights: &Weights) -> Value {
    let Weights { info, account, .. } = weights;
    let used = account
        .used
        .iter()
        .map(|(key, name)| json!({"key": key, "name": name}));
    let dropped = account.dropped.iter();
    let dropped = dropped.map(|(key, why)| json!({"key": key, "reason": why.to_string()}));
    json!({
        "file": args.file,
        "out": args.out,
        "packed_by": account.container.to_string(),
        "layout": account.layout.to_string(),
        "model": info.model,
        "method": info.method,
        "steps": info.steps,
        "under": account.under,
        "used": used.collect::<Vec<_>>(),
        "dropped": dropped.collect::<Vec<_>>(),
        "lacking": account.absent,
        "not_read": account.beside,
    })
}
