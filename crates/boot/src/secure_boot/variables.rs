//! The variables with which firmware is told whom to trust: signature lists (UEFI specification 2.10, 32.4.1) and
//! authenticated updates of variables (8.2.2), the files that firmware menus, KeyTool and systemd-boot enrol.
//!
//! ```text
//! .esl   type 16 | list size 4 | header size 4 = 0 | entry size 4 | owner 16 | certificate        (one list for each)
//! .auth  time 16 | WIN_CERTIFICATE 8 | type 16 | SignedData … | .esl
//! ```

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::certificate::Certificate;
use super::pkcs7::{self, Message};
use super::{Identity, SecureBootError};

/// A GUID in the byte order of UEFI: the first three fields little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid([u8; 16]);

impl Guid {
    pub(super) const fn new(first: u32, second: u16, third: u16, rest: [u8; 8]) -> Self {
        let (a, b, c) = (first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes());
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], rest[0], rest[1], rest[2], rest[3], rest[4], rest[5],
            rest[6], rest[7],
        ])
    }

    /// The owner that entries of a project have in the firmware's lists: the same for the same name (RFC 9562, 5.8).
    pub fn of_project(name: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(format!("MOS Secure Boot owner: {name}")).into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[7] = bytes[7] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for (position, index) in ORDER.into_iter().enumerate() {
            let dash = if matches!(position, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{:02x}", self.0[index])?;
        }
        Ok(())
    }
}

/// `EFI_CERT_X509_GUID`
const X509: Guid = Guid::new(
    0xa5c0_59a1,
    0x94e4,
    0x4aa7,
    [0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72],
);

/// `EFI_CERT_TYPE_PKCS7_GUID`
const PKCS7: Guid = Guid::new(
    0x4aaf_d29d,
    0x68df,
    0x49ee,
    [0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7],
);

/// `EFI_GLOBAL_VARIABLE`
const GLOBAL: Guid = Guid::new(
    0x8be4_df61,
    0x93ca,
    0x11d2,
    [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c],
);

/// `EFI_IMAGE_SECURITY_DATABASE_GUID`
const DATABASE: Guid = Guid::new(
    0xd719_b2cb,
    0x3d3a,
    0x4596,
    [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f],
);

/// Kept without power, seen before and after boot services end, written only when authenticated by a time.
pub(super) const ATTRIBUTES: u32 = 0x27;

/// `WIN_CERT_TYPE_EFI_GUID`
const EFI_GUID: u16 = 0x0ef1;

/// `WIN_CERTIFICATE` and the GUID behind it.
const HEADER: usize = 24;

/// A variable of Secure Boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// PK: who may change KEK. Setting it ends the setup mode.
    PlatformKey,
    /// KEK: who may change db.
    KeyExchangeKeys,
    /// db: whose EFI programs are started.
    Database,
}

impl Variable {
    /// In the order in which they are enrolled: after the platform key firmware asks for signatures.
    pub const ALL: [Self; 3] = [Self::Database, Self::KeyExchangeKeys, Self::PlatformKey];

    /// Its name in firmware, and of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::PlatformKey => "PK",
            Self::KeyExchangeKeys => "KEK",
            Self::Database => "db",
        }
    }

    pub(super) fn vendor(self) -> Guid {
        match self {
            Self::Database => DATABASE,
            _ => GLOBAL,
        }
    }

    /// The name as firmware has it, without a NUL.
    pub(super) fn wide_name(self) -> Vec<u8> {
        self.name().encode_utf16().flat_map(u16::to_le_bytes).collect()
    }
}

/// A time in UTC. Firmware takes an update of a variable only when it is later than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// 1900 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl Time {
    /// `EFI_TIME`; in authenticated variables all but these fields is zero (8.2.2).
    pub(super) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&self.year.to_le_bytes());
        bytes[2..7].copy_from_slice(&[self.month, self.day, self.hour, self.minute, self.second]);
        bytes
    }
}

/// Signature lists that name these certificates.
pub fn signature_lists(owner: Guid, certificates: &[&Certificate]) -> Vec<u8> {
    certificates
        .iter()
        .flat_map(|certificate| signature_list(owner, certificate.der()))
        .collect()
}

fn signature_list(owner: Guid, certificate: &[u8]) -> Vec<u8> {
    // A certificate that was read has some kilobytes at most; its own lengths are smaller than 2^32.
    let entry = (owner.0.len() + certificate.len()) as u32;
    let mut list = X509.0.to_vec();
    list.extend((28 + entry).to_le_bytes());
    list.extend(0_u32.to_le_bytes());
    list.extend(entry.to_le_bytes());
    list.extend(owner.0);
    list.extend_from_slice(certificate);
    list
}

/// The update that sets a variable to these signature lists, signed by whom firmware lets change it: the platform key
/// for PK and KEK, a key exchange key for db.
///
/// # Errors
/// When the key cannot sign.
pub fn update(variable: Variable, lists: &[u8], time: Time, signer: &Identity) -> Result<Vec<u8>, SecureBootError> {
    let time = time.bytes();
    let vendor = variable.vendor();
    let attributes = ATTRIBUTES.to_le_bytes();
    let message = [&variable.wide_name()[..], vendor.bytes(), &attributes, &time, lists].concat();
    let signature = pkcs7::sign(signer, &Message::Outside(&message))?;
    let length = (HEADER + signature.len()) as u32;
    let mut file = time.to_vec();
    file.extend(length.to_le_bytes());
    file.extend(super::REVISION.to_le_bytes());
    file.extend(EFI_GUID.to_le_bytes());
    file.extend(PKCS7.0);
    file.extend(signature);
    file.extend_from_slice(lists);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_shown_as_the_specification_writes_them() {
        assert_eq!(X509.to_string(), "a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
        let owner = Guid::of_project("demo");
        assert_eq!(owner, Guid::of_project("demo"));
        assert_ne!(owner, Guid::of_project("other"));
        let text = owner.to_string();
        assert!(text.as_bytes()[14] == b'8' && "89ab".contains(&text[19..20]), "{text}");
    }

    #[test]
    fn times_have_zeros_where_authentication_wants_them() {
        let time = Time {
            year: 2026,
            month: 11,
            day: 21,
            hour: 17,
            minute: 5,
            second: 9,
        };
        assert_eq!(time.bytes(), [0xea, 7, 11, 21, 17, 5, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
