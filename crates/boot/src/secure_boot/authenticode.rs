//! Signatures of EFI programs: Microsoft's "Windows Authenticode Portable Executable Signature Format", version 1.0, as
//! firmware reads it.
//!
//! ```text
//! headers | sections | … | WIN_CERTIFICATE, padding to 8 | WIN_CERTIFICATE, padding | end of file
//!    └ directory 5: where the first is, and how long all are
//! ```

use sha2::{Digest as _, Sha256};

use super::certificate::Certificate;
use super::der::{self, Reader, oid, tag};
use super::pkcs7::{self, Message};
use super::{Identity, REVISION, SecureBootError};
use crate::pe::{self, Pe, put, u16_at, u32_at};

/// Length of a WIN_CERTIFICATE before its content.
const HEADER: usize = 8;

/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`
const PKCS_SIGNED_DATA: u16 = 2;

/// Signatures begin at multiples of this.
const ALIGNMENT: usize = 8;

/// Most signatures that are looked at in one file.
const MAX_SIGNATURES: usize = 16;

/// What signing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// The program with the new signature after those it had.
    Now(Vec<u8>),
    /// This certificate's signature is there already, and holds.
    Already,
}

/// A signature of an EFI program.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The signer's certificate.
    pub signer: Certificate,
    /// Whether the signer signed this file as it is.
    pub holds: bool,
    others: Vec<Certificate>,
}

impl Signature {
    /// Whether firmware that knows these certificates would accept it.
    pub fn is_trusted(&self, certificates: &[Certificate]) -> bool {
        self.holds && self.signer.is_trusted(&self.others, certificates)
    }
}

/// Signs an EFI program.
///
/// # Errors
/// When it is damaged, was changed after somebody else signed it, or the key cannot sign.
pub fn sign(program: &[u8], identity: &Identity) -> Result<Signed, SecureBootError> {
    let there = signatures(program)?;
    if let Some(broken) = there.iter().find(|signature| !signature.holds) {
        return Err(SecureBootError::Changed {
            signer: broken.signer.name(),
        });
    }
    if there
        .iter()
        .any(|signature| &signature.signer == identity.certificate())
    {
        return Ok(Signed::Already);
    }
    let mut output = program.to_vec();
    // What follows the sections is part of the digest, so the padding comes first.
    output.resize(output.len().next_multiple_of(ALIGNMENT), 0);
    let content = indirect_data(&digest(&output)?);
    let message = Message::Inside {
        kind: oid::SPC_INDIRECT_DATA,
        content: &content,
    };
    let signature = pkcs7::wrap(&pkcs7::sign(identity, &message)?);
    attach(&mut output, &signature)?;
    Ok(Signed::Now(output))
}

/// The signatures of an EFI program, in their order. An unsigned one has none.
///
/// # Errors
/// When the program or the table of its signatures is damaged, or a signature is of a kind that is not known here.
pub fn signatures(program: &[u8]) -> Result<Vec<Signature>, SecureBootError> {
    let pe = Pe::parse(program)?;
    let mut rest = table(&pe, program)?;
    let digest = digest(program)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        if found.len() == MAX_SIGNATURES {
            return Err(SecureBootError::Image("has too many signatures"));
        }
        let (content, length) = entry(rest)?;
        let signature = pkcs7::Signature::parse(content)?;
        let holds = signed_digest(&signature) == Some(&digest) && signature.check();
        found.push(Signature {
            signer: signature.signer,
            holds,
            others: signature.others,
        });
        rest = &rest[length..];
    }
    Ok(found)
}

/// The SHA-256 that is signed: of everything but the checksum and the signatures.
///
/// # Errors
/// When the program is damaged, or its sections overlap.
pub fn digest(program: &[u8]) -> Result<[u8; 32], SecureBootError> {
    let pe = Pe::parse(program)?;
    let end = program.len() - table(&pe, program)?.len();
    let headers = u32_at(program, pe.optional + pe::optional::SIZE_OF_HEADERS)? as usize;
    let checksum = pe.optional + pe::optional::CHECKSUM;
    let directory = pe.optional + pe::optional::SECURITY_DIRECTORY;
    if headers > end || headers < directory + 8 {
        return Err(SecureBootError::Image("has headers of an impossible length"));
    }
    let mut hasher = Sha256::new();
    hasher.update(&program[..checksum]);
    hasher.update(&program[checksum + 4..directory]);
    hasher.update(&program[directory + 8..headers]);
    let mut sections: Vec<_> = pe.sections.iter().filter(|section| section.file_size > 0).collect();
    sections.sort_by_key(|section| section.offset);
    let (mut position, mut hashed) = (headers, headers);
    for section in sections {
        let (start, size) = (section.offset as usize, section.file_size as usize);
        if start < position || start + size > end {
            return Err(SecureBootError::Image("has sections that overlap"));
        }
        hasher.update(&program[start..start + size]);
        position = start + size;
        hashed += size;
    }
    // Where the rest begins is counted, not looked up: with gaps between sections it overlaps the last of them.
    hasher.update(&program[hashed..end]);
    Ok(hasher.finalize().into())
}

/// The table of signatures, which must be the end of the file.
fn table<'p>(pe: &Pe, program: &'p [u8]) -> Result<&'p [u8], SecureBootError> {
    let count = u32_at(program, pe.optional + pe::optional::DIRECTORY_COUNT)?;
    if count <= pe::optional::SECURITY_INDEX {
        return Err(SecureBootError::Image("has no room for a signature in its headers"));
    }
    let directory = pe.optional + pe::optional::SECURITY_DIRECTORY;
    let offset = u32_at(program, directory)? as usize;
    let size = u32_at(program, directory + 4)? as usize;
    if offset == 0 && size == 0 {
        return Ok(&[]);
    }
    let inside = offset.is_multiple_of(ALIGNMENT) && offset.checked_add(size) == Some(program.len());
    let after = pe
        .sections
        .iter()
        .all(|section| section.offset as usize + section.file_size as usize <= offset);
    if inside && after && size > 0 {
        Ok(&program[offset..])
    } else {
        Err(SecureBootError::Image(
            "has a table of signatures that is not the end of the file",
        ))
    }
}

/// The content of the first WIN_CERTIFICATE, and its length with the padding.
fn entry(table: &[u8]) -> Result<(&[u8], usize), SecureBootError> {
    let damaged = SecureBootError::Image("has a damaged table of signatures");
    let length = u32_at(table, 0)? as usize;
    let (revision, kind) = (u16_at(table, 4)?, u16_at(table, 6)?);
    let padded = length
        .checked_next_multiple_of(ALIGNMENT)
        .filter(|padded| *padded <= table.len());
    match padded {
        Some(padded) if length > HEADER => {
            if (revision, kind) != (REVISION, PKCS_SIGNED_DATA) {
                return Err(SecureBootError::Image("has a signature that is not PKCS #7"));
            }
            Ok((&table[HEADER..length], padded))
        }
        _ => Err(damaged),
    }
}

/// Puts a signature behind those that are there; brings directory and checksum up to date.
fn attach(program: &mut Vec<u8>, signature: &[u8]) -> Result<(), SecureBootError> {
    let pe = Pe::parse(program)?;
    let directory = pe.optional + pe::optional::SECURITY_DIRECTORY;
    let begin = program.len() - table(&pe, program)?.len();
    let too_large = |_| SecureBootError::Image("would exceed 4 GiB");
    let length = u32::try_from(HEADER + signature.len()).map_err(too_large)?;
    program.extend_from_slice(&length.to_le_bytes());
    program.extend_from_slice(&REVISION.to_le_bytes());
    program.extend_from_slice(&PKCS_SIGNED_DATA.to_le_bytes());
    program.extend_from_slice(signature);
    program.resize(program.len().next_multiple_of(ALIGNMENT), 0);
    let size = u32::try_from(program.len() - begin).map_err(too_large)?;
    put(
        program,
        directory,
        &u32::try_from(begin).map_err(too_large)?.to_le_bytes(),
    );
    put(program, directory + 4, &size.to_le_bytes());
    let field = pe.optional + pe::optional::CHECKSUM;
    let checksum = pe::checksum(program, field);
    put(program, field, &checksum.to_le_bytes());
    Ok(())
}

/// SpcIndirectDataContent: what is signed is a PE image with this digest.
fn indirect_data(digest: &[u8; 32]) -> Vec<u8> {
    // A name for the file was once meant here; everybody writes this (SpcLink, file, unicode).
    let obsolete: Vec<u8> = "<<<Obsolete>>>".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let link = der::value(tag::CONTEXT_2, &der::value(0x80, &obsolete));
    let no_flags = der::value(tag::BIT_STRING, &[0]);
    let image = der::sequence(&[&no_flags, &der::value(tag::CONTEXT_0, &link)]);
    let data = der::sequence(&[&der::object(oid::SPC_PE_IMAGE_DATA), &image]);
    let info = der::sequence(&[&der::algorithm(oid::SHA256), &der::value(tag::OCTET_STRING, digest)]);
    der::sequence(&[&data, &info])
}

/// The digest in a SpcIndirectDataContent.
fn signed_digest<'a>(signature: &pkcs7::Signature<'a>) -> Option<&'a [u8]> {
    if signature.kind != oid::SPC_INDIRECT_DATA {
        return None;
    }
    let mut content = Reader(signature.content).take(tag::SEQUENCE).ok()?.open();
    content.take(tag::SEQUENCE).ok()?;
    let mut info = content.take(tag::SEQUENCE).ok()?.open();
    let algorithm = info.take(tag::SEQUENCE).ok()?.open().take(tag::OID).ok()?;
    let digest = info.take(tag::OCTET_STRING).ok()?;
    (algorithm.content == oid::SHA256).then_some(digest.content)
}
