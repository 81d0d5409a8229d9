//! Which certificate authorities are believed about servers.

use std::path::PathBuf;

/// Where Debian's package `ca-certificates` puts all authorities in one file.
const HOST_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A PEM file with the certificates of those who may vouch for servers (`https://`, `s3s://`). It is read when a store
/// that needs it is opened; none are compiled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// The file.
    pub file: PathBuf,
    /// What somebody can do whose server is not in it; ends messages.
    pub hint: String,
}

impl Default for Authorities {
    /// This host's: the file that `SSL_CERT_FILE` names, as in OpenSSL (`SSL_CTX_set_default_verify_paths`(3)), or else
    /// Debian's.
    fn default() -> Self {
        let set = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty());
        Self {
            file: set.map_or_else(|| HOST_FILE.into(), PathBuf::from),
            hint:
                "install the package ca-certificates, or name a PEM file with the server's authority in SSL_CERT_FILE"
                    .into(),
        }
    }
}
