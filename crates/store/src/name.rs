//! Names of objects.

use crate::StoreError;
use mos_sys::durable::TEMPORARY_PREFIX;

/// Longest name in bytes: what S3 allows ("Creating object key names").
const MAX_LENGTH: usize = 1024;
/// Longest part between slashes in bytes: room for the prefix of an unfinished file within Linux's 255 (`NAME_MAX`).
const MAX_PART: usize = 200;

/// Refuses names that could leave the store, or that not every backend can keep: empty, absolute, with empty parts,
/// with `.` or `..`, with control characters or backslashes, too long, or of unfinished files.
pub(crate) fn check(name: &str) -> Result<(), StoreError> {
    if !name.is_empty() && name.len() <= MAX_LENGTH && name.split('/').all(good_part) {
        Ok(())
    } else {
        Err(StoreError::BadName(name.escape_debug().to_string()))
    }
}

fn good_part(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
        && part.len() <= MAX_PART
        && !part.starts_with(TEMPORARY_PREFIX)
        && !part.contains(|c: char| c.is_control() || c == '\\')
}

/// A name as it stands in the path of a URL: everything but RFC 3986's unreserved characters and the slash is
/// percent-encoded.
pub(crate) fn to_url_path(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The first byte of the digest that names a blob (`blobs/ab/ab12…`), or `None` for an object that is no blob.
pub(crate) fn blob_byte(name: &str) -> Option<u8> {
    let (folder, digits) = name.strip_prefix("blobs/")?.split_once('/')?;
    (is_digest(digits) && digits.get(..2)? == folder).then(|| u8::from_str_radix(folder, 16).ok())?
}

/// True for objects whose name tells their content: they never change.
#[cfg(feature = "routes")]
pub(crate) fn is_immutable(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    is_digest(file.split('.').next().unwrap_or_default())
}

/// 64 lower-case hexadecimal digits.
fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        let long = "a".repeat(MAX_PART + 1);
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a\\b",
            "a\0",
            "a\nb",
            "x/.tmp-1-0-y",
            &long,
        ] {
            assert!(matches!(check(bad), Err(StoreError::BadName(_))), "{bad:?}");
        }
        for good in ["release.json", "blobs/ab/ab12", "a b", "ä", "...", ".hidden"] {
            check(good).unwrap();
        }
    }

    #[cfg(feature = "routes")]
    #[test]
    fn blobs_are_told_from_other_objects() {
        let digits = format!("ab{}", "12".repeat(31));
        assert_eq!(blob_byte(&format!("blobs/ab/{digits}")), Some(0xab));
        assert_eq!(blob_byte(&format!("blobs/ac/{digits}")), None);
        assert_eq!(blob_byte(&format!("flists/ab/{digits}")), None);
        assert_eq!(blob_byte("blobs/ab/ab12"), None);
        assert!(is_immutable(&format!("flists/{digits}.fl")) && is_immutable(&format!("blobs/ab/{digits}")));
        assert!(!is_immutable("release.json") && !is_immutable(&digits.to_uppercase()));
    }

    #[test]
    fn url_paths_are_percent_encoded() {
        assert_eq!(to_url_path("a b/ü?#%"), "a%20b/%C3%BC%3F%23%25");
    }
}
