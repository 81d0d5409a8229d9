//! Public RSA keys.

use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use super::certificate::key_info;
use super::der::{Reader, tag};
use super::{SecureBootError, pem};

const LABEL: &str = "PUBLIC KEY";

/// A public key, in the encoding RSAPublicKey (RFC 8017).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(pub(super) Vec<u8>);

impl PublicKey {
    /// Reads a key from PEM (SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// When there is none.
    pub fn from_pem(text: &str) -> Result<Self, SecureBootError> {
        let der = pem::decode(text, LABEL).ok_or(SecureBootError::Pem { label: LABEL })?;
        let key = || {
            let mut info = Reader(&der).take(tag::SEQUENCE)?.open();
            info.take(tag::SEQUENCE)?;
            info.take(tag::BIT_STRING)
        };
        let bits = key().map_err(SecureBootError::certificate)?.content;
        // The first byte says how many bits at the end are unused: none.
        Ok(Self(bits.get(1..).unwrap_or_default().to_vec()))
    }

    /// The key as PEM (SubjectPublicKeyInfo).
    pub fn pem(&self) -> String {
        pem::encode(LABEL, &key_info(&self.0))
    }

    /// SHA-256 of the key, as hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.0))
    }

    /// Whether the private half made this signature (PKCS #1 v1.5, SHA-256).
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.0);
        key.verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secure_boot::Identity;

    #[test]
    fn a_key_comes_out_as_it_went_in_and_verifies() {
        let (identity, _) = Identity::generate("test").unwrap();
        let key = identity.certificate().public_key();
        assert_eq!(PublicKey::from_pem(&key.pem()).unwrap(), key);
        let signature = identity.sign(b"message").unwrap();
        assert!(key.verifies(b"message", &signature));
        assert!(!key.verifies(b"another", &signature));
        assert!(PublicKey::from_pem("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n").is_err());
    }
}
