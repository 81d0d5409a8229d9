//! X.509 certificates (RFC 5280): read as far as signatures need, and our own written.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::der::{self, DerError, Reader, oid, tag};
use super::key::Key;
use super::public_key::PublicKey;
use super::{SecureBootError, pem};

/// The label of a certificate in PEM.
const LABEL: &str = "CERTIFICATE";

/// Begin of the validity of our certificates. Firmware looks at no clock, but whoever does shall not refuse a machine
/// whose battery is empty.
const NOT_BEFORE: &[u8] = b"000101000000Z";

/// "No well-defined expiration date" (RFC 5280, 4.1.2.5).
const NOT_AFTER: &[u8] = b"99991231235959Z";

/// An X.509 certificate with an RSA key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    /// What is signed in it.
    body: Vec<u8>,
    signature: Option<Vec<u8>>,
    /// A Name, encoded.
    issuer: Vec<u8>,
    serial: Vec<u8>,
    subject: Vec<u8>,
    /// RSAPublicKey (RFC 8017).
    key: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificate").field(&self.name()).finish()
    }
}

impl Certificate {
    /// Reads a certificate from a PEM or DER file.
    ///
    /// # Errors
    /// When there is none, or not one with an RSA key.
    pub fn read(path: &Path) -> Result<Self, SecureBootError> {
        let read = || Self::from_bytes(&std::fs::read(path)?);
        read().map_err(SecureBootError::at(path))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, SecureBootError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::from_der(&pem::decode(text, LABEL).ok_or(SecureBootError::Pem { label: LABEL })?),
            Err(_) => Self::from_der(bytes),
        }
    }

    /// Reads a certificate.
    ///
    /// # Errors
    /// When the bytes are none, or have more than one.
    pub fn from_der(bytes: &[u8]) -> Result<Self, SecureBootError> {
        parse(bytes).map_err(SecureBootError::certificate)
    }

    /// A new certificate that the key signs itself, with this common name. The same key and name give the same bytes.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn self_signed(key: &Key, public_key: &[u8], name: &str) -> Result<Self, SecureBootError> {
        let body = body(public_key, name);
        let signature = key.sign(&body)?;
        let whole = der::sequence(&[&body, &der::algorithm(oid::RSA_SHA256), &der::bit_string(&signature)]);
        Self::from_der(&whole)
    }

    /// The certificate, encoded.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as text.
    pub fn pem(&self) -> String {
        pem::encode(LABEL, &self.der)
    }

    /// Whom it names: the last common name of its subject.
    pub fn name(&self) -> String {
        common_name(&self.subject).unwrap_or_else(|| format!("serial {}", hex::encode(&self.serial)))
    }

    /// SHA-256 of the whole certificate, as hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.der))
    }

    /// The key that it is about.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.clone())
    }

    pub(super) fn has_key(&self, public_key: &[u8]) -> bool {
        self.key == public_key
    }

    /// IssuerAndSerialNumber (RFC 2315, 6.7).
    pub(super) fn identity(&self) -> Vec<u8> {
        der::sequence(&[&self.issuer, &der::value(tag::INTEGER, &self.serial)])
    }

    /// Whether the certificate's key made this signature.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public_key().verifies(message, signature)
    }

    fn issued(&self, other: &Self) -> bool {
        let signature = other.signature.as_deref().unwrap_or_default();
        self.subject == other.issuer && self.verifies(&other.body, signature)
    }

    /// Whether it is one of the trusted, or issued by one of them, with any of the others between. As in firmware, no
    /// date is looked at (UEFI specification, 32.5.3.3).
    pub(super) fn is_trusted(&self, others: &[Self], trusted: &[Self]) -> bool {
        let mut current = self;
        for _ in 0..=others.len() {
            if trusted.iter().any(|root| root == current || root.issued(current)) {
                return true;
            }
            let Some(next) = others.iter().find(|other| *other != current && other.issued(current)) else {
                return false;
            };
            current = next;
        }
        false
    }
}

fn parse(bytes: &[u8]) -> Result<Certificate, DerError> {
    let mut file = Reader(bytes);
    let whole = file.take(tag::SEQUENCE)?;
    if !file.is_empty() {
        return Err(DerError("something follows the certificate"));
    }
    let mut parts = whole.open();
    let body = parts.take(tag::SEQUENCE)?;
    let mut algorithm = parts.take(tag::SEQUENCE)?.open();
    let known = algorithm.take(tag::OID)?.content == oid::RSA_SHA256;
    let signature = bits(parts.take(tag::BIT_STRING)?.content)?;
    let mut fields = body.open();
    fields.optional(tag::CONTEXT_0)?;
    let serial = fields.take(tag::INTEGER)?.content;
    fields.take(tag::SEQUENCE)?;
    let issuer = fields.take(tag::SEQUENCE)?.whole;
    fields.take(tag::SEQUENCE)?;
    let subject = fields.take(tag::SEQUENCE)?.whole;
    let key = rsa_key(fields.take(tag::SEQUENCE)?.open())?;
    Ok(Certificate {
        der: bytes.to_vec(),
        body: body.whole.to_vec(),
        signature: known.then(|| signature.to_vec()),
        issuer: issuer.to_vec(),
        serial: serial.to_vec(),
        subject: subject.to_vec(),
        key: key.to_vec(),
    })
}

/// The RSAPublicKey in a SubjectPublicKeyInfo.
fn rsa_key(mut info: Reader<'_>) -> Result<&[u8], DerError> {
    let mut algorithm = info.take(tag::SEQUENCE)?.open();
    if algorithm.take(tag::OID)?.content != oid::RSA {
        return Err(DerError("its key is not RSA"));
    }
    bits(info.take(tag::BIT_STRING)?.content)
}

fn bits(content: &[u8]) -> Result<&[u8], DerError> {
    match content {
        [0, bytes @ ..] => Ok(bytes),
        _ => Err(DerError("a bit string has no whole bytes")),
    }
}

/// A TBSCertificate, version 3.
fn body(public_key: &[u8], name: &str) -> Vec<u8> {
    let info = key_info(public_key);
    let digest: [u8; 32] = Sha256::digest(&info).into();
    // Twenty bytes at most, and positive (RFC 5280, 4.1.2.2).
    let serial = [&[0x40 | digest[0] & 0x3f], &digest[1..16]].concat();
    let text = der::value(tag::UTF8_STRING, name.as_bytes());
    let attribute = der::sequence(&[&der::object(oid::COMMON_NAME), &text]);
    let name = der::sequence(&[&der::value(tag::SET, &attribute)]);
    let validity = der::sequence(&[
        &der::value(tag::UTC_TIME, NOT_BEFORE),
        &der::value(tag::GENERALIZED_TIME, NOT_AFTER),
    ]);
    der::sequence(&[
        &der::value(tag::CONTEXT_0, &der::integer(&[2])),
        &der::integer(&serial),
        &der::algorithm(oid::RSA_SHA256),
        &name,
        &validity,
        &name,
        &info,
        &der::value(tag::CONTEXT_3, &extensions(&digest[..20])),
    ])
}

/// A SubjectPublicKeyInfo from an RSAPublicKey.
pub(super) fn key_info(public_key: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::algorithm(oid::RSA), &der::bit_string(public_key)])
}

/// It issues no other certificates, and makes signatures.
fn extensions(key_identifier: &[u8]) -> Vec<u8> {
    let octets = |content: &[u8]| der::value(tag::OCTET_STRING, content);
    let critical = [0x01, 0x01, 0xff];
    // The first bit is digitalSignature; seven are unused.
    let usage = der::value(tag::BIT_STRING, &[7, 0x80]);
    der::sequence(&[
        &der::sequence(&[
            &der::object(oid::BASIC_CONSTRAINTS),
            &critical,
            &octets(&der::sequence(&[])),
        ]),
        &der::sequence(&[&der::object(oid::KEY_USAGE), &critical, &octets(&usage)]),
        &der::sequence(&[
            &der::object(oid::SUBJECT_KEY_IDENTIFIER),
            &octets(&octets(key_identifier)),
        ]),
    ])
}

/// The last common name in a Name.
fn common_name(name: &[u8]) -> Option<String> {
    let mut sets = Reader(name).any().ok()?.open();
    let mut found = None;
    while let Ok(set) = sets.take(tag::SET) {
        let mut attribute = set.open().take(tag::SEQUENCE).ok()?.open();
        if attribute.take(tag::OID).ok()?.content == oid::COMMON_NAME {
            let text = attribute.any().ok()?.content;
            found = Some(String::from_utf8_lossy(text).escape_debug().to_string());
        }
    }
    found
}
