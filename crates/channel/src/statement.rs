//! Signed statements of in-toto, such as SLSA provenance, in the same envelopes as releases.

use crate::PublicKey;
use crate::metadata::envelope;

/// The type of in-toto statements (in-toto attestation framework, "Envelope layer").
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Why a signed statement is worth nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// It cannot be read, or holds something else.
    #[error("it is no signed statement: {0}")]
    Damaged(String),
    /// No signature is of the key, or none is of this content.
    #[error("no signature in it is by {0} and of this content")]
    NotSigned(crate::KeyId),
}

/// Signs a statement. The same statement and key give the same bytes.
#[cfg(feature = "publish")]
pub fn seal(statement: &[u8], pair: &crate::KeyPair) -> Vec<u8> {
    envelope::seal(IN_TOTO, statement, &[pair])
}

/// The statement, when this key signed it.
///
/// # Errors
/// [`StatementError`].
pub fn open(bytes: &[u8], key: &PublicKey) -> Result<Vec<u8>, StatementError> {
    let opened = envelope::open_as(bytes, IN_TOTO).map_err(StatementError::Damaged)?;
    let mut signatures = opened.signatures.iter();
    match signatures.any(|(_, signature)| key.verifies(&opened.message, signature)) {
        true => Ok(opened.payload),
        false => Err(StatementError::NotSigned(key.id())),
    }
}

#[cfg(all(test, feature = "publish"))]
mod tests {
    use super::*;
    use crate::KeyPair;

    #[test]
    fn what_was_sealed_opens_with_its_key_alone() {
        let pair = KeyPair::generate().unwrap();
        let sealed = seal(b"{}", &pair);
        assert_eq!(open(&sealed, &pair.public()).unwrap(), b"{}");
        let other = KeyPair::generate().unwrap().public();
        let text = String::from_utf8(sealed.clone()).unwrap();
        let changed = text.replace("e30=", "W10=");
        assert_ne!(changed, text);
        let of_a_release = envelope::seal("application/vnd.mos.release+json", b"{}", &[&pair]);
        for (bytes, key, said) in [
            (&sealed[..], &other, "no signature in it is by "),
            (changed.as_bytes(), &pair.public(), "no signature in it is by "),
            (
                &of_a_release,
                &pair.public(),
                "it is no signed statement: the payload is ",
            ),
            (b"{", &pair.public(), "it is no signed statement: "),
        ] {
            let error = open(bytes, key).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
