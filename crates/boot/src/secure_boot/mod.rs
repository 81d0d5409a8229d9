//! UEFI Secure Boot: firmware starts only what somebody signed whose certificate it knows (UEFI specification 2.10,
//! chapter 32).
//!
//! ```text
//! Key (file, token) + Certificate = Identity --> sign(EFI program) --> the same program with a signature at its end
//! ```
//!
//! Everything is a value in memory. A signature holds no time and nothing random: signing twice gives the same bytes.

mod authenticode;
mod certificate;
mod der;
mod error;
mod key;
mod pem;
mod pkcs7;
mod public_key;
mod store;
mod token;
mod variables;

use std::path::Path;

pub use authenticode::{Signature, Signed, digest, sign, signatures};
pub use certificate::Certificate;
pub use error::SecureBootError;
pub use key::{Key, PASSPHRASE, PASSPHRASE_FILE, write_private};
pub use public_key::PublicKey;
pub use store::{Enrolment, StoreError, enrol};
pub use token::PIN;
pub use variables::{Guid, Time, Variable, signature_lists, update};

/// `WIN_CERT_REVISION_2_0`
const REVISION: u16 = 0x0200;

/// Who signs: a private key and the certificate that names it.
#[derive(Debug)]
pub struct Identity {
    key: Key,
    certificate: Certificate,
}

impl Identity {
    /// Opens a key ([`Key::open`]) and its certificate.
    ///
    /// # Errors
    /// When one cannot be read, or they do not belong together.
    pub fn open(key: &Path, certificate: &Path) -> Result<Self, SecureBootError> {
        Self::new(Key::open(key)?, Certificate::read(certificate)?)
    }

    /// Puts a key and its certificate together.
    ///
    /// # Errors
    /// When they do not belong together. For a key in a token that shows with the first signature.
    pub fn new(key: Key, certificate: Certificate) -> Result<Self, SecureBootError> {
        match key.public() {
            Some(public) if !certificate.has_key(public) => Err(SecureBootError::Mismatch(certificate.name())),
            _ => Ok(Self { key, certificate }),
        }
    }

    /// Makes a new key and a certificate for it with this common name; returns the key's PEM text too.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn generate(name: &str) -> Result<(Self, String), SecureBootError> {
        let (key, text) = Key::generate()?;
        let public = key
            .public()
            .ok_or_else(|| SecureBootError::Key("it has no public half".to_owned()))?;
        let certificate = Certificate::self_signed(&key, public, name)?;
        Ok((Self { key, certificate }, text))
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Signs, and believes the signature only after it was checked: a token may hold another key, a computer may err.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SecureBootError> {
        let signature = self.key.sign(message)?;
        if self.certificate.verifies(message, &signature) {
            Ok(signature)
        } else {
            Err(SecureBootError::Mismatch(self.certificate.name()))
        }
    }
}
