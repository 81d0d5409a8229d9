//! PEM (RFC 7468): base64 between two lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Characters on a line.
const LINE: usize = 64;

pub(super) fn encode(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(LINE) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

/// The first block with this label. What stands before and after it is ignored, as everybody does.
pub(super) fn decode(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_as_it_went_in() {
        for length in [0, 1, 48, 49, 500] {
            let bytes: Vec<u8> = (0..length).map(|number: u16| number as u8).collect();
            let text = format!("Bag Attributes\n{}trailing", encode("X", &bytes));
            assert_eq!(decode(&text, "X"), Some(bytes));
            assert!(text.lines().all(|line| line.len() <= LINE));
        }
        assert_eq!(decode("-----BEGIN X-----\n!!\n-----END X-----", "X"), None);
        assert_eq!(decode("-----BEGIN X-----\nAAAA", "X"), None);
    }
}
