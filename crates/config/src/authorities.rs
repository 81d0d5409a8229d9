//! PEM files (RFC 7468) with the certificates of authorities that may vouch for a channel's server: checked before they
//! get into an image, where a mistake would show as a node that reaches nothing.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mos_toml::{Position, Problem, Problems};

use crate::repository::Repository;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const CERTIFICATE: &str = "CERTIFICATE";

/// Checks every file that an environment names as `ca`. `read` gives a file of the repository.
pub(crate) fn check_authorities(
    repository: &Repository,
    read: &dyn Fn(&str) -> io::Result<String>,
    problems: &Problems,
) {
    let mut seen = Vec::new();
    for item in repository.environments.values().flat_map(|environment| &environment.ca) {
        match read(&item.value) {
            Ok(_) if seen.contains(&&item.value) => {}
            Ok(text) => check_pem(&item.value, &text, problems),
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", item.value);
                problems.push(Problem::error(Some(item.position.clone()), message));
            }
        }
        seen.push(&item.value);
    }
}

/// Reports what is wrong with a PEM file that should hold certificates and nothing else.
fn check_pem(file: &str, text: &str, problems: &Problems) {
    let complain = |line: usize, message: String| {
        let position = Position {
            file: file.to_owned(),
            line: line + 1,
            column: 1,
        };
        problems.push(Problem::error(Some(position), message).with_hint(
            "a PEM file of authorities has blocks from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----",
        ));
    };
    let mut lines = text.lines().map(str::trim_end).enumerate();
    let mut found = false;
    while let Some((first, line)) = lines.next() {
        let Some(label) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES)) else {
            continue;
        };
        found = true;
        let body: Vec<(usize, &str)> = lines.by_ref().take_while(|(_, line)| !line.starts_with(END)).collect();
        let end = first + body.len() + 1;
        let last = text.lines().nth(end).map(str::trim_end);
        if label != CERTIFICATE {
            complain(first, format!("this is a {}, not a certificate", label.escape_debug()));
        } else if last != Some("-----END CERTIFICATE-----") {
            complain(first, "this certificate has no end".to_owned());
        } else if let Err((line, message)) = check_body(first, &body) {
            complain(line, message.to_owned());
        }
    }
    if !found {
        complain(0, "there is no certificate in this file".to_owned());
    }
}

/// Base64 of one DER value: a SEQUENCE that is exactly as long as it says (X.690, 8.1.3 and 8.9).
fn check_body(first: usize, body: &[(usize, &str)]) -> Result<(), (usize, &'static str)> {
    let foreign = |line: &str| {
        !line
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    if let Some((line, _)) = body.iter().find(|(_, line)| foreign(line)) {
        return Err((*line, "this line of a certificate is not Base64"));
    }
    let text: String = body.iter().map(|(_, line)| *line).collect();
    let der = STANDARD.decode(text).map_err(|_| {
        (
            first,
            "this certificate is not Base64: characters are missing or too many",
        )
    })?;
    match sequence_length(&der) {
        Some(length) if length == der.len() => Ok(()),
        _ => Err((first, "this certificate is damaged: it is not one whole DER sequence")),
    }
}

/// The length of a DER sequence with its head.
fn sequence_length(der: &[u8]) -> Option<usize> {
    let (0x30, length) = (*der.first()?, usize::from(*der.get(1)?)) else {
        return None;
    };
    let Some(digits) = length.checked_sub(0x80) else {
        return Some(length + 2);
    };
    // Certificates beyond 16 MiB do not exist.
    if !(1..=3).contains(&digits) {
        return None;
    }
    let value = der.get(2..2 + digits)?;
    Some(value.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) + 2 + digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problems(text: &str) -> String {
        let problems = Problems::default();
        check_pem("keys/ca.pem", text, &problems);
        problems.to_string()
    }

    fn block(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn certificates_with_comments_between_are_fine() {
        let text = format!(
            "# ours\n{}\n# theirs\r\n{}",
            block(CERTIFICATE, "MAA="),
            block(CERTIFICATE, "MAEA")
        );
        assert_eq!(problems(&text), "");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = block(CERTIFICATE, "MAA=");
        for (text, expected) in [
            (String::new(), "keys/ca.pem:1:1: there is no certificate"),
            (
                good.clone() + &block("PRIVATE KEY", "MAA="),
                "keys/ca.pem:4:1: this is a PRIVATE KEY",
            ),
            (
                good.clone() + "-----BEGIN CERTIFICATE-----\nMAA=\n",
                "keys/ca.pem:4:1: this certificate has no end",
            ),
            (
                good.clone() + &block(CERTIFICATE, "MA!="),
                "keys/ca.pem:5:1: this line of a certificate is not Base64",
            ),
            (
                good.clone() + &block(CERTIFICATE, "MAA"),
                "keys/ca.pem:4:1: this certificate is not Base64",
            ),
            (
                block(CERTIFICATE, "MAIA"),
                "keys/ca.pem:1:1: this certificate is damaged",
            ),
            (
                block(CERTIFICATE, "BAA="),
                "keys/ca.pem:1:1: this certificate is damaged",
            ),
        ] {
            let said = problems(&text);
            assert!(said.contains(expected), "{text}\n{said}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "(-----BEGIN CERTIFICATE-----\n|-----END CERTIFICATE-----\n|[A-Za-z=]{0,5}\n|.)*") {
            problems(&text);
        }
    }
}
