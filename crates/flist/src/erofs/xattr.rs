//! Extended attributes beside an inode.
//!
//! An flist has a tree's attributes as they are. An image that overlayfs takes for a lower layer ([`Style::Overlay`])
//! also names each large file's object, in `trusted.overlay.metacopy` (with the fs-verity digest, `struct
//! ovl_metacopy`) and `trusted.overlay.redirect` (its path in the directory of objects), as composefs does; a tree's
//! own `trusted.overlay.*` attributes are then `trusted.overlay.overlay.*`, which overlayfs (Linux 6.7) shows as the
//! plain ones.

use std::collections::BTreeMap;

use zerocopy::byteorder::little_endian::U16;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::format::{XattrEntry, XattrHeader};
use crate::verity::ObjectDigest;

/// Attributes by full name.
pub(crate) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// `EROFS_XATTR_INDEX_*` and what each stands for; the access lists are whole names.
const PREFIXES: [(u8, &[u8]); 6] = [
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (1, b"user."),
    (4, b"trusted."),
    (5, b"lustre."),
    (6, b"security."),
];
const METACOPY: &[u8] = b"trusted.overlay.metacopy";
const REDIRECT: &[u8] = b"trusted.overlay.redirect";
const OVERLAY: &[u8] = b"trusted.overlay.";
const ESCAPED: &[u8] = b"trusted.overlay.overlay.";
/// `struct ovl_metacopy` before the digest: version 0, 36 bytes, no flags, `FS_VERITY_HASH_ALG_SHA256`.
const METACOPY_HEAD: [u8; 4] = [0, 36, 0, 1];

/// Who reads an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Everybody: it is the beginning of an flist.
    #[cfg(feature = "pack")]
    Flist,
    /// Overlayfs, on this machine.
    Overlay,
}

/// Bytes that `xattr_count` of an inode stands for (`erofs_xattr_ibody_size`).
pub(crate) fn area_length(count: u16) -> usize {
    match usize::from(count) {
        0 => 0,
        count => size_of::<XattrHeader>() + 4 * (count - 1),
    }
}

/// The `xattr_count` of an area made by [`encode`], or `None` when it is too large for one inode.
pub(crate) fn area_count(length: usize) -> Option<u16> {
    match length {
        0 => Some(0),
        _ => u16::try_from((length - size_of::<XattrHeader>()) / 4 + 1).ok(),
    }
}

/// The area beside an inode, or the name of the attribute that EROFS cannot hold. `object` is that of a file outside
/// the image.
pub(crate) fn encode(xattrs: &Xattrs, object: Option<ObjectDigest>, style: Style) -> Result<Vec<u8>, Vec<u8>> {
    let overlay = style == Style::Overlay;
    let object = object.filter(|_| overlay);
    if xattrs.is_empty() && object.is_none() {
        return Ok(Vec::new());
    }
    let mut area = vec![0; size_of::<XattrHeader>()];
    for (name, value) in xattrs {
        let escaped = match name.strip_prefix(OVERLAY) {
            Some(rest) if overlay => [ESCAPED, rest].concat(),
            _ => name.clone(),
        };
        push(&mut area, &escaped, value).ok_or_else(|| name.clone())?;
    }
    if let Some(object) = object {
        let metacopy = [&METACOPY_HEAD[..], object.as_bytes()].concat();
        push(&mut area, METACOPY, &metacopy).ok_or(METACOPY)?;
        push(&mut area, REDIRECT, format!("/{}", object.path()).as_bytes()).ok_or(REDIRECT)?;
    }
    Ok(area)
}

fn push(area: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Option<()> {
    let (prefix, rest) = PREFIXES.iter().find_map(|(index, prefix)| {
        let rest = name.strip_prefix(*prefix)?;
        (rest.is_empty() != prefix.ends_with(b".")).then_some((*index, rest))
    })?;
    if rest.contains(&0) {
        return None;
    }
    let entry = XattrEntry {
        name_length: u8::try_from(rest.len()).ok()?,
        prefix,
        value_length: U16::new(u16::try_from(value.len()).ok()?),
    };
    area.extend_from_slice(entry.as_bytes());
    area.extend_from_slice(rest);
    area.extend_from_slice(value);
    area.resize(area.len().next_multiple_of(4), 0);
    Some(())
}

/// Reads an area of an flist; says what is wrong with it.
pub(crate) fn decode(area: &[u8]) -> Result<Xattrs, &'static str> {
    let mut xattrs = Xattrs::new();
    if area.is_empty() {
        return Ok(xattrs);
    }
    let (header, mut rest) = XattrHeader::ref_from_prefix(area).map_err(|_| "attributes too short")?;
    if header.shared_count != 0 {
        return Err("shared attributes, which an flist does not have");
    }
    while !rest.is_empty() {
        let (name, value, behind) = split_entry(rest)?;
        rest = behind;
        if xattrs.insert(name, value.to_vec()).is_some() {
            return Err("an attribute given twice");
        }
    }
    Ok(xattrs)
}

/// Full name, value, and what lies behind.
type Split<'a> = (Vec<u8>, &'a [u8], &'a [u8]);

fn split_entry(area: &[u8]) -> Result<Split<'_>, &'static str> {
    const CUT: &str = "an attribute beyond its area";
    let (entry, rest) = XattrEntry::ref_from_prefix(area).map_err(|_| CUT)?;
    let name_length = usize::from(entry.name_length);
    let used = name_length + usize::from(entry.value_length.get());
    let bytes = rest.get(..used).ok_or(CUT)?;
    let behind = rest.get(used.next_multiple_of(4)..).ok_or(CUT)?;
    let prefix = PREFIXES.iter().find(|(index, _)| *index == entry.prefix);
    let (_, prefix) = prefix.ok_or("an attribute with an unknown prefix")?;
    let (suffix, value) = bytes.split_at(name_length);
    if suffix.is_empty() == prefix.ends_with(b".") || suffix.contains(&0) {
        return Err("an attribute with a bad name");
    }
    Ok(([prefix, suffix].concat(), value, behind))
}

#[cfg(test)]
#[cfg(feature = "pack")]
mod tests {
    use super::*;

    fn some() -> Xattrs {
        [
            (&b"user.a"[..], &b"1"[..]),
            (b"system.posix_acl_access", b"\x02\0\0\0"),
            (b"security.capability", b"xx"),
            (b"trusted.overlay.opaque", b"y"),
            (b"trusted.overlay.redirect", b"/etc"),
            (b"trusted.overlay.overlay.x", b""),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
    }

    #[test]
    fn attributes_come_back() {
        let object = Some(ObjectDigest::of(b"x"));
        let area = encode(&some(), object, Style::Flist).unwrap();
        assert_eq!(area_length(area_count(area.len()).unwrap()), area.len());
        assert_eq!(decode(&area).unwrap(), some());
        assert_eq!(encode(&Xattrs::new(), object, Style::Flist).unwrap(), []);
    }

    #[test]
    fn for_overlayfs_the_object_is_named_and_own_overlay_attributes_are_escaped() {
        let object = ObjectDigest::of(b"x");
        let area = encode(&some(), Some(object), Style::Overlay).unwrap();
        let read = decode(&area).unwrap();
        assert_eq!(read[REDIRECT], format!("/{}", object.path()).into_bytes());
        assert_eq!(read[METACOPY][4..], *object.as_bytes());
        assert_eq!(read[&b"trusted.overlay.overlay.redirect"[..]], b"/etc");
        assert_eq!(read[&b"trusted.overlay.overlay.overlay.x"[..]], b"");
        assert_eq!(read.len(), some().len() + 2);
    }

    #[test]
    fn names_that_erofs_cannot_hold_are_named() {
        for name in [&b"system.nfs4_acl"[..], b"user.", b"odd", b"user.a\0b"] {
            let xattrs = Xattrs::from([(name.to_vec(), Vec::new())]);
            assert_eq!(encode(&xattrs, None, Style::Flist), Err(name.to_vec()));
        }
    }

    #[test]
    fn an_attribute_cannot_be_given_twice() {
        let mut area = encode(&some(), None, Style::Flist).unwrap();
        let again = area[size_of::<XattrHeader>()..].to_vec();
        area.extend_from_slice(&again);
        assert_eq!(decode(&area), Err("an attribute given twice"));
    }
}
