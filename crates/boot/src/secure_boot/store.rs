//! Enrols keys in the variable store of OVMF, the firmware of virtual machines, as its own menu would: a machine with this
//! store starts with Secure Boot on.
//!
//! ```text
//! firmware volume header | store header 28 | variable header 60 | name | data | … | 0xff to the end of the store
//! ```
//!
//! The layout is that of edk2 (`MdePkg/Include/Pi/PiFirmwareVolume.h`, `MdeModulePkg/Include/Guid/VariableFormat.h`).

use super::certificate::Certificate;
use super::variables::{ATTRIBUTES, Guid, Time, Variable, signature_lists};

/// Why keys could not be enrolled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Not what OVMF's files of variables look like.
    #[error("not a variable store of OVMF with authenticated variables: {0}")]
    Unknown(&'static str),
    /// Keys are there already.
    #[error("the variable store has a {0} already; use the empty one, such as OVMF_VARS_4M.fd")]
    Enrolled(String),
    /// Too many certificates.
    #[error("the variable store has no room for these certificates")]
    Full,
}

/// `EFI_SYSTEM_NV_DATA_FV_GUID`
const VOLUME: Guid = Guid::new(
    0xfff1_2b8d,
    0x7696,
    0x4c8b,
    [0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50],
);

/// `EFI_AUTHENTICATED_VARIABLE_GUID`
const STORE: Guid = Guid::new(
    0xaaf3_2c78,
    0x947b,
    0x439a,
    [0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92],
);

/// `EFI_SECURE_BOOT_ENABLE_DISABLE_GUID`
const ENABLE: Guid = Guid::new(
    0xf0a3_0bc7,
    0xaf08,
    0x4556,
    [0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44],
);

/// The firmware's own switch: kept without power, seen only before boot services end.
const ENABLE_NAME: &str = "SecureBootEnable";
const ENABLE_ATTRIBUTES: u32 = 3;

/// Where the volume header has its GUID, its signature and its own length.
const VOLUME_GUID: usize = 16;
const VOLUME_SIGNATURE: usize = 40;
const VOLUME_HEADER_LENGTH: usize = 48;

/// Length of `VARIABLE_STORE_HEADER`.
const STORE_HEADER: usize = 28;

/// `VARIABLE_STORE_FORMATTED`, `VARIABLE_STORE_HEALTHY`
const STORE_STATE: [u8; 2] = [0x5a, 0xfe];

/// Length of `AUTHENTICATED_VARIABLE_HEADER`.
const HEADER: usize = 60;

/// `VARIABLE_DATA`, which begins every variable.
const START: [u8; 2] = [0xaa, 0x55];

/// `VAR_ADDED`: a variable that is complete. Deleting one clears further bits.
const ADDED: u8 = 0x3f;

/// Variables begin at multiples of this.
const ALIGNMENT: usize = 4;

/// A byte of flash memory that nobody has written.
const ERASED: u8 = 0xff;

/// Any later update of the keys is newer than this.
const TIME: Time = Time {
    year: 2000,
    month: 1,
    day: 1,
    hour: 0,
    minute: 0,
    second: 0,
};

/// Who is trusted.
#[derive(Debug, Clone, Copy)]
pub struct Enrolment<'c> {
    /// Whose entries these are.
    pub owner: Guid,
    /// PK.
    pub platform: &'c Certificate,
    /// KEK.
    pub exchange: &'c Certificate,
    /// db.
    pub database: &'c [&'c Certificate],
}

/// A copy of an empty variable store in which these keys are enrolled and Secure Boot is on.
///
/// # Errors
/// See [`StoreError`].
pub fn enrol(template: &[u8], keys: &Enrolment<'_>) -> Result<Vec<u8>, StoreError> {
    let (mut position, end) = free_space(template)?;
    let lists = [
        (Variable::Database, signature_lists(keys.owner, keys.database)),
        (Variable::KeyExchangeKeys, signature_lists(keys.owner, &[keys.exchange])),
        (Variable::PlatformKey, signature_lists(keys.owner, &[keys.platform])),
    ];
    let mut output = template.to_vec();
    let mut put = |bytes: Vec<u8>| {
        let target = output
            .get_mut(position..position + bytes.len())
            .filter(|_| position + bytes.len() <= end);
        target.ok_or(StoreError::Full)?.copy_from_slice(&bytes);
        position = (position + bytes.len()).next_multiple_of(ALIGNMENT);
        Ok(())
    };
    for (variable, data) in lists {
        put(record(
            variable.name(),
            variable.vendor(),
            ATTRIBUTES,
            &TIME.bytes(),
            &data,
        ))?;
    }
    put(record(ENABLE_NAME, ENABLE, ENABLE_ATTRIBUTES, &[0; 16], &[1]))?;
    Ok(output)
}

/// A variable with its header.
fn record(name: &str, vendor: Guid, attributes: u32, time: &[u8; 16], data: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let mut bytes = START.to_vec();
    bytes.extend([ADDED, 0]);
    bytes.extend(attributes.to_le_bytes());
    // The monotonic count, which authentication by time does not use.
    bytes.extend([0; 8]);
    bytes.extend_from_slice(time);
    // The index of a public key, which is not used either.
    bytes.extend([0; 4]);
    bytes.extend((name.len() as u32).to_le_bytes());
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend_from_slice(vendor.bytes());
    bytes.extend(name);
    bytes.extend_from_slice(data);
    bytes
}

/// Where the next variable can be written, and where the store ends.
fn free_space(template: &[u8]) -> Result<(usize, usize), StoreError> {
    let (mut position, end) = store(template)?;
    while template.get(position..position + 2) == Some(&START) {
        let header = template
            .get(position..position + HEADER)
            .ok_or(StoreError::Unknown("a variable is cut off"))?;
        let name_size = word(header, 36)?;
        let data = position + HEADER + name_size;
        let name = template
            .get(position + HEADER..data)
            .ok_or(StoreError::Unknown("a name is cut off"))?;
        let is_key = Variable::ALL
            .iter()
            .any(|it| name.strip_suffix(&[0, 0]) == Some(&it.wide_name()));
        if is_key && header[2] == ADDED {
            let units: Vec<u16> = name
                .chunks_exact(2)
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                .collect();
            return Err(StoreError::Enrolled(
                String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned(),
            ));
        }
        position = (data + word(header, 40)?).next_multiple_of(ALIGNMENT);
    }
    match template.get(position..end) {
        Some(rest) if rest.iter().all(|byte| *byte == ERASED) => Ok((position, end)),
        _ => Err(StoreError::Unknown("what follows the variables is not erased")),
    }
}

/// Where the first variable is, and the end of the store.
fn store(template: &[u8]) -> Result<(usize, usize), StoreError> {
    let at = |position: usize, length: usize| template.get(position..position + length);
    if at(VOLUME_GUID, 16) != Some(VOLUME.bytes()) || at(VOLUME_SIGNATURE, 4) != Some(b"_FVH") {
        return Err(StoreError::Unknown("it has no header of such a volume"));
    }
    let begin = word(template, VOLUME_HEADER_LENGTH)? & 0xffff;
    if at(begin, 16) != Some(STORE.bytes()) || at(begin + 20, 2) != Some(&STORE_STATE) {
        return Err(StoreError::Unknown("it has no store of authenticated variables"));
    }
    let end = begin + word(template, begin + 16)?;
    if end > template.len() || end < begin + STORE_HEADER {
        return Err(StoreError::Unknown("the store is cut off"));
    }
    Ok((begin + STORE_HEADER, end))
}

/// A little-endian number of four bytes.
fn word(bytes: &[u8], at: usize) -> Result<usize, StoreError> {
    let word = bytes.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok());
    let word = word.ok_or(StoreError::Unknown("it is cut off"))?;
    Ok(u32::from_le_bytes(word) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An empty store of two pages.
    fn empty() -> Vec<u8> {
        let mut bytes = vec![ERASED; 8192];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &[0; 0x48 + STORE_HEADER]);
        put(VOLUME_GUID, VOLUME.bytes());
        put(VOLUME_SIGNATURE, b"_FVH");
        put(VOLUME_HEADER_LENGTH, &[0x48, 0, 1, 2]);
        put(0x48, STORE.bytes());
        put(0x48 + 16, &4096_u32.to_le_bytes());
        put(0x48 + 20, &STORE_STATE);
        bytes
    }

    #[test]
    fn variables_are_found_again_and_keys_are_enrolled_once() {
        let mut store = empty();
        let other = record("Boot0000", VOLUME, 7, &[0; 16], b"odd");
        store[0x48 + STORE_HEADER..][..other.len()].copy_from_slice(&other);
        let (free, end) = free_space(&store).unwrap();
        assert_eq!(free, (0x48 + STORE_HEADER + other.len()).next_multiple_of(4));
        assert_eq!(end, 0x48 + 4096);
        let key = record("PK", VOLUME, ATTRIBUTES, &[0; 16], b"key");
        store[free..][..key.len()].copy_from_slice(&key);
        assert_eq!(free_space(&store), Err(StoreError::Enrolled("PK".to_owned())));
        store[free + 2] = 0x3d;
        assert!(free_space(&store).is_ok(), "a deleted key is none");
    }

    proptest! {
        #[test]
        fn damage_never_panics(position in 0..0x200usize, value: u8, length in 0..8192usize) {
            let mut store = empty();
            store[position] = value;
            let _ = free_space(&store);
            let _ = free_space(&store[..length]);
        }
    }
}
