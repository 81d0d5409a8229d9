//! Digests as Alpine writes them: `Q1` and base64 of SHA-1, `Q2` and base64 of SHA-256.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

/// A digest of a package, a file, or a set of attributes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checksum {
    /// What format 2 of packages has. Nothing here relies on it alone: see [`crate::LockedPackage::sha256`].
    Sha1([u8; 20]),
    /// What later indexes have.
    Sha256([u8; 32]),
}

impl Checksum {
    /// SHA-1 of these bytes.
    pub fn sha1(bytes: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
        Self::Sha1(digest.as_ref().try_into().expect("SHA-1 has 20 bytes"))
    }

    /// SHA-256 of these bytes.
    pub fn sha256(bytes: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, bytes);
        Self::Sha256(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// True when these bytes have this digest.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let found = match self {
            Self::Sha1(_) => Self::sha1(bytes),
            Self::Sha256(_) => Self::sha256(bytes),
        };
        found == *self
    }

    /// The digest without its kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }
}

/// 64 lower-case hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Checksum::sha256(bytes).as_bytes())
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no checksum: `Q1` or `Q2` and base64 were expected");
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| wrong());
        match text.split_at_checked(2) {
            Some(("Q1", rest)) => decode(rest)?.try_into().map(Self::Sha1).map_err(|_| wrong()),
            Some(("Q2", rest)) => decode(rest)?.try_into().map(Self::Sha256).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Sha1(_) => "Q1",
            Self::Sha256(_) => "Q2",
        };
        write!(f, "{kind}{}", STANDARD.encode(self.as_bytes()))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_read() {
        for text in [
            "Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=",
            "Q2n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
        ] {
            assert_eq!(text.parse::<Checksum>().unwrap().to_string(), text);
        }
        let empty: Checksum = "Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=".parse().unwrap();
        assert!(empty.matches(b""));
        assert!(!empty.matches(b"x"));
        assert_eq!(empty, Checksum::sha1(b""));
        for text in ["", "Q", "Q1", "Q1AAAA", "Q3AAAA", "é", "Q2qKcZ+j23xssAXmgQhkOO8dHnbWw="] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
    }
}
