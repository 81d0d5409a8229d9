//! PKCS #7 SignedData (RFC 2315) with one signer, RSA and SHA-256: the envelope of Authenticode and of authenticated
//! variables. No signing time and nothing random is in it: the same input gives the same bytes.

use sha2::{Digest as _, Sha256};

use super::certificate::Certificate;
use super::der::{self, DerError, Reader, oid, tag};
use super::{Identity, SecureBootError};

/// Most certificates that are looked at in one signature.
const MAX_CERTIFICATES: usize = 16;

/// What is signed.
pub(super) enum Message<'a> {
    /// Content of this type inside of the signature: its digest is an attribute, and the attributes are signed.
    Inside { kind: &'a [u8], content: &'a [u8] },
    /// Bytes that are elsewhere, signed as they are.
    Outside(&'a [u8]),
}

/// Makes the SignedData, without a ContentInfo around it.
pub(super) fn sign(identity: &Identity, message: &Message<'_>) -> Result<Vec<u8>, SecureBootError> {
    let (content, attributes, signed) = match message {
        Message::Outside(bytes) => (der::sequence(&[&der::object(oid::DATA)]), Vec::new(), bytes.to_vec()),
        Message::Inside { kind, content } => {
            let wrapped = der::value(tag::CONTEXT_0, content);
            let attributes = attributes(kind, content)?;
            // Signed as the SET that it is, stored with the tag of its field (RFC 2315, 9.3).
            let mut stored = attributes.clone();
            stored[0] = tag::CONTEXT_0;
            (der::sequence(&[&der::object(kind), &wrapped]), stored, attributes)
        }
    };
    let signature = identity.sign(&signed)?;
    let signer = der::sequence(&[
        &der::integer(&[1]),
        &identity.certificate.identity(),
        &der::algorithm(oid::SHA256),
        &attributes,
        &der::algorithm(oid::RSA),
        &der::value(tag::OCTET_STRING, &signature),
    ]);
    Ok(der::sequence(&[
        &der::integer(&[1]),
        &der::set_of(vec![der::algorithm(oid::SHA256)]),
        &content,
        &der::value(tag::CONTEXT_0, identity.certificate.der()),
        &der::set_of(vec![signer]),
    ]))
}

fn attributes(kind: &[u8], content: &[u8]) -> Result<Vec<u8>, SecureBootError> {
    let attribute = |name: &[u8], value: Vec<u8>| der::sequence(&[&der::object(name), &der::set_of(vec![value])]);
    // The digest is of the content without its tag and length (RFC 2315, 9.3).
    let inner = Reader(content).any().map_err(SecureBootError::signature)?.content;
    let digest = der::value(tag::OCTET_STRING, &Sha256::digest(inner));
    Ok(der::set_of(vec![
        attribute(oid::CONTENT_TYPE, der::object(kind)),
        attribute(oid::MESSAGE_DIGEST, digest),
    ]))
}

/// Puts a ContentInfo around a SignedData.
pub(super) fn wrap(signed_data: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::object(oid::SIGNED_DATA), &der::value(tag::CONTEXT_0, signed_data)])
}

/// A signature as it was read; `signer` is certain only after [`Signature::check`].
#[derive(Debug)]
pub(super) struct Signature<'a> {
    /// The content's type and the content, encoded.
    pub(super) kind: &'a [u8],
    pub(super) content: &'a [u8],
    pub(super) signer: Certificate,
    pub(super) others: Vec<Certificate>,
    /// The attributes, as stored.
    attributes: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signature<'a> {
    /// Reads a ContentInfo with a SignedData; what follows it is ignored (there is padding).
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, SecureBootError> {
        let outer = open(bytes).map_err(SecureBootError::signature)?;
        let Parts {
            kind,
            content,
            certificates,
            mut signer,
        } = parts(outer).map_err(SecureBootError::signature)?;
        let certificates = read_certificates(certificates)?;
        let info = signer_info(&mut signer).map_err(SecureBootError::signature)?;
        let (mut found, others): (Vec<_>, Vec<_>) = certificates
            .into_iter()
            .partition(|certificate| certificate.identity() == info.identity);
        let missing = SecureBootError::Signature("the signer's certificate is not in it");
        let signer = found.pop().ok_or(missing)?;
        Ok(Self {
            kind,
            content,
            signer,
            others,
            attributes: info.attributes,
            signature: info.signature,
        })
    }

    /// Whether the signer signed this content.
    pub(super) fn check(&self) -> bool {
        let Ok(expected) = attributes(self.kind, self.content) else {
            return false;
        };
        let mut signed = self.attributes.to_vec();
        let Some(first) = signed.first_mut() else { return false };
        *first = tag::SET;
        has_attributes(&signed, &expected) && self.signer.verifies(&signed, self.signature)
    }
}

/// Whether each of the expected attributes is there: others may be, such as a signing time.
fn has_attributes(signed: &[u8], expected: &[u8]) -> bool {
    let members = |set: &[u8]| -> Option<Vec<Vec<u8>>> {
        let mut reader = Reader(set).any().ok()?.open();
        let mut members = Vec::new();
        while !reader.is_empty() {
            members.push(reader.take(tag::SEQUENCE).ok()?.whole.to_vec());
        }
        Some(members)
    };
    match (members(signed), members(expected)) {
        (Some(signed), Some(expected)) => expected.iter().all(|attribute| signed.contains(attribute)),
        _ => false,
    }
}

fn open(bytes: &[u8]) -> Result<Reader<'_>, DerError> {
    let mut info = Reader(bytes).take(tag::SEQUENCE)?.open();
    if info.take(tag::OID)?.content != oid::SIGNED_DATA {
        return Err(DerError("it is no SignedData"));
    }
    Ok(info.take(tag::CONTEXT_0)?.open().take(tag::SEQUENCE)?.open())
}

struct Parts<'a> {
    kind: &'a [u8],
    content: &'a [u8],
    certificates: Reader<'a>,
    signer: Reader<'a>,
}

fn parts(mut data: Reader<'_>) -> Result<Parts<'_>, DerError> {
    data.take(tag::INTEGER)?;
    data.take(tag::SET)?;
    let mut content = data.take(tag::SEQUENCE)?.open();
    let kind = content.take(tag::OID)?.content;
    let content = content.take(tag::CONTEXT_0)?.content;
    let certificates = data.take(tag::CONTEXT_0)?.open();
    // Revocation lists, which nobody reads.
    data.optional(0xa1)?;
    let mut signers = data.take(tag::SET)?.open();
    let signer = signers.take(tag::SEQUENCE)?.open();
    if !signers.is_empty() {
        return Err(DerError("it has more than one signer"));
    }
    Ok(Parts {
        kind,
        content,
        certificates,
        signer,
    })
}

fn read_certificates(mut reader: Reader<'_>) -> Result<Vec<Certificate>, SecureBootError> {
    let mut certificates = Vec::new();
    while !reader.is_empty() {
        if certificates.len() == MAX_CERTIFICATES {
            return Err(SecureBootError::Signature("it has too many certificates"));
        }
        let certificate = reader.any().map_err(SecureBootError::signature)?;
        certificates.push(Certificate::from_der(certificate.whole)?);
    }
    Ok(certificates)
}

/// IssuerAndSerialNumber, attributes, signature.
struct SignerInfo<'a> {
    identity: &'a [u8],
    attributes: &'a [u8],
    signature: &'a [u8],
}

fn signer_info<'a>(signer: &mut Reader<'a>) -> Result<SignerInfo<'a>, DerError> {
    signer.take(tag::INTEGER)?;
    let identity = signer.take(tag::SEQUENCE)?.whole;
    if signer.take(tag::SEQUENCE)?.open().take(tag::OID)?.content != oid::SHA256 {
        return Err(DerError("its digest is not SHA-256"));
    }
    let attributes = signer.take(tag::CONTEXT_0)?.whole;
    let algorithm = signer.take(tag::SEQUENCE)?.open().take(tag::OID)?.content;
    if algorithm != oid::RSA && algorithm != oid::RSA_SHA256 {
        return Err(DerError("its algorithm is not RSA"));
    }
    let signature = signer.take(tag::OCTET_STRING)?.content;
    Ok(SignerInfo {
        identity,
        attributes,
        signature,
    })
}
