//! Private keys.

use super::{KeyError, KeyId, PublicKey, in_file, io_error, pem_block, read_text};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signer as _, SigningKey};
use mos_sys::durable;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const PRIVATE_LABEL: &str = "PRIVATE KEY";
/// Permission bits that let others read a private key.
const OTHERS: u32 = 0o077;

/// A key with its private half. Never shown; wiped from memory when dropped.
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// A new key from the kernel's random source.
    ///
    /// # Errors
    /// What the system says when it has no randomness to give.
    pub fn generate() -> io::Result<Self> {
        let mut secret = [0; 32];
        // Up to 256 bytes come in one piece once the source is seeded (getrandom(2)).
        let length = rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())?;
        if length < secret.len() {
            return Err(io::Error::other("the kernel's random source gave too few bytes"));
        }
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// Reads a PEM text (`PRIVATE KEY`).
    ///
    /// # Errors
    /// [`KeyError`]: no PEM, or another kind of key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let pem = pem_block(text, PRIVATE_LABEL)?;
        SigningKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(|_| KeyError::NotEd25519(PRIVATE_LABEL))
    }

    /// The PEM text.
    pub fn to_pem(&self) -> String {
        let bytes = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        bytes
            .to_pkcs8_pem(LineEnding::LF)
            .expect("a 32-byte key always has an encoding")
            .to_string()
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// [`KeyError`], naming the file; [`KeyError::Exposed`] when others can read it.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let metadata = std::fs::metadata(path).map_err(|source| io_error(path, source))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(KeyError::Exposed {
                path: path.display().to_string(),
                mode,
            });
        }
        Self::from_pem(&read_text(path)?).map_err(|error| in_file(path, error))
    }

    /// Writes both halves, the private one readable by its owner only. Existing files are kept: a lost key cannot be
    /// replaced on nodes that trust it.
    ///
    /// # Errors
    /// [`KeyError::Io`].
    pub fn write(&self, private: &Path, public: &Path) -> Result<(), KeyError> {
        for path in [private, public] {
            if path.exists() {
                return Err(io_error(path, io::ErrorKind::AlreadyExists.into()));
            }
        }
        durable::write(private, self.to_pem().as_bytes(), 0o600).map_err(|source| io_error(private, source))?;
        let pem = self.public().to_pem();
        durable::write(public, pem.as_bytes(), 0o644).map_err(|source| io_error(public, source))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The name of the key.
    pub fn id(&self) -> KeyId {
        self.public().id()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.id())
    }
}
