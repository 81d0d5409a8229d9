//! Public keys that are trusted, and the signatures of indexes and packages: RSA with PKCS#1 v1.5 padding (RFC 8017,
//! section 8.2) over the compressed bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey,
};

use crate::AlpineError;
use crate::archive::{self, Limits};
use crate::gzip::SIGNATURE_MAX;

/// How the file of a key ends.
const KEY_ENDING: &str = ".rsa.pub";
/// `SEQUENCE { OID 1.2.840.113549.1.1.1 (rsaEncryption), NULL }` (RFC 3279, section 2.3.1).
const RSA_ENCRYPTION: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// Largest key file in bytes; one of 8192 bits has 1,500.
const KEY_MAX: u64 = 16 << 10;

/// Public keys by name. Only what one of them signed is unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// `RSAPublicKey` (RFC 8017, appendix A.1.1) and the PEM text, by name.
    keys: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
}

/// A signature, and which key is said to have made it.
#[derive(Debug)]
pub(crate) struct Signature {
    algorithm: &'static RsaParameters,
    key: String,
    bytes: Vec<u8>,
}

impl Keys {
    /// Reads all keys of a directory: files `NAME.rsa.pub`, as in `/etc/apk/keys`.
    ///
    /// # Errors
    /// [`AlpineError::Io`], [`AlpineError::Key`] for a file that is no key, and for a directory without any.
    pub fn read(directory: &Path) -> Result<Self, AlpineError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| AlpineError::Io { path, source }
        };
        let mut keys = Self::default();
        for entry in fs::read_dir(directory).map_err(io(directory))? {
            let path = entry.map_err(io(directory))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned();
            if !name.ends_with(KEY_ENDING) {
                continue;
            }
            let length = fs::metadata(&path).map_err(io(&path))?.len();
            let wrong = |problem: String| AlpineError::Key {
                path: path.clone(),
                problem,
            };
            if length > KEY_MAX {
                return Err(wrong(format!("more than {KEY_MAX} bytes")));
            }
            keys.insert(&name, &fs::read(&path).map_err(io(&path))?)
                .map_err(wrong)?;
        }
        match keys.keys.is_empty() {
            true => Err(AlpineError::Key {
                path: directory.to_owned(),
                problem: format!("there is no key, a file `NAME{KEY_ENDING}`"),
            }),
            false => Ok(keys),
        }
    }

    /// Trusts one more key: PEM, `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn insert(&mut self, name: &str, pem: &[u8]) -> Result<(), String> {
        let key = rsa_public_key(pem).ok_or("not an RSA public key in PEM")?;
        self.keys.insert(name.to_owned(), (key, pem.to_vec()));
        Ok(())
    }

    /// Name and PEM text of each key, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.keys.iter().map(|(name, (_, pem))| (name.as_str(), pem.as_slice()))
    }

    /// Checks that a key that is known signed these bytes. Signatures by others do not count.
    pub(crate) fn verify(&self, signatures: &[Signature], bytes: &[u8]) -> Result<(), String> {
        if signatures.is_empty() {
            return Err("it is not signed".to_owned());
        }
        let known = signatures
            .iter()
            .filter_map(|one| Some((one, self.keys.get(&one.key)?)));
        let mut tried = Vec::new();
        for (signature, (key, _)) in known {
            let key = UnparsedPublicKey::new(signature.algorithm, key);
            if key.verify(bytes, &signature.bytes).is_ok() {
                return Ok(());
            }
            tried.push(format!("`{}`", signature.key));
        }
        if !tried.is_empty() {
            return Err(format!(
                "the signature by {} does not fit: these are not the bytes that were signed",
                tried.join(", ")
            ));
        }
        let names: Vec<String> = signatures
            .iter()
            .map(|one| format!("`{}`", one.key.escape_debug()))
            .collect();
        Err(format!(
            "it is signed by {}, which is not among the trusted keys; if it should be, add its public key to them",
            names.join(", ")
        ))
    }
}

/// Reads an archive of files `.SIGN.RSA256.NAME`.
pub(crate) fn signatures(plain: &[u8]) -> Result<Vec<Signature>, String> {
    let mut found = Vec::new();
    archive::each(plain, Limits::content(SIGNATURE_MAX), |entry| {
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        let Some(rest) = name.strip_prefix(".SIGN.") else {
            return Err(format!(
                "`{}` stands where the signature belongs: it is not signed",
                name.escape_debug()
            ));
        };
        let algorithm = match rest.split_once('.') {
            Some(("RSA", key)) => Some((&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, key)),
            Some(("RSA256", key)) => Some((&RSA_PKCS1_2048_8192_SHA256, key)),
            Some(("RSA512", key)) => Some((&RSA_PKCS1_2048_8192_SHA512, key)),
            _ => None,
        };
        found.extend(algorithm.map(|(algorithm, key)| Signature {
            algorithm,
            key: key.to_owned(),
            bytes: entry.content,
        }));
        Ok(())
    })?;
    Ok(found)
}

/// The key within a `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
fn rsa_public_key(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let start = text.split_once("-----BEGIN PUBLIC KEY-----")?.1;
    let body: String = start
        .split_once("-----END PUBLIC KEY-----")?
        .0
        .split_ascii_whitespace()
        .collect();
    let der = STANDARD.decode(body).ok()?;
    let (info, rest) = der_value(&der, 0x30)?;
    let bits = info.strip_prefix(&RSA_ENCRYPTION)?;
    let (key, after) = der_value(bits, 0x03)?;
    // The first byte of a bit string is the number of bits that are left over.
    let key = key.strip_prefix(&[0])?;
    (rest.is_empty() && after.is_empty()).then(|| key.to_vec())
}

/// The content of a DER value with this tag, and what follows it (X.690, section 8.1).
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (short, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match short {
        0..=0x7f => (usize::from(*short), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
