//! As much of DER (ITU-T X.690) as certificates and signatures need: values are written whole, and read one by one.

/// Tags (X.680, 8.4), constructed where the type is.
pub(super) mod tag {
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// `[0]`, constructed.
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    /// `[2]`, constructed.
    pub(crate) const CONTEXT_2: u8 = 0xa2;
    /// `[3]`, constructed.
    pub(crate) const CONTEXT_3: u8 = 0xa3;
}

/// Object identifiers, encoded, without tag and length.
pub(super) mod oid {
    /// 2.16.840.1.101.3.4.2.1
    pub(crate) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    /// 1.2.840.113549.1.1.1
    pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    /// 1.2.840.113549.1.1.11
    pub(crate) const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
    /// 1.2.840.113549.1.7.1
    pub(crate) const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
    /// 1.2.840.113549.1.7.2
    pub(crate) const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    /// 1.2.840.113549.1.9.3
    pub(crate) const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
    /// 1.2.840.113549.1.9.4
    pub(crate) const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
    /// 1.3.6.1.4.1.311.2.1.4, `SPC_INDIRECT_DATA_OBJID`
    pub(crate) const SPC_INDIRECT_DATA: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
    /// 1.3.6.1.4.1.311.2.1.15, `SPC_PE_IMAGE_DATA_OBJID`
    pub(crate) const SPC_PE_IMAGE_DATA: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0f];
    /// 2.5.4.3
    pub(crate) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    /// 2.5.29.14
    pub(crate) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
    /// 2.5.29.15
    pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    /// 2.5.29.19
    pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
}

/// A value: tag, length, content.
pub(super) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match (content.len(), significant.len()) {
        (0..0x80, _) => bytes.push(content.len() as u8),
        (_, count) => {
            bytes.push(0x80 | count as u8);
            bytes.extend_from_slice(significant);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(tag::SEQUENCE, &parts.concat())
}

/// A SET OF: its members in the order of their encodings (X.690, 11.6).
pub(super) fn set_of(mut members: Vec<Vec<u8>>) -> Vec<u8> {
    members.sort();
    value(tag::SET, &members.concat())
}

/// A number that is not negative, from its big-endian bytes.
pub(super) fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let mut content = number[zeros..].to_vec();
    if content.first().is_none_or(|byte| byte & 0x80 != 0) {
        content.insert(0, 0);
    }
    value(tag::INTEGER, &content)
}

pub(super) fn object(identifier: &[u8]) -> Vec<u8> {
    value(tag::OID, identifier)
}

/// An AlgorithmIdentifier whose parameters are NULL, as those of SHA-256 and RSA are here (RFC 3370, RFC 4055).
pub(super) fn algorithm(identifier: &[u8]) -> Vec<u8> {
    sequence(&[&object(identifier), &value(tag::NULL, &[])])
}

/// A bit string of whole bytes.
pub(super) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    value(tag::BIT_STRING, &[&[0], bytes].concat())
}

/// What is wrong with bytes that should be DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DerError(pub(super) &'static str);

/// A value as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) content: &'a [u8],
    /// With tag and length.
    pub(super) whole: &'a [u8],
}

impl<'a> Value<'a> {
    /// Reads what is inside.
    pub(super) fn open(self) -> Reader<'a> {
        Reader(self.content)
    }
}

/// Reads one value after the other; never beyond its bytes, and nothing is allocated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next value, which must have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<Value<'a>, DerError> {
        self.optional(tag)?
            .ok_or(DerError("a value is missing, or has another type"))
    }

    /// The next value if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, DerError> {
        if self.0.first() == Some(&tag) {
            self.any().map(Some)
        } else {
            Ok(None)
        }
    }

    /// The next value.
    pub(super) fn any(&mut self) -> Result<Value<'a>, DerError> {
        let (header, length) = header(self.0)?;
        let end = header.checked_add(length).filter(|end| *end <= self.0.len());
        let end = end.ok_or(DerError("a value is cut off"))?;
        let (whole, rest) = self.0.split_at(end);
        self.0 = rest;
        Ok(Value {
            content: &whole[header..],
            whole,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Lengths of the header and of the content. No value here has a tag above 30 or over 2^32 bytes.
fn header(bytes: &[u8]) -> Result<(usize, usize), DerError> {
    let [tag, first, rest @ ..] = bytes else {
        return Err(DerError("a value is cut off"));
    };
    if tag & 0x1f == 0x1f {
        return Err(DerError("a tag is too large"));
    }
    if *first < 0x80 {
        return Ok((2, usize::from(*first)));
    }
    let count = usize::from(first & 0x7f);
    let digits = rest.get(..count).filter(|_| (1..=4).contains(&count));
    let digits = digits.ok_or(DerError("a length is too large or indefinite"))?;
    let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
    if length < 0x80 || digits[0] == 0 {
        return Err(DerError("a length is not in its shortest form"));
    }
    Ok((2 + count, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_written_in_their_shortest_form_and_read_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000] {
            let content = vec![7; length];
            let bytes = value(tag::OCTET_STRING, &content);
            let mut reader = Reader(&bytes);
            assert_eq!(reader.take(tag::OCTET_STRING).unwrap().content, content);
            assert!(reader.is_empty());
        }
        assert_eq!(value(tag::NULL, &[]), [5, 0]);
        assert_eq!(value(4, &[1; 0x80])[..3], [4, 0x81, 0x80]);
    }

    #[test]
    fn numbers_are_never_negative() {
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
    }

    #[test]
    fn what_is_not_der_is_refused() {
        for wrong in [
            &[0x30_u8][..],
            &[0x30, 2, 0],
            &[0x30, 0x80, 0, 0],
            &[4, 0x81, 1, 9],
            &[0x1f, 0],
            &[4, 0x85, 1, 1, 1, 1, 1],
        ] {
            assert!(Reader(wrong).any().is_err(), "{wrong:?}");
        }
        assert!(Reader(&[2, 1, 0]).take(tag::SEQUENCE).is_err());
    }

    proptest! {
        #[test]
        fn reading_ends_within_the_bytes(bytes: Vec<u8>) {
            let mut reader = Reader(&bytes);
            while let Ok(value) = reader.any() {
                prop_assert!(value.whole.len() >= 2);
            }
        }
    }
}
