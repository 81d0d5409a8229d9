//! What can go wrong with signing.

use std::io;
use std::path::{Path, PathBuf};

use super::der::DerError;
use crate::pe::PeError;

/// Why something could not be signed, read or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecureBootError {
    /// The EFI program.
    #[error("{0}")]
    Pe(#[from] PeError),
    /// The EFI program cannot carry a signature, or its signatures are damaged.
    #[error("the EFI program {0}")]
    Image(&'static str),
    /// The EFI program has signatures, and was changed since.
    #[error("the EFI program was changed after `{signer}` signed it: sign the unsigned file anew")]
    Changed {
        /// Whom the signature names.
        signer: String,
    },
    /// A certificate.
    #[error("not an X.509 certificate with an RSA key, or damaged: {0}")]
    Certificate(&'static str),
    /// A signature.
    #[error("not a signature with RSA and SHA-256, or damaged: {0}")]
    Signature(&'static str),
    /// A PEM file without what is looked for.
    #[error("no `-----BEGIN {label}-----` is in it, or what follows is damaged")]
    Pem {
        /// What was looked for.
        label: &'static str,
    },
    /// A private key that is none, or not usable.
    #[error("not a private key that can sign for Secure Boot: {0}; RSA with 2048 to 4096 bits is")]
    Key(String),
    /// Key and certificate are of different pairs.
    #[error("the private key does not belong to the certificate of `{0}`")]
    Mismatch(String),
    /// A private key that others can read.
    #[error("others can read this private key (mode {mode:o}); run `chmod 600` on it")]
    Exposed {
        /// Its permission bits.
        mode: u32,
    },
    /// A `pkcs11:` address that names too little or something unknown.
    #[error("`{address}`: {reason} (RFC 7512)")]
    Token {
        /// The address, without a PIN.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A program that was asked to help.
    #[error("{program}: {reason}")]
    Tool {
        /// The program, and the package that has it.
        program: &'static str,
        /// What it said.
        reason: String,
    },
    /// A file.
    #[error("{source}")]
    Io {
        /// What the system said.
        #[from]
        source: io::Error,
    },
    /// Which file it was about.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<SecureBootError>,
    },
}

impl SecureBootError {
    /// Says which file it was.
    pub(super) fn at<E: Into<Self>>(path: &Path) -> impl FnOnce(E) -> Self {
        move |error| Self::InFile {
            path: path.to_owned(),
            source: Box::new(error.into()),
        }
    }

    pub(super) fn certificate(error: DerError) -> Self {
        Self::Certificate(error.0)
    }

    pub(super) fn signature(error: DerError) -> Self {
        Self::Signature(error.0)
    }
}
