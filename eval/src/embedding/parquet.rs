//! Writes Apache Parquet: one row per picture or per cell, each feature a list of floats.
//!
//! Rows are buffered and written in row groups of some megabytes, with one page per column. Pages are plain and
//! uncompressed, because the low bits of features do not compress. The metadata structs come from Polars' crate of
//! the Parquet format, which has no dependencies; the official crate would add seven packages and a megabyte for
//! encodings that are not used here.
//!
//! The schema in Parquet's text form:
//!
//! ```text
//! required binary name (STRING);
//! required int32 row; required int32 column;                 where a row is a cell
//! required group stage4 (LIST) { repeated group list { required float element; } }
//! ```

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use polars_parquet_format::thrift::protocol::TCompactOutputProtocol;
use polars_parquet_format::{
    ColumnChunk, ColumnMetaData, CompressionCodec, ConvertedType, DataPageHeader, Encoding,
    FieldRepetitionType, FileMetaData, KeyValue, ListType, LogicalType, PageHeader, PageType,
    RowGroup, SchemaElement, StringType, Type,
};

use super::recipe::Origin;
use super::table::{Column, Table, little_endian};
use super::tensors::ORIGIN;
use densecl_train::files::{AtomicFile, writing};

const MAGIC: &[u8; 4] = b"PAR1";
/// Buffered bytes from which on a row group is written.
const GROUP_BYTES: usize = 8 << 20;

/// Buffered values of one leaf column of the schema.
struct Leaf {
    kind: Type,
    path: Vec<String>,
    /// Numbers per list; `None` for a plain column.
    list: Option<usize>,
    /// Encoded values of the current row group.
    values: Vec<u8>,
}

/// `FILE.parquet`.
pub(super) struct ParquetTable {
    file: BufWriter<AtomicFile>,
    path: PathBuf,
    columns: Vec<Column>,
    cells: bool,
    leaves: Vec<Leaf>,
    origin: String,
    /// Bytes written so far.
    at: usize,
    /// Rows in the current row group.
    pending: usize,
    groups: Vec<RowGroup>,
}

impl ParquetTable {
    pub(super) fn begin(
        file: AtomicFile,
        path: &Path,
        columns: Vec<Column>,
        cells: bool,
        origin: &Origin,
    ) -> anyhow::Result<Self> {
        let leaf = |kind, path: &[&str], list| Leaf {
            kind,
            path: path.iter().map(ToString::to_string).collect(),
            list,
            values: Vec::new(),
        };
        let mut leaves = vec![leaf(Type::BYTE_ARRAY, &["name"], None)];
        if cells {
            leaves.push(leaf(Type::INT32, &["row"], None));
            leaves.push(leaf(Type::INT32, &["column"], None));
        }
        for column in &columns {
            let path = [column.name, "list", "element"];
            leaves.push(leaf(Type::FLOAT, &path, Some(column.shape[0])));
        }
        let mut table = Self {
            file: BufWriter::new(file),
            path: path.to_path_buf(),
            columns,
            cells,
            leaves,
            origin: serde_json::to_string(origin)?,
            at: 0,
            pending: 0,
            groups: Vec::new(),
        };
        table.write(MAGIC)?;
        Ok(table)
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes)?;
        self.at += bytes.len();
        Ok(())
    }

    /// Adds one row: name, row and column of the cell if there is one row per cell, and one list per feature.
    fn add(
        &mut self,
        name: &str,
        place: Option<[usize; 2]>,
        lists: &[&[f32]],
    ) -> anyhow::Result<()> {
        let length = u32::try_from(name.len()).context("a name of 4 GiB")?;
        let mut values = vec![[&length.to_le_bytes(), name.as_bytes()].concat()];
        for side in place.into_iter().flatten() {
            let side = i32::try_from(side).context("a grid of two thousand million cells")?;
            values.push(side.to_le_bytes().to_vec());
        }
        values.extend(lists.iter().map(|list| little_endian(list)));
        for (leaf, values) in self.leaves.iter_mut().zip(values) {
            leaf.values.extend(values);
        }
        self.pending += 1;
        if self
            .leaves
            .iter()
            .map(|leaf| leaf.values.len())
            .sum::<usize>()
            >= GROUP_BYTES
        {
            self.flush_group()?;
        }
        Ok(())
    }

    /// Writes the buffered rows as a row group.
    fn flush_group(&mut self) -> anyhow::Result<()> {
        let rows = self.pending;
        if rows == 0 {
            return Ok(());
        }
        let start = self.at;
        let mut chunks = Vec::new();
        for i in 0..self.leaves.len() {
            let leaf = &mut self.leaves[i];
            let count = rows * leaf.list.unwrap_or(1);
            let levels = leaf
                .list
                .map_or_else(Vec::new, |length| levels(rows, length));
            let values = std::mem::take(&mut leaf.values);
            let (kind, path) = (leaf.kind, leaf.path.clone());

            let offset = self.at;
            let size = int(levels.len() + values.len())?;
            let header = PageHeader {
                type_: PageType::DATA_PAGE,
                uncompressed_page_size: size,
                compressed_page_size: size,
                crc: None,
                data_page_header: Some(DataPageHeader {
                    num_values: int(count)?,
                    encoding: Encoding::PLAIN,
                    definition_level_encoding: Encoding::RLE,
                    repetition_level_encoding: Encoding::RLE,
                    statistics: None,
                }),
                index_page_header: None,
                dictionary_page_header: None,
                data_page_header_v2: None,
            };
            let header = record(|out| header.write_to_out_protocol(out))?;
            for part in [header, levels, values] {
                self.write(&part)?;
            }
            chunks.push(chunk(kind, path, count, offset, self.at - offset));
        }
        self.pending = 0;
        let bytes = (self.at - start) as i64;
        self.groups.push(RowGroup {
            columns: chunks,
            total_byte_size: bytes,
            num_rows: rows as i64,
            sorting_columns: None,
            file_offset: Some(start as i64),
            total_compressed_size: Some(bytes),
            ordinal: i16::try_from(self.groups.len()).ok(),
        });
        Ok(())
    }

    fn complete(&mut self) -> anyhow::Result<()> {
        self.flush_group()?;
        let metadata = FileMetaData {
            version: 1,
            schema: self.schema(),
            num_rows: self.groups.iter().map(|group| group.num_rows).sum(),
            row_groups: std::mem::take(&mut self.groups),
            key_value_metadata: Some(vec![KeyValue {
                key: ORIGIN.to_string(),
                value: Some(self.origin.clone()),
            }]),
            created_by: Some(concat!("densecl ", env!("CARGO_PKG_VERSION")).to_string()),
            column_orders: None,
            encryption_algorithm: None,
            footer_signing_key_metadata: None,
        };
        let footer = record(|out| metadata.write_to_out_protocol(out))?;
        let length = u32::try_from(footer.len()).context("a footer of 4 GiB")?;
        self.write(&footer)?;
        self.write(&length.to_le_bytes())?;
        self.write(MAGIC)
    }

    fn schema(&self) -> Vec<SchemaElement> {
        let plain = self.leaves.iter().filter(|leaf| leaf.list.is_none());
        let plain: Vec<&Leaf> = plain.collect();
        let fields = plain.len() + self.columns.len();
        let mut schema = vec![SchemaElement {
            num_children: Some(fields as i32),
            ..element("schema", None, None)
        }];
        for leaf in plain {
            let mut field = element(&leaf.path[0], Some(leaf.kind), REQUIRED);
            if leaf.kind == Type::BYTE_ARRAY {
                field.converted_type = Some(ConvertedType::UTF8);
                field.logical_type = Some(LogicalType::STRING(StringType {}));
            }
            schema.push(field);
        }
        for column in &self.columns {
            schema.push(SchemaElement {
                num_children: Some(1),
                converted_type: Some(ConvertedType::LIST),
                logical_type: Some(LogicalType::LIST(ListType {})),
                ..element(column.name, None, REQUIRED)
            });
            schema.push(SchemaElement {
                num_children: Some(1),
                ..element("list", None, Some(FieldRepetitionType::REPEATED))
            });
            schema.push(element("element", Some(Type::FLOAT), REQUIRED));
        }
        schema
    }
}

impl Table for ParquetTable {
    fn row(&mut self, name: &str, features: &[&[f32]]) -> anyhow::Result<()> {
        if !self.cells {
            return self.add(name, None, features);
        }
        let vectors: Vec<_> = self.columns[0].vectors(features[0]).collect();
        for (place, vector) in vectors {
            self.add(name, Some(place), &[&vector])?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<Vec<PathBuf>> {
        self.complete().with_context(|| writing(&self.path))?;
        let file = self.file.into_inner().map_err(|e| e.into_error());
        file.with_context(|| writing(&self.path))?.commit()?;
        Ok(vec![self.path])
    }
}

const REQUIRED: Option<FieldRepetitionType> = Some(FieldRepetitionType::REQUIRED);

fn element(
    name: &str,
    kind: Option<Type>,
    repetition: Option<FieldRepetitionType>,
) -> SchemaElement {
    SchemaElement {
        type_: kind,
        type_length: None,
        repetition_type: repetition,
        name: name.to_string(),
        num_children: None,
        converted_type: None,
        scale: None,
        precision: None,
        field_id: None,
        logical_type: None,
    }
}

/// Metadata of a leaf column in one row group.
fn chunk(kind: Type, path: Vec<String>, count: usize, offset: usize, bytes: usize) -> ColumnChunk {
    ColumnChunk {
        file_path: None,
        file_offset: offset as i64,
        meta_data: Some(ColumnMetaData {
            type_: kind,
            encodings: vec![Encoding::PLAIN, Encoding::RLE],
            path_in_schema: path,
            codec: CompressionCodec::UNCOMPRESSED,
            num_values: count as i64,
            total_uncompressed_size: bytes as i64,
            total_compressed_size: bytes as i64,
            key_value_metadata: None,
            data_page_offset: offset as i64,
            index_page_offset: None,
            dictionary_page_offset: None,
            statistics: None,
            encoding_stats: None,
            bloom_filter_offset: None,
            bloom_filter_length: None,
            size_statistics: None,
        }),
        offset_index_offset: None,
        offset_index_length: None,
        column_index_offset: None,
        column_index_length: None,
        crypto_metadata: None,
        encrypted_column_metadata: None,
    }
}

/// Repetition and definition levels of `rows` lists of `length` ≥ 1 numbers. A repetition level is 0 at the start of
/// a list and else 1; definition levels are 1. Both are runs in the RLE hybrid encoding, prefixed by their length in
/// bytes.
fn levels(rows: usize, length: usize) -> Vec<u8> {
    let mut list = Vec::new();
    run(&mut list, 1, 0);
    if length > 1 {
        run(&mut list, length - 1, 1);
    }
    let repetition = list.repeat(rows);
    let mut definition = Vec::new();
    run(&mut definition, rows * length, 1);
    [repetition, definition]
        .iter()
        .flat_map(|runs| [&(runs.len() as u32).to_le_bytes(), runs.as_slice()].concat())
        .collect()
}

/// Appends an RLE run of `count` times the one-bit `level`.
fn run(out: &mut Vec<u8>, count: usize, level: u8) {
    // Lowest bit 0 marks an RLE run. The header is LEB128: seven bits per byte, lowest first.
    let mut header = (count as u64) << 1;
    while header >= 0x80 {
        out.push(header as u8 | 0x80);
        header >>= 7;
    }
    out.extend([header as u8, level]);
}

/// Serialises a struct in Thrift's compact protocol.
fn record(
    write: impl FnOnce(
        &mut TCompactOutputProtocol<&mut Vec<u8>>,
    ) -> polars_parquet_format::thrift::Result<usize>,
) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut out = TCompactOutputProtocol::new(&mut bytes);
    write(&mut out).map_err(|error| anyhow!("encoding a record of Parquet failed: {error}"))?;
    Ok(bytes)
}

/// Converts a count or size in a page header.
fn int(value: usize) -> anyhow::Result<i32> {
    i32::try_from(value).context("a page of Parquet would be over 2 GiB")
}
