//! Package URLs (the purl specification of ECMA-427).

/// Whose package it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecosystem {
    /// Debian.
    Debian,
    /// Alpine.
    Alpine,
    /// crates.io.
    Cargo,
    /// Nobody's.
    Generic,
}

/// The package URL of a package, with the architecture where it has one.
pub fn purl(ecosystem: Ecosystem, name: &str, version: &str, architecture: Option<&str>) -> String {
    let kind = match ecosystem {
        Ecosystem::Debian => "deb/debian",
        Ecosystem::Alpine => "apk/alpine",
        Ecosystem::Cargo => "cargo",
        Ecosystem::Generic => "generic",
    };
    let architecture = architecture
        .map(|name| format!("?arch={}", encoded(name)))
        .unwrap_or_default();
    format!("pkg:{kind}/{}@{}{architecture}", encoded(name), encoded(version))
}

/// Percent-encoding of everything but letters, digits, `.`, `-`, `_` and `~`.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_and_plus_signs_are_encoded() {
        assert_eq!(
            purl(Ecosystem::Debian, "libstdc++6", "1:1.35.0-4+b7", Some("amd64")),
            "pkg:deb/debian/libstdc%2B%2B6@1%3A1.35.0-4%2Bb7?arch=amd64"
        );
        assert_eq!(
            purl(Ecosystem::Cargo, "serde_json", "1.0.1", None),
            "pkg:cargo/serde_json@1.0.1"
        );
    }
}
