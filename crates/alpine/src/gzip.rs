//! gzip members that follow each other, and where each ends: what Alpine signs is a range of compressed bytes.

use std::io::Read as _;

use flate2::bufread::GzDecoder;

/// Largest archive of signatures in bytes, decompressed; a signature has 512 and its header as many.
pub(crate) const SIGNATURE_MAX: u64 = 256 << 10;

/// One member.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its bytes, decompressed.
    pub(crate) plain: Vec<u8>,
    /// Its length, compressed.
    pub(crate) length: usize,
}

/// Decompresses the member at the beginning, which may hold `limit` bytes.
pub(crate) fn first_member(bytes: &[u8], limit: u64) -> Result<Member, String> {
    let mut decoder = GzDecoder::new(bytes);
    let mut plain = Vec::new();
    let read = (&mut decoder).take(limit.saturating_add(1)).read_to_end(&mut plain);
    read.map_err(|error| format!("damaged gzip: {error}"))?;
    if plain.len() as u64 > limit {
        return Err(format!("more than {limit} bytes when decompressed"));
    }
    Ok(Member {
        plain,
        length: bytes.len() - decoder.into_inner().len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_end_where_they_end() {
        let (first, second) = (gzip(b"first"), gzip(b"second"));
        let both = [&first[..], &second].concat();
        let member = first_member(&both, 5).unwrap();
        assert_eq!(
            (member.plain.as_slice(), member.length),
            (b"first".as_slice(), first.len())
        );
        assert_eq!(first_member(&both[member.length..], 6).unwrap().plain, b"second");
        assert!(first_member(&both, 4).is_err());
        for end in 0..first.len() {
            assert!(first_member(&first[..end], 5).is_err(), "{end}");
        }
    }
}
