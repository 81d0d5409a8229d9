//! The name of a blob: BLAKE3-256 of its bytes.

use std::fmt;
use std::io;
use std::str::FromStr;

/// Bytes hashed at once: enough for all lanes of a processor's vector unit.
const BUFFER: usize = 128 << 10;

/// A BLAKE3-256 digest, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of all that a reader gives, without holding it.
    ///
    /// # Errors
    /// What the reader says.
    pub fn of_reader(mut reader: impl io::Read) -> io::Result<Self> {
        let mut digester = Digester::default();
        let mut buffer = vec![0; BUFFER];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(digester.finish()),
                Ok(length) => io::Write::write_all(&mut digester, &buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The name under which every store keeps the blob with this digest: `blobs/ab/ab12…`. The folder keeps
    /// directories of file-backed stores small.
    pub fn blob_name(&self) -> String {
        let digits = self.to_string();
        format!("blobs/{}/{digits}", &digits[..2])
    }

    /// True when these bytes have this digest.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        Self::of(bytes) == *self
    }
}

/// Makes the digest of what is written to it, without holding it.
#[derive(Debug, Default)]
pub struct Digester(blake3::Hasher);

impl Digester {
    /// The digest of all that was written.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl io::Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| format!("`{text}` is not 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
        assert_eq!(Digest::of_reader(&bytes[..]).unwrap(), Digest::of(&bytes));
        let mut digester = Digester::default();
        for piece in bytes.chunks(777) {
            io::Write::write_all(&mut digester, piece).unwrap();
        }
        assert_eq!(digester.finish(), Digest::of(&bytes));
        assert_eq!(Digest::of_reader(io::empty()).unwrap(), Digest::of(b""));
    }
}
