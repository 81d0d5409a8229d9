//! Private RSA keys: in a PEM file, or in a token that only `pkcs11-tool` talks to.
//!
//! Signing is PKCS #1 v1.5 with SHA-256, which every firmware knows, and which gives the same signature each time.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};

use super::token::Token;
use super::{SecureBootError, pem};

/// The variable with the passphrase of an encrypted key file.
pub const PASSPHRASE: &str = "MOS_KEY_PASSPHRASE";

/// The variable that names a file with the passphrase.
pub const PASSPHRASE_FILE: &str = "MOS_KEY_PASSPHRASE_FILE";

/// Bits of a new key: some firmware takes no other in PK, KEK and db.
const BITS: &str = "rsa_keygen_bits:2048";

/// Largest key file that is looked at, in bytes: far above any RSA key.
const MAX_FILE: u64 = 64 << 10;

const PKCS8: &str = "PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";

/// What makes and decrypts keys.
const OPENSSL: &str = "openssl";

/// A private key that can sign.
pub struct Key(Source);

enum Source {
    Memory(RsaKeyPair),
    Token(Token),
}

/// Never the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Memory(_) => f.write_str("Key(RSA)"),
            Source::Token(token) => f.debug_tuple("Key").field(token).finish(),
        }
    }
}

impl Key {
    /// Opens a key: a PEM file (PKCS #8 or PKCS #1), or a token named by a `pkcs11:` address (RFC 7512).
    ///
    /// An encrypted file is decrypted by `openssl`, with the passphrase from [`PASSPHRASE`] or [`PASSPHRASE_FILE`].
    ///
    /// # Errors
    /// When there is no such key, others can read it, or it is no RSA key with 2048 to 4096 bits.
    pub fn open(address: &Path) -> Result<Self, SecureBootError> {
        match address.to_str().filter(|text| text.starts_with("pkcs11:")) {
            Some(text) => Ok(Self(Source::Token(Token::parse(text)?))),
            None => read(address).map_err(SecureBootError::at(address)),
        }
    }

    /// A key from PEM that is not encrypted.
    ///
    /// # Errors
    /// When it is no RSA key with 2048 to 4096 bits.
    pub fn from_pem(text: &str) -> Result<Self, SecureBootError> {
        let pair = match (pem::decode(text, PKCS8), pem::decode(text, PKCS1)) {
            (Some(der), _) => RsaKeyPair::from_pkcs8(&der),
            (None, Some(der)) => RsaKeyPair::from_der(&der),
            (None, None) => return Err(SecureBootError::Pem { label: PKCS8 }),
        };
        let pair = pair.map_err(|error| SecureBootError::Key(error.to_string()))?;
        Ok(Self(Source::Memory(pair)))
    }

    /// Makes a new key of 2048 bits, with the PEM text to keep (PKCS #8). `openssl` makes it.
    ///
    /// # Errors
    /// When `openssl` is missing or fails.
    pub fn generate() -> Result<(Self, String), SecureBootError> {
        let mut command = Command::new(OPENSSL);
        command.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", BITS]);
        let text = run(OPENSSL, &mut command)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok((Self::from_pem(&text)?, text))
    }

    /// Signs a message.
    ///
    /// # Errors
    /// When the token does not.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SecureBootError> {
        match &self.0 {
            Source::Token(token) => token.sign(message),
            Source::Memory(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                // The random numbers blind the computation; the result does not depend on them.
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| SecureBootError::Key("signing failed".to_owned()))?;
                Ok(signature)
            }
        }
    }

    /// The public half (RSAPublicKey, RFC 8017), unless a token keeps the key.
    pub fn public(&self) -> Option<&[u8]> {
        match &self.0 {
            Source::Memory(pair) => Some(pair.public_key().as_ref()),
            Source::Token(_) => None,
        }
    }
}

fn read(path: &Path) -> Result<Key, SecureBootError> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecureBootError::Exposed { mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("ENCRYPTED") {
        return Key::from_pem(&decrypt(path)?);
    }
    Key::from_pem(&text)
}

/// The key stays in memory: `openssl` writes to a pipe.
fn decrypt(path: &Path) -> Result<String, SecureBootError> {
    let source = match (std::env::var_os(PASSPHRASE), std::env::var_os(PASSPHRASE_FILE)) {
        (Some(_), _) => format!("env:{PASSPHRASE}").into(),
        (None, Some(file)) => {
            let mut source = std::ffi::OsString::from("file:");
            source.push(file);
            source
        }
        (None, None) => {
            let what = format!("it is encrypted, and neither {PASSPHRASE} nor {PASSPHRASE_FILE} is set");
            return Err(SecureBootError::Key(what));
        }
    };
    let mut command = Command::new(OPENSSL);
    command.args(["pkey", "-in"]).arg(path).arg("-passin").arg(source);
    let text = run(OPENSSL, &mut command)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Runs a program; returns what it printed. Its error messages hold no secret: it got none as an argument.
pub(super) fn run(program: &'static str, command: &mut Command) -> Result<Vec<u8>, SecureBootError> {
    let failed = |reason: String| SecureBootError::Tool { program, reason };
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed(format!("is missing; install the package {}", package(program))),
        _ => failed(error.to_string()),
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(failed(format!("{} ({said})", output.status)))
}

fn package(program: &str) -> &str {
    if program == OPENSSL { program } else { "opensc" }
}

/// Writes a private key where no other user can read it, and never over another.
///
/// # Errors
/// When the file is there already, or cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<(), SecureBootError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(SecureBootError::at(path))
}
