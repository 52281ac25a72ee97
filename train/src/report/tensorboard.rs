//! TensorBoard event files: scalars and pictures.
//!
//! An event file is a sequence of TFRecords, each a protobuf `Event`. The few messages needed are
//! declared here with the field numbers of TensorFlow's `event.proto` and `summary.proto`
//! (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto), so that the build
//! does not need protoc.

use std::fs::{File, OpenOptions, create_dir_all};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use densecl::method::Figure;
use prost::Message;

/// `tensorflow.Event`: the content of a record.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since the Unix epoch.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// Only in the first event of a file.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
}

/// `tensorflow.Summary.Image`.
#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// Channels: 3 is RGB.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

/// `tensorflow.SessionLog`; its status 1 is `START`.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Writes one event file.
#[derive(Debug)]
pub struct TensorBoardWriter {
    out: BufWriter<File>,
    path: PathBuf,
    /// The figures that the method measures.
    pub(super) figures: Vec<Figure>,
}

impl TensorBoardWriter {
    /// Starts a new event file `events.out.tfevents.<unix seconds>.densecl` in the folder, which is created if
    /// needed. TensorBoard shows all files of a folder as one run.
    ///
    /// # Errors
    /// If the folder or the file cannot be written.
    pub fn create(dir: &Path) -> Result<Self> {
        create_dir_all(dir)
            .with_context(|| format!("cannot create the folder {}", dir.display()))?;
        let base = format!("events.out.tfevents.{}.densecl", wall_time() as u64);
        let mut path = dir.join(&base);
        let mut attempt = 0;
        // A run and its resume may start within the same second; an existing file must not be appended to.
        let file = loop {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    attempt += 1;
                    path = dir.join(format!("{base}.{attempt}"));
                }
                opened => {
                    break opened.with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
        };
        let mut writer = Self {
            figures: Vec::new(),
            out: BufWriter::new(file),
            path,
        };
        writer.event(0, |event| event.file_version = Some("brain.Event:2".into()))?;
        Ok(writer)
    }

    /// Makes TensorBoard discard values of earlier files from this step on. To be called once, after
    /// [`TensorBoardWriter::create`], with the first step of a resumed run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn purge_from(&mut self, step: u64) -> Result<()> {
        self.event(step, |event| {
            event.session_log = Some(SessionLog { status: 1 })
        })
    }

    /// Adds a value to the series `tag` (`group/name`).
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        let value = Value {
            tag: tag.into(),
            simple_value: Some(value as f32),
            image: None,
        };
        self.event(step, |event| {
            event.summary = Some(Summary { value: vec![value] })
        })
    }

    /// Adds an RGB picture of `width × height` pixels, encoded as PNG, to the series `tag`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn image(
        &mut self,
        tag: &str,
        step: u64,
        png: &[u8],
        width: u32,
        height: u32,
    ) -> Result<()> {
        let image = Image {
            height: i32::try_from(height)?,
            width: i32::try_from(width)?,
            colorspace: 3,
            encoded_image_string: png.to_vec(),
        };
        let value = Value {
            tag: tag.into(),
            simple_value: None,
            image: Some(image),
        };
        self.event(step, |event| {
            event.summary = Some(Summary { value: vec![value] })
        })
    }

    /// Passes buffered data to the operating system. Dropping the writer does so too, but ignores errors.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.out
            .flush()
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Writes one event with the current time, its content set by `fill`.
    fn event(&mut self, step: u64, fill: impl FnOnce(&mut Event)) -> Result<()> {
        let mut event = Event {
            wall_time: wall_time(),
            step: i64::try_from(step)?,
            ..Event::default()
        };
        fill(&mut event);
        write_record(&mut self.out, &event.encode_to_vec())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Seconds since the Unix epoch; 0 if the clock is set before it.
fn wall_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}

/// Writes a TFRecord: length (u64), masked CRC of the length (u32), data, masked CRC of the data
/// (u32), little-endian. Source: tensorflow/core/lib/io/record_writer.h.
fn write_record(out: &mut impl Write, data: &[u8]) -> std::io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked_crc(data).to_le_bytes())
}

/// Masked CRC-32C: rotated and offset, because the CRC of data that contains its own CRCs is weak
/// (tensorflow/core/lib/hash/crc32c.h).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses the events of a file, checking every length and checksum.
    fn events(path: &Path) -> Vec<Event> {
        let bytes = std::fs::read(path).expect("a readable file");
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes"));
            assert_eq!(rest[8..12], masked_crc(&rest[..8]).to_le_bytes());
            let end = 12 + length as usize;
            let data = &rest[12..end];
            assert_eq!(rest[end..end + 4], masked_crc(data).to_le_bytes());
            events.push(Event::decode(data).expect("an event"));
            rest = &rest[end + 4..];
        }
        events
    }

    #[test]
    fn the_checksum_is_crc_32c_masked() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        // ((crc >> 15) | (crc << 17)) + 0xa282ead8, computed by hand.
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }

    #[test]
    fn a_record_is_framed_as_tensorflow_does() {
        // The first record of every event file: length 24, `09` + the wall time, `1a 0d` + the version.
        let event = Event {
            file_version: Some("brain.Event:2".into()),
            wall_time: 1.0,
            ..Event::default()
        };
        let mut record = Vec::new();
        write_record(&mut record, &event.encode_to_vec()).expect("memory can be written");
        assert_eq!(record.len(), 8 + 4 + 24 + 4);
        assert_eq!(record[..8], [24, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            record[12..23],
            [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x1a, 0x0d]
        );
        assert_eq!(record[23..36], *b"brain.Event:2");
        // The masked checksum of the length 24, as it stands in files written by TensorFlow.
        assert_eq!(record[8..12], [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut writer = TensorBoardWriter::create(&dir.path().join("tb")).expect("a new file");
        writer.purge_from(7).expect("written");
        writer.scalar("loss/total", 7, 6.25).expect("written");
        writer.scalar("loss/total", 8, f64::NAN).expect("written");
        writer
            .image("matches", 8, b"not a png", 30, 20)
            .expect("written");
        writer.flush().expect("written");
        let path = writer.path.clone();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(
            name.starts_with("events.out.tfevents.") && name.ends_with("densecl"),
            "{name}"
        );

        let events = events(&path);
        assert_eq!(events.len(), 5);
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!(
            (events[1].step, &events[1].session_log),
            (7, &Some(SessionLog { status: 1 }))
        );
        let value = |i: usize| &events[i].summary.as_ref().expect("a summary").value[0];
        assert_eq!((events[2].step, value(2).simple_value), (7, Some(6.25)));
        assert_eq!(value(2).tag, "loss/total");
        assert!(value(3).simple_value.expect("a scalar").is_nan());
        let image = value(4).image.as_ref().expect("a picture");
        assert_eq!((image.width, image.height, image.colorspace), (30, 20, 3));
        assert_eq!(image.encoded_image_string, b"not a png");
        assert!(events.iter().all(|event| event.wall_time > 1.6e9));
    }

    #[test]
    fn two_writers_of_one_second_do_not_share_a_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let writers: Vec<_> = (0..3)
            .map(|_| TensorBoardWriter::create(dir.path()).expect("a new file"))
            .collect();
        let files = std::fs::read_dir(dir.path()).expect("a folder").count();
        assert_eq!(files, writers.len());
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("taken");
        std::fs::write(&file, "").expect("a file");
        let error = TensorBoardWriter::create(&file.join("tb")).expect_err("not a folder");
        assert!(format!("{error:#}").contains("taken"), "{error:#}");
    }
}
