//! `embed` in its four output formats.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use polars_parquet_format::thrift::protocol::TCompactInputProtocol;
use polars_parquet_format::{FileMetaData, PageHeader};
use serde_json::Value;

use crate::sandbox::{SafeTensors, Sandbox};

/// Pictures in the sandbox.
pub(crate) const COUNT: usize = 12;

/// A folder of pictures, and weights of a tiny network.
pub(crate) fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pretrain("--steps 1 --out run").succeeded();
    sandbox.pictures("photos", COUNT as u32);
    sandbox
}

pub(crate) const EMBED: &str =
    "embed --images photos --weights run/weights.safetensors --device cpu --size 64";

/// A feature read from a safetensors file.
#[derive(Debug, PartialEq)]
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    /// The values of each row.
    fn rows(&self) -> Vec<&[f32]> {
        self.values
            .chunks_exact(self.values.len() / self.shape[0])
            .collect()
    }
}

fn bytes_of(file: &SafeTensors, name: &str) -> (Vec<usize>, Vec<u8>) {
    let entry = &file.header[name];
    let numbers = |key: &str| -> Vec<usize> {
        serde_json::from_value(entry[key].clone()).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    let offsets = numbers("data_offsets");
    (numbers("shape"), file.data[offsets[0]..offsets[1]].to_vec())
}

fn tensor(sandbox: &Sandbox, file: &str, name: &str) -> Tensor {
    let file = SafeTensors::parse(&sandbox.read(file));
    assert_eq!(file.header[name]["dtype"], "F32");
    let (shape, bytes) = bytes_of(&file, name);
    let values = floats(&bytes);
    Tensor { shape, values }
}

fn names(sandbox: &Sandbox, file: &str) -> Vec<String> {
    let file = SafeTensors::parse(&sandbox.read(file));
    assert_eq!(file.header["names"]["dtype"], "U8");
    serde_json::from_slice(&bytes_of(&file, "names").1).expect("a list of names")
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|v| f32::from_le_bytes(*v)).collect()
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{a} and {b}");
    }
}

#[test]
fn every_format_holds_the_same_numbers_under_the_same_names() {
    let sandbox = sandbox();
    let run = |rest: &str| sandbox.run(&format!("{EMBED} {rest}")).succeeded();
    let report = run("--out f.safetensors --feature stage4,global --json -");
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON alone");
    assert_eq!(
        (report["rows"].as_u64(), &report["skipped"]),
        (Some(COUNT as u64), &Value::Array(vec![]))
    );
    assert_eq!(report["features"][1]["shape"], serde_json::json!([128]));
    let (stage4, global) = (
        tensor(&sandbox, "f.safetensors", "stage4"),
        tensor(&sandbox, "f.safetensors", "global"),
    );
    // Stage 4 of a ResNet-10 of width 8 has 8 · 8 channels.
    assert_eq!(
        (&stage4.shape[..], &global.shape[..]),
        (&[COUNT, 64][..], &[COUNT, 128][..])
    );
    let names = names(&sandbox, "f.safetensors");
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!((names.len(), &names), (COUNT, &sorted));
    assert!(names.contains(&"below/000.jpg".to_string()), "{names:?}");

    run("--out f.npy");
    let npy = sandbox.read("f.npy");
    let length = usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let header = str::from_utf8(&npy[10..10 + length]).expect("text");
    assert!(
        header.contains(&format!("'shape': ({COUNT}, 64), ")),
        "{header}"
    );
    assert_eq!(floats(&npy[10 + length..]), stage4.values);
    assert_eq!(sandbox.text("f.txt").lines().collect::<Vec<_>>(), names);

    run("--out f.csv --feature stage4,global");
    let csv = sandbox.text("f.csv");
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    assert_eq!(
        (header[0], header[1], header[65], header.len()),
        ("name", "stage4_0", "global_0", 193)
    );
    for (i, line) in lines.enumerate() {
        let (name, numbers) = line.split_once(',').expect("a name");
        let numbers: Vec<f32> = numbers
            .split(',')
            .map(|n| n.parse().expect("a number"))
            .collect();
        assert_eq!(name, names[i]);
        assert_eq!(numbers, [stage4.rows()[i], global.rows()[i]].concat());
    }
    assert_eq!(csv.lines().count(), 1 + COUNT);

    run("--out f.parquet --feature stage4,global");
    let columns = parquet_columns(&sandbox.read("f.parquet"));
    assert_eq!(columns.len(), 3);
    let (path, values) = &columns[0];
    let lengths = names.iter().map(|name| name.len() as u32);
    let plain = names
        .iter()
        .zip(lengths)
        .flat_map(|(name, length)| [&length.to_le_bytes(), name.as_bytes()].concat());
    assert_eq!((path.as_str(), values), ("name", &plain.collect()));
    for ((path, page), (name, tensor)) in columns[1..]
        .iter()
        .zip([("stage4", &stage4), ("global", &global)])
    {
        assert_eq!(*path, format!("{name}.list.element"));
        // The values follow the repetition and definition levels.
        let (_, page) = page.split_at(page.len() - 4 * tensor.values.len());
        assert_eq!(floats(page), tensor.values, "{name}");
    }
}

/// The path of each Parquet column and the bytes of its only page, found by the file's metadata.
fn parquet_columns(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    assert_eq!(
        (&bytes[..4], &bytes[bytes.len() - 4..]),
        (&b"PAR1"[..], &b"PAR1"[..])
    );
    let end = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[end..end + 4].try_into().expect("4 bytes")) as usize;
    let footer = &bytes[end - length..end];
    let mut footer = TCompactInputProtocol::new(footer, usize::MAX);
    let file = FileMetaData::read_from_in_protocol(&mut footer).expect("a footer");
    assert_eq!((file.num_rows, file.row_groups.len()), (COUNT as i64, 1));
    let chunks = file.row_groups[0].columns.iter();
    let page = chunks.map(|chunk| {
        let chunk = chunk.meta_data.as_ref().expect("an account of the chunk");
        let start = chunk.data_page_offset as usize;
        let chunk_bytes = &bytes[start..start + chunk.total_compressed_size as usize];
        let mut header = TCompactInputProtocol::new(chunk_bytes, usize::MAX);
        let header = PageHeader::read_from_in_protocol(&mut header).expect("a page");
        let size = header.compressed_page_size as usize;
        assert_eq!(
            header.data_page_header.expect("a data page").num_values as i64,
            chunk.num_values
        );
        let values = chunk_bytes[chunk_bytes.len() - size..].to_vec();
        (chunk.path_in_schema.join("."), values)
    });
    page.collect()
}

#[test]
fn cells_pool_to_the_mean_and_batches_change_nothing() {
    let sandbox = sandbox();
    let run = |rest: &str| sandbox.run(&format!("{EMBED} {rest}")).succeeded();
    let features = "--feature stage3,dense,stage3+stage4,global --stride 16";
    run(&format!("--out mean.safetensors {features} --batch-size 5"));
    run(&format!("--out one.safetensors {features} --batch-size 1"));
    run(&format!("--out cells.safetensors {features} --pool none"));
    for (name, channels) in [("stage3", 32), ("dense", 128), ("stage3+stage4", 96)] {
        let mean = tensor(&sandbox, "mean.safetensors", name);
        assert_close(
            &mean.values,
            &tensor(&sandbox, "one.safetensors", name).values,
        );
        let cells = tensor(&sandbox, "cells.safetensors", name);
        assert_eq!(cells.shape, [COUNT, channels, 4, 4]);
        let pooled: Vec<f32> = cells
            .values
            .chunks_exact(16)
            .map(|channel| channel.iter().sum::<f32>() / 16.0)
            .collect();
        assert_close(&pooled, &mean.values);
    }
    let global = tensor(&sandbox, "cells.safetensors", "global");
    assert_eq!(global.shape, [COUNT, 128], "the global head has no cells");

    // At output stride 32 both stages are on stage 3's finer grid, and each stage's part has unit length.
    run("--out fused.safetensors --feature stage3+stage4 --stride 32 --pool none");
    let fused = tensor(&sandbox, "fused.safetensors", "stage3+stage4");
    assert_eq!(fused.shape, [COUNT, 96, 4, 4]);
    for picture in fused.rows() {
        for (half, channels) in [(&picture[..32 * 16], 32), (&picture[32 * 16..], 64)] {
            let of_cell = (0..channels).map(|c| half[c * 16 + 5]);
            let length: f32 = of_cell.map(|v| v * v).sum();
            assert!((length - 1.0).abs() < 1e-4, "{length}");
        }
    }

    run("--out unit.safetensors --feature global --unit-length");
    for row in tensor(&sandbox, "unit.safetensors", "global").rows() {
        let length: f32 = row.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }

    run("--out cells.csv --feature dense --stride 16 --pool none");
    let dense = tensor(&sandbox, "cells.safetensors", "dense");
    let text = sandbox.text("cells.csv");
    assert!(text.starts_with("name,row,column,dense_0,"));
    // Row 1, column 2 of the first picture, counted from 0: a header line and a row of four cells come before.
    let line = text.lines().nth(1 + 4 + 2).expect("a cell");
    assert!(
        line.starts_with("001.png,1,2,") || line.contains(",1,2,"),
        "{line}"
    );
    let numbers: Vec<f32> = line
        .split(',')
        .skip(3)
        .map(|n| n.parse().expect("a number"))
        .collect();
    let expected: Vec<f32> = (0..128).map(|c| dense.values[c * 16 + 6]).collect();
    assert_eq!(numbers, expected);
    assert_eq!(text.lines().count(), 1 + COUNT * 16);
}

#[test]
fn what_does_not_decode_is_left_out_and_told() {
    let sandbox = sandbox();
    sandbox.write("photos/000_broken.jpg", "no picture");
    let ran = sandbox
        .run(&format!("{EMBED} --out f.npy --json report.json"))
        .succeeded();
    assert!(
        ran.stderr
            .contains("skipped photos/000_broken.jpg: not a JPEG"),
        "{}",
        ran.stderr
    );
    let report = sandbox.json("report.json");
    assert_eq!(report["rows"], COUNT);
    assert_eq!(report["skipped"][0]["path"], "photos/000_broken.jpg");
    assert!(!sandbox.text("f.txt").contains("broken"));

    let refused = sandbox.run(&format!("{EMBED} --out g.npy --max-bad-share 0"));
    refused.refused(&[
        "1 of 13 files do not decode",
        "--max-bad-share",
        "000_broken.jpg",
    ]);
    sandbox.write("bad/a.jpg", "no picture");
    sandbox
        .run("embed --images bad --weights run/weights.safetensors --out g.npy --device cpu")
        .refused(&["none of the 1 files decodes", "a.jpg"]);
    // Neither the output nor a partial file is left.
    let left: Vec<String> = sandbox
        .names("")
        .into_iter()
        .filter(|n| n.contains("partial") || n.starts_with("g."))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[cfg(unix)]
#[test]
fn an_interrupted_command_leaves_what_was_there() {
    let sandbox = sandbox();
    sandbox.write("f.safetensors", "old");
    sandbox.write("many.txt", "photos/001.png\n".repeat(20_000));
    let mut child = sandbox
        .command(&EMBED.replace("photos", "many.txt"))
        .args(["--out", "f.safetensors", "--batch-size", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("UTF-8").starts_with("device:")));
    crate::sandbox::interrupt(child.id());
    let rest: Vec<String> = lines.map(|line| line.expect("UTF-8")).collect();
    assert_eq!(child.wait().expect("ended").code(), Some(130), "{rest:?}");
    assert!(
        rest.iter().any(|line| line.contains("nothing is written")),
        "{rest:?}"
    );
    assert_eq!(sandbox.text("f.safetensors"), "old");
    assert!(
        sandbox
            .names("")
            .iter()
            .all(|name| !name.contains("partial"))
    );
}

#[test]
fn names_are_quoted_where_they_have_to_be() {
    let sandbox = sandbox();
    let bytes = sandbox.read("photos/001.png");
    sandbox.write("odd/a, \"b\".png", &bytes);
    sandbox.write("odd/ä.png", &bytes);
    let embed = EMBED.replace("photos", "odd");
    sandbox.run(&format!("{embed} --out f.csv")).succeeded();
    assert!(sandbox.text("f.csv").contains("\n\"a, \"\"b\"\".png\","));
    assert!(sandbox.text("f.csv").contains("\nä.png,"));
    #[cfg(unix)]
    {
        sandbox.write("odd/new\nline.png", &bytes);
        sandbox
            .run(&format!("{embed} --out f.safetensors"))
            .succeeded();
        assert_eq!(names(&sandbox, "f.safetensors")[1], "new\nline.png");
        sandbox.run(&format!("{embed} --out g.npy")).succeeded();
        let text = sandbox.text("g.txt");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, ["a, \"b\".png", "\"new\\nline.png\"", "ä.png"]);
    }
}

#[test]
fn what_cannot_be_done_is_refused_in_a_line() {
    let sandbox = sandbox();
    for (rest, parts) in [
        (
            "--out f.txt",
            &["--out f.txt", ".safetensors, .npy, .csv or .parquet"][..],
        ),
        ("--out f.npy --feature stage4,global", &["one array"]),
        (
            "--out f.csv --feature stage4,dense --pool none",
            &["a row is a cell"],
        ),
        ("--out f.npy --feature stage4,stage4", &["stage4", "twice"]),
        ("--out f.npy --stride 4", &["--stride 4", "8, 16 or 32"]),
        (
            "--out f.npy --max-bad-share 2",
            &["--max-bad-share 2", "between 0 and 1"],
        ),
        ("--out no/f.npy", &["no/f.npy"]),
    ] {
        sandbox.run(&format!("{EMBED} {rest}")).refused(parts);
    }
    let sized = EMBED.replace("--size 64", "--size 8");
    sandbox
        .run(&format!("{sized} --out f.npy"))
        .refused(&["--size 8", "32 and 4096"]);
    let absent = EMBED.replace("photos", "nowhere");
    sandbox
        .run(&format!("{absent} --out f.npy"))
        .refused(&["nowhere does not exist"]);
    let weights = EMBED.replace("run/weights.safetensors", "photos/001.png");
    sandbox
        .run(&format!("{weights} --out f.npy"))
        .refused(&["photos/001.png cannot be used"]);
    assert!(!sandbox.path("f.npy").exists());
}
