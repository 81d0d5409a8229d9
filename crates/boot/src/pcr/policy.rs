//! A signed policy for PCR 11: the owner of a key says of an image that a TPM may open what is sealed to that key.
//!
//! A secret sealed to the register's *value* is lost with the next update; one sealed to the *key* opens for every image
//! that the key's owner signed a policy for. Two sections carry it, as systemd has them (systemd-measure(1),
//! systemd-stub(7)):
//!
//! ```text
//! .pcrpkey   the public key, PEM; measured like the rest
//! .pcrsig    {"sha256":[{"pcrs":[11],"pkfp":KEY,"pol":POLICY,"sig":SIGNATURE},…]}; not measured
//! ```
//!
//! Policies are of the SHA-256 bank: every TPM 2.0 has it, and what opens secrets verifies signatures with SHA-256 alone.
//! The stub lays both before the initramfs: `/.extra/tpm2-pcr-public-key.pem` and `/.extra/tpm2-pcr-signature.json`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Bank, PHASES, PcrError, REGISTER, predict};
use crate::pe::PeError;
use crate::secure_boot::{Identity, PublicKey, SecureBootError};
use crate::uki;

/// The section with the public key.
const KEY_SECTION: &str = ".pcrpkey";
/// The section with the signatures.
const SIGNATURE_SECTION: &str = ".pcrsig";

/// The bank that policies are of.
const BANK: Bank = Bank::Sha256;

/// `TPM_CC_PolicyPCR` (TPM 2.0 Library, part 2, table 12).
const POLICY_PCR: u32 = 0x0000_017f;
/// `TPM_ALG_SHA256` (TPM 2.0 Library, part 2, table 9).
const SHA256: u16 = 0x000b;
/// Bytes of the bit map of registers: every TPM has 24 (PC Client Platform TPM Profile, 4.6).
const SELECT_BYTES: usize = 3;

/// Why a policy could not be signed or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No value can be predicted.
    #[error(transparent)]
    Pcr(#[from] PcrError),
    /// The sections cannot be added.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// The key.
    #[error(transparent)]
    Key(#[from] SecureBootError),
    /// There is one already.
    #[error("it has a signed policy already: sign the file as it was built")]
    Already,
    /// A signature for Secure Boot covers the file.
    #[error("it is signed for Secure Boot, which a new section would break: sign the policy first")]
    Signed,
    /// The signatures in it are damaged.
    #[error("its section {SIGNATURE_SECTION} is damaged: {0}")]
    Damaged(String),
}

/// The content of `.pcrsig`: policies by bank.
type Signatures = BTreeMap<String, Vec<Entry>>;

/// One policy.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    pcrs: Vec<u32>,
    /// SHA-256 of the public key (RSAPublicKey), hexadecimal.
    pkfp: String,
    /// The policy's digest, hexadecimal.
    pol: String,
    /// The signature of the policy's digest, base64.
    sig: String,
}

/// What a signature in an image is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The phases after which the register has this value, when they are those that systemd knows; empty: none.
    pub phases: Option<String>,
    /// SHA-256 of the public key, hexadecimal digits.
    pub key: String,
    /// Whether the image's key signed it, and it is of what this image will be measured as.
    pub holds: bool,
}

/// The image with a policy for each of these paths of phases (`a:b:c`; empty: as the stub leaves it).
///
/// # Errors
/// See [`PolicyError`].
pub fn sign(image: &[u8], identity: &Identity, phases: &[&str]) -> Result<Vec<u8>, PolicyError> {
    if uki::extract(image)?.contains_key(SIGNATURE_SECTION) {
        return Err(PolicyError::Already);
    }
    let key = identity.certificate().public_key();
    let add = |image: &[u8], name, content: &[u8]| match uki::add(image, name, content) {
        Err(PeError::Signed) => Err(PolicyError::Signed),
        other => Ok(other?),
    };
    let image = add(image, KEY_SECTION, key.pem().as_bytes())?;
    let mut entries = Vec::new();
    for phases in phases {
        let policy = policy(&predict(&image, BANK, phases)?);
        entries.push(Entry {
            pcrs: vec![REGISTER],
            pkfp: key.fingerprint(),
            pol: hex::encode(policy),
            sig: STANDARD.encode(identity.sign(&policy)?),
        });
    }
    let signatures = Signatures::from([(BANK.to_string(), entries)]);
    let text = serde_json::to_vec(&signatures).map_err(|error| PolicyError::Damaged(error.to_string()))?;
    add(&image, SIGNATURE_SECTION, &text)
}

/// What the signatures in an image are worth (those for the SHA-256 bank); none when it has no policy.
///
/// # Errors
/// See [`PolicyError`].
pub fn verify(image: &[u8]) -> Result<Vec<Verdict>, PolicyError> {
    let sections = uki::extract(image)?;
    let Some(text) = sections.get(SIGNATURE_SECTION) else {
        return Ok(Vec::new());
    };
    let damaged = |error: serde_json::Error| PolicyError::Damaged(error.to_string());
    let text = text.trim_ascii_end();
    let signatures: Signatures = serde_json::from_slice(text.strip_suffix(b"\0").unwrap_or(text)).map_err(damaged)?;
    let key = sections.get(KEY_SECTION).copied().unwrap_or_default();
    let key = PublicKey::from_pem(&String::from_utf8_lossy(key))?;
    let possible = possible(image)?;
    let entries = signatures.get(&BANK.to_string()).into_iter().flatten();
    Ok(entries.map(|entry| verdict(entry, &key, &possible)).collect())
}

/// The policies that fit an image, and the phases that lead there.
fn possible(image: &[u8]) -> Result<Vec<(String, &'static str)>, PcrError> {
    let phases = std::iter::once("").chain(PHASES);
    phases
        .map(|phases| Ok((hex::encode(policy(&predict(image, BANK, phases)?)), phases)))
        .collect()
}

fn verdict(entry: &Entry, key: &PublicKey, possible: &[(String, &'static str)]) -> Verdict {
    let fits = possible.iter().find(|(policy, _)| *policy == entry.pol);
    let signature = STANDARD.decode(&entry.sig).unwrap_or_default();
    let signed = hex::decode(&entry.pol).is_ok_and(|policy| key.verifies(&policy, &signature));
    Verdict {
        phases: fits.map(|(_, phases)| (*phases).to_owned()),
        key: entry.pkfp.clone(),
        holds: fits.is_some() && signed && entry.pcrs == [REGISTER] && entry.pkfp == key.fingerprint(),
    }
}

/// The digest (SHA-256) of a policy session after `TPM2_PolicyPCR` for this value of the register (TPM 2.0 Library,
/// part 3, 23.7): of the digest before, the command, the selection of registers (`TPML_PCR_SELECTION`) and the digest of
/// their values.
fn policy(value: &[u8]) -> [u8; 32] {
    let mut selected = [0; SELECT_BYTES];
    selected[REGISTER as usize / 8] |= 1 << (REGISTER % 8);
    let mut hasher = Sha256::new();
    hasher.update([0; 32]);
    hasher.update(POLICY_PCR.to_be_bytes());
    hasher.update(1_u32.to_be_bytes());
    hasher.update(SHA256.to_be_bytes());
    hasher.update([SELECT_BYTES as u8]);
    hasher.update(selected);
    hasher.update(Sha256::digest(value));
    hasher.finalize().into()
}
