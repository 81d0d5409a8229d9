//! `https`: the authorities that are believed, and what is wrong with a server's certificate.

use crate::{Authorities, Read, StoreError};
use jiff::Timestamp;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Largest file of authorities that is read, in bytes; Debian's has 220 KiB.
const LARGEST_FILE: u64 = 8 << 20;

/// TLS that believes these authorities, for this crate's stores and for whoever else speaks `https` with ureq. When they are only needed for a redirect to `https`, a missing file is no error:
/// then nobody is believed.
///
/// # Errors
/// [`StoreError::NoAuthority`].
pub fn config(address: &str, authorities: &Authorities, needed: bool) -> Result<TlsConfig, StoreError> {
    let roots = match read(authorities) {
        Err(reason) if needed => {
            return Err(StoreError::NoAuthority {
                address: address.into(),
                reason: format!("{}: {reason}; {}", authorities.file.display(), authorities.hint),
            });
        }
        roots => roots.unwrap_or_default(),
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn read(authorities: &Authorities) -> Result<Vec<Certificate<'static>>, String> {
    let mut pem = Vec::new();
    let file = File::open(&authorities.file).map_err(|error| error.to_string())?;
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut pem)
        .map_err(|error| error.to_string())?;
    if pem.len() as u64 > LARGEST_FILE {
        return Err(format!(
            "larger than {LARGEST_FILE} bytes, which no list of authorities is"
        ));
    }
    certificates(&pem)
}

/// The certificates of a PEM file, at least one of which can be used.
fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        // The parser's own words are those of a programmer.
        match item.map_err(|_| "a block in it is cut off or not Base64")? {
            PemItem::Certificate(certificate) => found.push(certificate),
            _ => return Err("it has something other than certificates in it".into()),
        }
    }
    let der = found.iter().map(|certificate| certificate.der().into());
    match RootCertStore::empty().add_parsable_certificates(der) {
        (0, _) => Err("there is no certificate in it that can be used".into()),
        _ => Ok(found),
    }
}

/// What this error says about the server's certificate, if it is about that.
pub(crate) fn refusal(store: &dyn Read, authorities: &Authorities, error: &ureq::Error) -> Option<StoreError> {
    match rustls_error(error)? {
        rustls::Error::InvalidCertificate(fault) => Some(about(store.address(), authorities, fault)),
        rustls::Error::InvalidMessage(_) => Some(StoreError::unreachable(
            store,
            "what answers does not speak https (TLS) on this port",
        )),
        _ => None,
    }
}

fn rustls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn about(address: String, authorities: &Authorities, fault: &CertificateError) -> StoreError {
    let out_of_date = |reason| StoreError::OutOfDate {
        address: address.clone(),
        reason,
    };
    match fault {
        CertificateError::ExpiredContext { time, not_after } => out_of_date(format!(
            "expired at {}, and the clock here says {}; renew it, or set the clock",
            shown(*not_after),
            shown(*time)
        )),
        CertificateError::NotValidYetContext { time, not_before } => out_of_date(format!(
            "is valid from {}, and the clock here says {}; set the clock",
            shown(*not_before),
            shown(*time)
        )),
        other => StoreError::Untrusted {
            reason: untrusted(authorities, other),
            address,
        },
    }
}

fn untrusted(authorities: &Authorities, fault: &CertificateError) -> String {
    let Authorities { file, hint } = authorities;
    match fault {
        // The second: it names one of the authorities that has not signed it.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("no authority in {} vouches for it; {hint}", file.display())
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = match presented.as_slice() {
                [] => "no host".to_owned(),
                names => names.join(", ").escape_debug().to_string(),
            };
            format!("it is for {names}, not for {}", host(expected))
        }
        other => format!("{other} (authorities: {}); {hint}", file.display()),
    }
}

fn host(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

/// In UTC.
fn shown(time: UnixTime) -> String {
    let timestamp = i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(|| format!("second {}", time.as_secs()), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_of_authorities_is_said() {
        for (pem, reason) in [
            ("", "no certificate in it that can be used"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "no certificate in it that can be used",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "other than certificates",
            ),
            ("-----BEGIN CERTIFICATE-----\nAA", "cut off"),
        ] {
            let error = certificates(pem.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{pem}: {error}");
        }
    }

    #[test]
    fn times_are_for_people() {
        let time = |seconds| shown(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)));
        assert_eq!(time(31_536_000), "1971-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), format!("second {}", u64::MAX));
    }
}
