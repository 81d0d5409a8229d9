//! The DSSE envelope (<https://github.com/secure-systems-lab/dsse>, protocol version 1).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// What the payload is.
const PAYLOAD_TYPE: &str = "application/vnd.mos.release+json";
/// Signatures that are looked at; more are no envelope of ours, and each costs a verification.
const MAX_SIGNATURES: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
struct RawSignature {
    keyid: String,
    sig: String,
}

/// An envelope taken apart. Nothing in it is verified yet.
pub(crate) struct Opened {
    /// The document.
    pub(crate) payload: Vec<u8>,
    /// What the signatures sign.
    pub(crate) message: Vec<u8>,
    /// The signatures, with the names of their keys.
    pub(crate) signatures: Vec<(String, [u8; 64])>,
}

/// Signs a release.
#[cfg(feature = "publish")]
pub fn sign(release: &super::Release, keys: &[&crate::KeyPair]) -> Vec<u8> {
    seal(PAYLOAD_TYPE, &release.to_json(), keys)
}

/// Signs a payload of a type with keys. The same payload and keys give the same envelope.
#[cfg(feature = "publish")]
pub(crate) fn seal(payload_type: &str, payload: &[u8], keys: &[&crate::KeyPair]) -> Vec<u8> {
    let message = pre_authentication_encoding(payload_type, payload);
    let signature = |key: &&crate::KeyPair| RawSignature {
        keyid: key.id().to_string(),
        sig: BASE64_STANDARD.encode(key.sign(&message)),
    };
    let envelope = Envelope {
        payload_type: payload_type.into(),
        payload: BASE64_STANDARD.encode(payload),
        signatures: keys.iter().map(signature).collect(),
    };
    serde_json::to_vec(&envelope).expect("an envelope has only texts, which always have a JSON form")
}

/// Takes an envelope apart.
pub(super) fn open(bytes: &[u8]) -> Result<Opened, String> {
    open_as(bytes, PAYLOAD_TYPE)
}

/// The same for a payload of another type.
pub(crate) fn open_as(bytes: &[u8], payload_type: &str) -> Result<Opened, String> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|error| format!("envelope: {error}"))?;
    if envelope.payload_type != payload_type {
        return Err(format!(
            "the payload is `{}`, not `{payload_type}`",
            shorten(&envelope.payload_type)
        ));
    }
    if envelope.signatures.len() > MAX_SIGNATURES {
        return Err(format!(
            "{} signatures, more than {MAX_SIGNATURES}",
            envelope.signatures.len()
        ));
    }
    let payload = BASE64_STANDARD
        .decode(&envelope.payload)
        .map_err(|error| format!("payload: {error}"))?;
    let message = pre_authentication_encoding(payload_type, &payload);
    let signatures = envelope
        .signatures
        .into_iter()
        .map(decode_signature)
        .collect::<Result<_, _>>()?;
    Ok(Opened {
        payload,
        message,
        signatures,
    })
}

fn decode_signature(raw: RawSignature) -> Result<(String, [u8; 64]), String> {
    let bytes = BASE64_STANDARD
        .decode(&raw.sig)
        .map_err(|error| format!("signature: {error}"))?;
    let bytes = bytes
        .try_into()
        .map_err(|_| "a signature is 64 bytes long".to_owned())?;
    Ok((shorten(&raw.keyid), bytes))
}

/// A text from outside, fit for a message.
fn shorten(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

/// What is signed: type and payload with their lengths, so that no two pairs look the same (DSSE, "PAE").
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoding = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    encoding.extend_from_slice(payload);
    encoding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_authentication_encoding_is_the_one_of_the_specification() {
        // The example of DSSE's protocol.md.
        let encoding = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoding, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
