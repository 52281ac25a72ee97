//! NumPy's file format, version 1.0: a text header, then the values.

/// Bytes before the header's text: magic bytes, version and length of the text.
const PREFIX: usize = 10;
/// Characters reserved for the first axis, as in NumPy, so that the header of a growing file keeps its length.
const GROWTH_DIGITS: usize = 21;

/// The header of a row-major float32 array, padded so that the values begin at a multiple of 64 bytes.
///
/// Its length does not depend on the size of the first axis.
///
/// # Panics
/// When there is no axis, or the text of the shape is longer than 64 KiB.
pub fn header(shape: &[usize]) -> Vec<u8> {
    let rows = shape.first().expect("at least one axis").to_string();
    let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    // Python writes a tuple of one element with a trailing comma.
    let tuple = match axes.as_slice() {
        [one] => format!("({one},)"),
        axes => format!("({})", axes.join(", ")),
    };
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple}, }}");
    text.push_str(&" ".repeat(GROWTH_DIGITS.saturating_sub(rows.len())));
    let padding = (64 - (PREFIX + text.len() + 1) % 64) % 64;
    text.push_str(&" ".repeat(padding));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("a shape of a few axes");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_does_not_depend_on_the_number_of_rows() {
        for shape in [&[0][..], &[7, 512], &[1, 512, 7, 7]] {
            let length = header(shape).len();
            assert!(length.is_multiple_of(64));
            let mut grown = shape.to_vec();
            grown[0] = usize::MAX;
            assert_eq!(header(&grown).len(), length);
        }
        assert!(String::from_utf8_lossy(&header(&[3])).contains("'shape': (3,), }"));
    }
}
