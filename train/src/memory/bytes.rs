//! Byte counts in human-readable form.

use std::fmt;

/// Shows bytes in decimal units: `51.38 MB`.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut number = self.0 as f64;
        if number < 1000.0 {
            return write!(f, "{number:.0} B");
        }
        let mut unit = "";
        for larger in ["k", "M", "G", "T", "P", "E"] {
            if number < 1000.0 {
                break;
            }
            number /= 1000.0;
            unit = larger;
        }
        write!(f, "{number:.2} {unit}B")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_a_thousand() {
        let text = |bytes| Bytes(bytes).to_string();
        assert_eq!(text(0), "0 B");
        assert_eq!(text(999), "999 B");
        assert_eq!(text(1000), "1.00 kB");
        assert_eq!(text(51_380_224), "51.38 MB");
        assert_eq!(text(u64::MAX), "18.45 EB");
    }
}
