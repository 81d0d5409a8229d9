//! What all logs together may take.

const MIB: u64 = 1024 * 1024;
/// The least that can be asked for, in bytes: some pages for each of a few services.
const LEAST: u64 = MIB;

/// Limits over all services, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of memory.
    pub memory: u64,
    /// Of files.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 * MIB,
            files: 256 * MIB,
        }
    }
}

/// Reads a size: bytes, or with `K`, `M` or `G` behind the number units of 1024, its square or its cube.
///
/// # Errors
/// When it is none, or less than 1 MiB.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1024),
        Some(b'M' | b'm') => (&text[..text.len() - 1], MIB),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1024 * MIB),
        _ => (text, 1),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|bytes| *bytes >= LEAST)
        .ok_or_else(|| format!("`{text}` is no size of at least 1M; expected bytes, or a number with K, M or G"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            (size("3145728"), size("2M"), size("1g")),
            (Ok(3 * MIB), Ok(2 * MIB), Ok(1024 * MIB))
        );
        for text in ["", "M", "1", "9K", "-1M", "1.5M", "99999999999G"] {
            assert!(size(text).is_err_and(|error| error.contains("no size")), "{text}");
        }
    }
}
