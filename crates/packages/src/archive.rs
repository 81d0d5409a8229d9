//! The `ar` archive around a Debian package (deb(5)): a line, then members with headers of 60 bytes, each padded to
//! an even length.

/// What an archive begins with.
const MAGIC: &[u8] = b"!<arch>\n";

/// Name 16, time 12, owner 6, group 6, mode 8, length 10, end mark 2.
const HEADER_LENGTH: usize = 60;

/// One file of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member<'b> {
    /// Without padding and the trailing `/` that some tools write.
    pub(crate) name: &'b str,
    /// The content.
    pub(crate) bytes: &'b [u8],
}

/// Lists the members.
///
/// # Errors
/// What is wrong, and at which byte.
pub(crate) fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, String> {
    if !bytes.starts_with(MAGIC) {
        return Err("it does not begin with `!<arch>`".to_owned());
    }
    let mut members = Vec::new();
    let mut position = MAGIC.len();
    while position < bytes.len() {
        let member = member(bytes, position).ok_or_else(|| format!("damaged archive header at byte {position}"))?;
        let length = HEADER_LENGTH + member.bytes.len();
        position += length + length % 2;
        members.push(member);
    }
    Ok(members)
}

fn member(bytes: &[u8], position: usize) -> Option<Member<'_>> {
    let start = position.checked_add(HEADER_LENGTH)?;
    let header = bytes.get(position..start)?;
    if &header[58..] != b"`\n" {
        return None;
    }
    let name = std::str::from_utf8(&header[..16]).ok()?.trim_end();
    let length: usize = std::str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()?;
    Some(Member {
        name: name.strip_suffix('/').unwrap_or(name),
        bytes: bytes.get(start..start.checked_add(length)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, content) in members {
            let length = content.len();
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n", 0, 0, 0, 100_644).bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len() + length % 2, b'\n');
        }
        bytes
    }

    #[test]
    fn odd_lengths_are_padded() {
        let bytes = archive(&[("debian-binary", b"2.0"), ("data.tar/", b"x")]);
        let members = members(&bytes).unwrap();
        assert_eq!(members[0].name, "debian-binary");
        assert_eq!(
            members[1],
            Member {
                name: "data.tar",
                bytes: b"x"
            }
        );
    }

    proptest! {
        #[test]
        fn damage_never_panics(position in 0..140usize, value: u8, length in 0..140usize) {
            let mut bytes = archive(&[("debian-binary", b"2.0\n"), ("data", b"12345")]);
            let position = position % bytes.len();
            bytes[position] = value;
            let _ = members(&bytes);
            let _ = members(&bytes[..length.min(bytes.len())]);
        }
    }
}
