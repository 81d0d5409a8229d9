//! What a registry wants to be told before it answers (OCI distribution specification; Docker's "Token Authentication
//! Specification" and "OAuth2"). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// What `WWW-Authenticate` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// The answer of a token server; `access_token` is the name of OAuth 2.0 for the same.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Reads `WWW-Authenticate: Bearer realm="…",service="…"` (RFC 9110, 11.6.1), or `None` for a scheme that we do not know.
pub(crate) fn parse_challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameters = parameters(rest);
    let get = |wanted: &str| {
        let found = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.clone())
    };
    Some(Challenge::Bearer {
        realm: get("realm")?,
        service: get("service"),
    })
}

/// `name="value", name=value`: commas inside quotes belong to the value.
fn parameters(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_owned();
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        found.push((name, value.trim().to_owned()));
        text = after;
    }
    found
}

/// The query with which a token is asked for.
pub(crate) fn token_query(service: Option<&str>, scope: &str) -> String {
    let service = service
        .map(|service| format!("service={}&", encode(service)))
        .unwrap_or_default();
    format!("{service}scope={}", encode(scope))
}

/// The form with which an identity token is exchanged.
pub(crate) fn exchange_form(service: Option<&str>, scope: &str, identity: &str) -> String {
    let query = token_query(service, scope);
    format!(
        "grant_type=refresh_token&client_id=mos&{query}&refresh_token={}",
        encode(identity)
    )
}

/// The header value for what a token server answers, or `None` when there is no token in it.
pub(crate) fn bearer(answer: &[u8]) -> Option<String> {
    let token: Token = serde_json::from_slice(answer).ok()?;
    let token = token.token.or(token.access_token).filter(|token| !token.is_empty())?;
    Some(format!("Bearer {token}"))
}

/// The header value for a user name and password (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Percent-encodes a value for a query or a form: everything but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_of_real_registries() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(Into::into),
            })
        };
        for (header, challenge) in [
            ("Basic realm=\"Registry\"", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a:pull,push\"",
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (
                "bearer scope=\"a,b=c\", Realm=\"https://h/t\"",
                bearer("https://h/t", None),
            ),
            ("Bearer realm=https://h/t,service=s", bearer("https://h/t", Some("s"))),
            ("Bearer service=\"s\"", None),
            ("Negotiate abc", None),
            ("", None),
        ] {
            assert_eq!(parse_challenge(header), challenge, "{header}");
        }
    }

    #[test]
    fn tokens_under_either_name() {
        assert_eq!(bearer(br#"{"token":"t","expires_in":60}"#), Some("Bearer t".into()));
        assert_eq!(bearer(br#"{"access_token":"t"}"#), Some("Bearer t".into()));
        assert_eq!(bearer(br#"{"token":""}"#), None);
        assert_eq!(bearer(b"<html>"), None);
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(
            token_query(Some("a b"), "repository:x/y:pull,push"),
            "service=a%20b&scope=repository%3Ax%2Fy%3Apull%2Cpush"
        );
        assert!(exchange_form(None, "s", "i&d").ends_with("&scope=s&refresh_token=i%26d"));
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    proptest! {
        #[test]
        fn any_header_is_taken_without_a_panic(text in "\\PC*") {
            let _ = parse_challenge(&text);
            let _ = parse_challenge(&format!("Bearer {text}"));
        }
    }
}
