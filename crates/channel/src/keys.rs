//! Ed25519 keys (RFC 8032) as PEM: the private half as PKCS#8 (RFC 5958, version 1, which every OpenSSL reads), the
//! public half as SubjectPublicKeyInfo (RFC 8410).

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use sha2::Digest as _;
use std::fmt;
use std::str::FromStr;

#[cfg(feature = "publish")]
mod pair;

#[cfg(feature = "publish")]
pub use pair::KeyPair;

/// Largest PEM file that is looked at, in bytes: far above any Ed25519 key.
const MAX_PEM: usize = 16 << 10;
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// Why a key could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is no PEM at all, or has no end.
    #[error("not a PEM file: a line `-----BEGIN …-----` and its end are expected")]
    NotPem,
    /// PEM of something else.
    #[error("the file holds `{found}`, not `{expected}`: {hint}")]
    WrongKind {
        /// The label expected.
        expected: &'static str,
        /// The label found.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// The right label around something else.
    #[error("the `{0}` in the file is not an Ed25519 key, or is damaged; `mos keys new` makes one")]
    NotEd25519(&'static str),
    /// A key file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A private key that others can read.
    #[error("{path}: others can read this private key (mode {mode:o}); run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// What is wrong with the key in a file.
    #[error("{path}: {source}")]
    InFile {
        /// The file.
        path: String,
        /// What is wrong.
        source: Box<KeyError>,
    },
}

/// The name of a key: SHA-256 of its 32 public bytes, shown in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "a key id is 64 hexadecimal digits".to_owned())?;
        Ok(Self(bytes))
    }
}

/// The public half of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a PEM text (`PUBLIC KEY`).
    ///
    /// # Errors
    /// [`KeyError`]: no PEM, another kind of key, or a weak one.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let pem = pem_block(text, PUBLIC_LABEL)?;
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyError::NotEd25519(PUBLIC_LABEL))?;
        // Signatures of a weak key can be valid for many messages (RFC 8032, 5.1.7; `verify_strict` refuses them too).
        if key.is_weak() {
            Err(KeyError::NotEd25519(PUBLIC_LABEL))
        } else {
            Ok(Self(key))
        }
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// [`KeyError`], naming the file.
    pub fn read(path: &std::path::Path) -> Result<Self, KeyError> {
        Self::from_pem(&read_text(path)?).map_err(|error| in_file(path, error))
    }

    /// The PEM text.
    pub fn to_pem(&self) -> String {
        use ed25519_dalek::pkcs8::EncodePublicKey as _;
        use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
        self.0
            .to_public_key_pem(LineEnding::LF)
            .expect("a 32-byte key always has an encoding")
    }

    /// The name of the key.
    pub fn id(&self) -> KeyId {
        KeyId(sha2::Sha256::digest(self.0.as_bytes()).into())
    }

    /// True when this key made the signature, by the strict rules (no second signature of the same message passes).
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
            .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// The PEM block of a text, which must have this label.
fn pem_block<'a>(text: &'a str, expected: &'static str) -> Result<&'a str, KeyError> {
    let start = text
        .find("-----BEGIN ")
        .filter(|_| text.len() <= MAX_PEM)
        .ok_or(KeyError::NotPem)?;
    let block = &text[start..];
    let (label, _) = block["-----BEGIN ".len()..]
        .split_once("-----")
        .ok_or(KeyError::NotPem)?;
    if label != expected {
        let (found, hint) = (label.escape_debug().take(60).collect(), hint(expected, label));
        return Err(KeyError::WrongKind { expected, found, hint });
    }
    let end = format!("-----END {expected}-----");
    let length = block.find(&end).ok_or(KeyError::NotPem)? + end.len();
    Ok(&block[..length])
}

fn hint(expected: &str, found: &str) -> &'static str {
    match (expected, found) {
        (PUBLIC_LABEL, "PRIVATE KEY") => "this is the private half; give the .pub file, and keep this one secret",
        (_, "PUBLIC KEY") => "this is the public half; give the .key file",
        (_, "ENCRYPTED PRIVATE KEY") => "decrypt it first, for example with `openssl pkey -in FILE`",
        (_, "OPENSSH PRIVATE KEY") => "SSH keys do not sign releases; `mos keys new` makes a fitting one",
        (_, "CERTIFICATE") => "a bare key is needed, not a certificate; `mos keys new` makes one",
        _ => "`mos keys new` makes a fitting one",
    }
}

fn read_text(path: &std::path::Path) -> Result<String, KeyError> {
    std::fs::read_to_string(path).map_err(|source| io_error(path, source))
}

fn io_error(path: &std::path::Path, source: std::io::Error) -> KeyError {
    KeyError::Io {
        path: path.display().to_string(),
        source,
    }
}

fn in_file(path: &std::path::Path, error: KeyError) -> KeyError {
    KeyError::InFile {
        path: path.display().to_string(),
        source: Box::new(error),
    }
}
