//! Writing files for `torch.load(weights_only=True)`: a zip archive of a pickle and raw values, as `torch.save`
//! has written it since 1.6.

use std::io::Write;

use rawzip::{ZipArchiveWriter, extra_fields::ExtraFieldId};

use crate::{
    error::{Error, Result},
    foreign::{StateDict, Value, pickle_writer::Pickle},
};

/// The top-level folder of the archive. torch uses the name of the file, or this one when it writes to memory.
const FOLDER: &str = "archive";
/// Version of the layout of the archive.
const VERSION: &[u8] = b"3\n";
/// Raw values begin at multiples of this many bytes, as in torch's files, so that torch can memory-map them.
const ALIGNMENT: u64 = 64;

/// The bytes of the file.
///
/// # Errors
/// [`Error::Format`] when the archive cannot be written.
pub fn write(state_dict: &StateDict) -> Result<Vec<u8>> {
    archive(&state_dict.0).map_err(|e| Error::Format(format!("writing a zip archive: {e}")))
}

fn archive(entries: &[(String, Value)]) -> std::result::Result<Vec<u8>, rawzip::Error> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    add(&mut archive, "data.pkl", &pickle(entries))?;
    add(&mut archive, "byteorder", b"little")?;
    for (index, (_, value)) in entries.iter().enumerate() {
        add(&mut archive, &format!("data/{index}"), &value.le_bytes())?;
    }
    add(&mut archive, "version", VERSION)?;
    archive.finish()
}

/// Adds an uncompressed entry, whose content is aligned.
fn add(
    archive: &mut ZipArchiveWriter<Vec<u8>>,
    name: &str,
    bytes: &[u8],
) -> std::result::Result<(), rawzip::Error> {
    let name = format!("{FOLDER}/{name}");
    // The local header has 30 bytes and the name; the extra field has 4 bytes and the padding.
    let start = archive.stream_offset() + 30 + name.len() as u64 + 4;
    let padding = start.next_multiple_of(ALIGNMENT) - start;
    let builder = archive.new_file(&name).extra_field(
        // The id that torch uses for its padding.
        ExtraFieldId::new(u16::from_le_bytes(*b"FB")),
        &vec![b'Z'; padding as usize],
        rawzip::Header::LOCAL,
    )?;
    let (mut entry, config) = builder.start()?;
    let mut writer = config.wrap(&mut entry);
    writer.write_all(bytes)?;
    let (_, descriptor) = writer.finish()?;
    entry.finish(descriptor)?;
    Ok(())
}

/// The pickle of `{name: tensor}`. Each tensor has its own storage, whose key is the tensor's index.
fn pickle(entries: &[(String, Value)]) -> Vec<u8> {
    let mut pickle = Pickle::new(2);
    pickle.dict(|p| {
        for (index, (name, value)) in entries.iter().enumerate() {
            p.text(name);
            tensor(p, index, value);
        }
    });
    pickle.finish()
}

/// Pushes `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
fn tensor(p: &mut Pickle, index: usize, value: &Value) {
    let class = match value {
        Value::Floats(_) => "FloatStorage",
        Value::Counter(_) => "LongStorage",
    };
    let shape = value.shape();
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    p.global("torch._utils", "_rebuild_tensor_v2");
    p.tuple(|p| {
        p.tuple(|p| {
            p.text("storage");
            p.global("torch", class);
            p.text(&index.to_string());
            p.text("cpu");
            p.size(shape.iter().product());
        });
        p.persistent();
        p.size(0);
        p.sizes(shape);
        p.sizes(&strides);
        p.bool(false);
        p.global("collections", "OrderedDict");
        p.tuple(|_| {});
        p.call();
    });
    p.call();
}
