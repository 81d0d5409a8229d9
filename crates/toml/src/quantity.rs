//! Numbers of bytes as people write them.

use crate::{Problem, Table, Value};

/// The units, in bytes. What ends in `iB` stands before what it ends with.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl Table<'_> {
    /// A number of bytes, if the key is there: `"16 MB"`, `"1.5 GiB"`, or a whole number. Not zero.
    pub fn bytes(&self, key: &'static str) -> Option<u64> {
        let node = self.value(key)?;
        let (bytes, text) = match &node.value {
            Value::Integer(number) => (
                u64::try_from(*number).ok().filter(|bytes| *bytes > 0),
                number.to_string(),
            ),
            _ => {
                let text = self.string(key)?;
                (parse_bytes(&text), text)
            }
        };
        if bytes.is_none() {
            let problem = Problem::error(Some(self.position_of(key)), format!("`{text}` is no number of bytes"));
            self.report(problem.with_hint("write it like 16 MB, 15.5 MiB; there are kB, MB, GB, KiB, MiB, GiB"));
        }
        bytes
    }
}

/// Reads `16 MB`, `1.5GiB`; not zero.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let (whole, fraction) = number.trim().split_once('.').unwrap_or((number.trim(), "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / u128::from(scale);
    let bytes = u128::from(whole.parse::<u64>().ok()?) * u128::from(unit) + part;
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_have_units() {
        for (text, bytes) in [
            ("16 MB", 16_000_000),
            ("1.5 MiB", 1_572_864),
            ("7MiB", 7 << 20),
            ("0.5 kB", 500),
            ("7 B", 7),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "16",
            "0 MB",
            "-1 MB",
            "1.MB",
            "1e3 kB",
            "16 Mb",
            "16 KB",
            "9999999999 GiB",
        ] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
