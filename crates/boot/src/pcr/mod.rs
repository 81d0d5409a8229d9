//! Predicts what systemd's stub measures into PCR 11 of the TPM when it starts a unified kernel image.
//!
//! For each section that it measures, in its own order and not that of the file, the stub extends the register by the
//! section's name with a NUL, and by the section's content (systemd.io, "TPM2 PCR Measurements Made by systemd").
//! systemd on the node extends it by the name of each phase of the boot; other inits do not.

pub mod policy;

use std::fmt;

use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::pe::{Pe, PeError};
use crate::uki;

/// The register that the stub extends.
pub const REGISTER: u32 = 11;

/// What every stub measures, in its order.
const SECTIONS: [&str; 6] = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb"];

/// What stubs measure since version 254, after those.
const SECTIONS_254: [&str; 2] = [".uname", ".sbat"];

/// What every stub measures last. `.pcrsig` is measured by none: it holds signatures of the result.
const LAST: &str = ".pcrpkey";

/// The phases that systemd measures, as `systemd-measure` predicts them by default.
pub const PHASES: [&str; 4] = [
    "enter-initrd",
    "enter-initrd:leave-initrd",
    "enter-initrd:leave-initrd:sysinit",
    "enter-initrd:leave-initrd:sysinit:ready",
];

/// A set of registers with one digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bank {
    /// SHA-256, which every TPM 2.0 has.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Bank {
    /// All.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// A register before anything was measured.
    fn reset(self) -> Vec<u8> {
        let length = match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        };
        vec![0; length]
    }

    fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha256 => hash::<Sha256>(parts),
            Self::Sha384 => hash::<Sha384>(parts),
            Self::Sha512 => hash::<Sha512>(parts),
        }
    }

    /// `TPM2_PCR_Extend`: the register becomes the digest of itself and of what is measured, digested.
    fn extend(self, register: &mut Vec<u8>, measured: &[u8]) {
        let measured = self.digest(&[measured]);
        *register = self.digest(&[register, &measured]);
    }
}

fn hash<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hasher = D::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().to_vec()
}

impl fmt::Display for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        })
    }
}

/// Why nothing can be predicted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PcrError {
    /// The file.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// A file without a kernel or stub in it.
    #[error("it has no section {0}: it is no unified kernel image with systemd's stub")]
    NoSection(&'static str),
    /// A stub that measures several profiles, or is of a version that nobody knows.
    #[error("its stub says `{0}`, which is no version of systemd's stub")]
    Version(String),
}

/// The value of PCR 11 after the stub has started the kernel, and after each phase of the path (`a:b:c`; empty for
/// none).
///
/// # Errors
/// See [`PcrError`].
pub fn predict(image: &[u8], bank: Bank, phases: &str) -> Result<Vec<u8>, PcrError> {
    let mut register = bank.reset();
    for (name, content) in measured(image)? {
        bank.extend(&mut register, &[name.as_bytes(), b"\0"].concat());
        bank.extend(&mut register, content);
    }
    for phase in phases.split(':').filter(|phase| !phase.is_empty()) {
        bank.extend(&mut register, phase.as_bytes());
    }
    Ok(register)
}

/// The sections that are measured, with their contents, in the order of the stub.
///
/// # Errors
/// See [`PcrError`].
pub fn measured(image: &[u8]) -> Result<Vec<(&'static str, &[u8])>, PcrError> {
    // Checked first, so that a wrong file is told as such.
    Pe::parse(image)?;
    let contents = uki::extract(image)?;
    let later = version(contents.get(".sdmagic").ok_or(PcrError::NoSection(".sdmagic"))?)? >= 254;
    contents.get(".linux").ok_or(PcrError::NoSection(".linux"))?;
    let later = SECTIONS_254.into_iter().filter(|_| later);
    let order = SECTIONS.into_iter().chain(later).chain([LAST]);
    Ok(order.filter_map(|name| Some((name, *contents.get(name)?))).collect())
}

/// The version in `#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####`.
fn version(magic: &[u8]) -> Result<u32, PcrError> {
    let text = String::from_utf8_lossy(magic);
    let number = text.split_once("systemd-stub ").map(|(_, rest)| rest);
    let number = number.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    number.ok_or_else(|| PcrError::Version(text.trim_end_matches('\0').escape_debug().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_stubs_own_words() {
        assert_eq!(
            version(b"#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####\0"),
            Ok(252)
        );
        assert_eq!(version(b"#### LoaderInfo: systemd-stub 257~rc1 ####"), Ok(257));
        assert!(version(b"#### LoaderInfo: systemd-boot 252 ####").is_err());
    }

    #[test]
    fn registers_begin_with_zeros_and_are_extended_by_digests() {
        let mut register = Bank::Sha256.reset();
        Bank::Sha256.extend(&mut register, b"abc");
        let expected = Sha256::digest([&[0; 32][..], &Sha256::digest(b"abc")].concat());
        assert_eq!(register, expected.to_vec());
    }

    #[test]
    fn files_without_stub_or_kernel_are_refused() {
        assert!(matches!(predict(b"", Bank::Sha256, ""), Err(PcrError::Pe(_))));
        let stub = crate::pe::tests::stub();
        assert_eq!(predict(&stub, Bank::Sha256, ""), Err(PcrError::NoSection(".sdmagic")));
    }
}
