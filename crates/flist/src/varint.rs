//! Numbers of the tables: unsigned LEB128 (DWARF 5, section 7.6), the shortest form only; differences to what is
//! expected folded to unsigned ones (zigzag), so that what follows its predecessor takes one byte.

/// Appends a number.
#[cfg(feature = "pack")]
pub(crate) fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a number that is probably near `expected`.
#[cfg(feature = "pack")]
pub(crate) fn push_near(out: &mut Vec<u8>, number: u32, expected: u32) {
    let difference = i64::from(number) - i64::from(expected);
    push(out, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
}

/// Numbers, taken one after the other.
#[derive(Debug)]
pub(crate) struct Numbers<'b>(pub(crate) &'b [u8]);

impl Numbers<'_> {
    /// The next number; `None` at the end, and for one that is cut off, too large or longer than it need be.
    fn next(&mut self) -> Option<u64> {
        let mut number = 0;
        for (place, byte) in self.0.iter().enumerate().take(5) {
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.0 = &self.0[place + 1..];
                return (*byte != 0 || place == 0).then_some(number);
            }
        }
        None
    }

    /// The next number.
    pub(crate) fn number(&mut self) -> Option<u32> {
        u32::try_from(self.next()?).ok()
    }

    /// The next number, written as its difference to this one.
    pub(crate) fn near(&mut self, expected: u32) -> Option<u32> {
        let folded = self.next()?;
        let difference = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        u32::try_from(i64::from(expected) + difference).ok()
    }
}

#[cfg(test)]
#[cfg(feature = "pack")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in proptest::collection::vec((any::<u32>(), any::<u32>()), 0..20)) {
            let mut bytes = Vec::new();
            for (number, expected) in &numbers {
                push(&mut bytes, u64::from(*number));
                push_near(&mut bytes, *number, *expected);
            }
            let mut read = Numbers(&bytes);
            for (number, expected) in &numbers {
                prop_assert_eq!(read.number(), Some(*number));
                prop_assert_eq!(read.near(*expected), Some(*number));
            }
            prop_assert_eq!(read.number(), None);
        }

        #[test]
        fn what_is_read_is_what_would_be_written(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut read = Numbers(&bytes);
            let mut again = Vec::new();
            while let Some(number) = read.number() {
                push(&mut again, u64::from(number));
            }
            prop_assert!(bytes.starts_with(&again));
        }
    }

    #[test]
    fn near_numbers_take_a_byte_and_odd_ones_are_refused() {
        let mut bytes = Vec::new();
        push_near(&mut bytes, 1000, 1000);
        push_near(&mut bytes, 937, 1000);
        assert_eq!(bytes.len(), 2);
        for odd in [&[0x80][..], &[0x80, 0], &[0xff, 0xff, 0xff, 0xff, 0x1f], &[0xff; 6]] {
            assert_eq!(Numbers(odd).number(), None, "{odd:x?}");
        }
        assert_eq!(Numbers(&[1]).near(0), None, "below nothing");
    }
}
