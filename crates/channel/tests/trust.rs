//! What a node believes, and what it does not.
#![cfg(feature = "publish")]
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

mod support;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use mos_channel::{KeyPair, MAX_RELEASE, PublicKey, Release, Trust, TrustError, sign, verify};
use proptest::prelude::*;
use std::sync::LazyLock;
use support::{Build, ENVIRONMENT, VALIDITY, at, start};

/// A build, its release, and the envelope.
struct Signed {
    build: Build,
    release: Release,
    envelope: Vec<u8>,
}

fn signed() -> Signed {
    let build = Build::new();
    let release = build.plan_over(&Default::default()).unwrap().release;
    let envelope = sign(&release, &[&build.key]);
    Signed {
        build,
        release,
        envelope,
    }
}

impl Signed {
    fn trust(&self) -> Trust {
        self.build.inputs.trust.clone()
    }

    fn verify(&self, bytes: &[u8]) -> Result<Release, TrustError> {
        verify(bytes, &self.trust(), start())
    }

    /// The envelope with another payload, signed by the right key or left as it was.
    fn with_payload(&self, payload: &str) -> Vec<u8> {
        let mut envelope: serde_json::Value = serde_json::from_slice(&self.envelope).unwrap();
        envelope["payload"] = BASE64_STANDARD.encode(payload).into();
        serde_json::to_vec(&envelope).unwrap()
    }

    fn payload(&self) -> String {
        let envelope: serde_json::Value = serde_json::from_slice(&self.envelope).unwrap();
        String::from_utf8(BASE64_STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
    }
}

#[test]
fn a_good_release_is_believed() {
    let signed = signed();
    assert_eq!(signed.verify(&signed.envelope).unwrap(), signed.release);
}

#[test]
fn the_document_is_the_one_of_the_architecture() {
    let signed = signed();
    let (boot, api) = (&signed.release.boot, &signed.release.flists[0]);
    let start = format!(
        r#"{{"format":1,"environment":"dev","sequence":1,"created":"2026-11-21T06:00:00Z","expires":"2026-12-21T06:00:00Z","minimum_sequence":1,"boot":{{"path":"boot/{0}.efi","length":12,"sha256":"{0}","blake3":"{1}"}},"flists":[{{"name":"api","version":"1.0.0","path":"flists/{3}.fl","length":12,"sha256":"{2}","blake3":"{3}","blobs":[{{"blake3":"{4}","length":6}},"#,
        boot.sha256, boot.blake3, api.sha256, api.blake3, api.blobs[0].blake3
    );
    assert!(signed.payload().starts_with(&start), "{}\n{start}", signed.payload());
    let envelope: serde_json::Value = serde_json::from_slice(&signed.envelope).unwrap();
    assert_eq!(envelope["payloadType"], "application/vnd.mos.release+json");
    assert_eq!(envelope["signatures"][0]["keyid"], signed.build.key.id().to_string());
    assert_eq!(envelope.as_object().unwrap().len(), 3);
}

#[test]
fn tampered_release_is_refused() {
    let signed = signed();
    let tampered = signed.with_payload(&signed.payload().replace("\"sequence\":1", "\"sequence\":9"));
    assert_eq!(
        signed.verify(&tampered),
        Err(TrustError::BadSignature(signed.build.key.id()))
    );
    // No single flipped bit anywhere passes as another release.
    for at in 0..signed.envelope.len() {
        let mut flipped = signed.envelope.clone();
        flipped[at] ^= 1;
        assert!(
            signed
                .verify(&flipped)
                .map_or(true, |release| release == signed.release),
            "bit 0 of byte {at}"
        );
    }
}

#[test]
fn wrong_environments_key_is_refused() {
    let signed = signed();
    let production = KeyPair::generate().unwrap();
    let trust = Trust::new("production", vec![production.public()]);
    let error = verify(&signed.envelope, &trust, start()).unwrap_err();
    assert!(matches!(error, TrustError::UnknownKey { .. }), "{error}");
    for id in [signed.build.key.id(), production.id()] {
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
    // Also under the other key's name.
    let forged = String::from_utf8(signed.envelope.clone()).unwrap();
    let forged = forged.replace(&signed.build.key.id().to_string(), &production.id().to_string());
    assert_eq!(
        verify(forged.as_bytes(), &trust, start()),
        Err(TrustError::BadSignature(production.id()))
    );
}

#[test]
fn wrong_environment_is_refused_even_with_the_right_key() {
    let signed = signed();
    let trust = Trust::new("production", vec![signed.build.key.public()]);
    let error = verify(&signed.envelope, &trust, start()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the release is for environment `dev`, not `production`"
    );
}

#[test]
fn expired_release_is_refused() {
    let signed = signed();
    let end = start() + VALIDITY;
    assert!(verify(&signed.envelope, &signed.trust(), end - SignedDuration::from_secs(1)).is_ok());
    assert_eq!(
        verify(&signed.envelope, &signed.trust(), end),
        Err(TrustError::Expired { expired: end, now: end })
    );
}

#[test]
fn a_clock_before_the_floor_neither_bricks_nor_opens() {
    let signed = signed();
    let built = signed.trust().not_before(start());
    assert!(verify(&signed.envelope, &built, Timestamp::UNIX_EPOCH).is_ok());
    let built_later = signed.trust().not_before(at("2027-06-01T00:00:00Z"));
    let error = verify(&signed.envelope, &built_later, Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(
        error,
        TrustError::Expired {
            expired: start() + VALIDITY,
            now: at("2027-06-01T00:00:00Z")
        }
    );
    assert_eq!(built_later.seen(&signed.release).floor, at("2027-06-01T00:00:00Z"));
    assert_eq!(signed.trust().seen(&signed.release).floor, start());
}

#[test]
fn older_sequence_is_refused() {
    let signed = signed();
    let mut newer = signed.release.clone();
    newer.sequence = 2;
    let trust = signed.trust().seen(&newer);
    let error = verify(&signed.envelope, &trust, start()).unwrap_err();
    assert_eq!(error, TrustError::OlderSequence { offered: 1, trusted: 2 });
    assert!(verify(&signed.envelope, &signed.trust().seen(&signed.release), start()).is_ok());
}

#[test]
fn documents_that_no_publisher_writes_are_refused() {
    let signed = signed();
    let good = signed.payload();
    for (from, to, reason) in [
        ("\"format\":1", "\"format\":2", "this program is too old"),
        ("\"format\":1,", "", "missing field `format`"),
        (
            "\"environment\":\"dev\"",
            "\"environment\":\"../dev\"",
            "not the name of an environment",
        ),
        ("\"sequence\":1", "\"sequence\":0", "makes no sense"),
        ("\"sequence\":1", "\"sequence\":-1", "invalid value"),
        ("\"minimum_sequence\":1", "\"minimum_sequence\":2", "makes no sense"),
        ("2026-12-21", "2026-10-21", "expires"),
        ("2026-12-21T06:00:00Z", "soon", "release:"),
        ("\"path\":\"boot/", "\"path\":\"../boot/", "does not follow"),
        ("\"path\":\"flists/", "\"path\":\"/flists/", "does not follow"),
        ("\"name\":\"api\"", "\"name\":\"web\"", "twice"),
        ("\"name\":\"api\"", "\"name\":\"a/b\"", "not the name of an flist"),
    ] {
        assert!(good.contains(from), "{from}");
        let payload = good.replacen(from, to, 1);
        let key = &signed.build.key;
        let envelope = resign(&payload, key);
        match verify(&envelope, &signed.trust(), start()).unwrap_err() {
            TrustError::Malformed(why) => assert!(why.contains(reason), "{to}: {why}"),
            other => panic!("{to}: {other}"),
        }
    }
}

/// Signs any payload, written without the crate's own envelope.
fn resign(payload: &str, key: &KeyPair) -> Vec<u8> {
    use ed25519_dalek::pkcs8::DecodePrivateKey as _;
    use ed25519_dalek::{Signer as _, SigningKey};
    let kind = "application/vnd.mos.release+json";
    let message = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
    let signature = SigningKey::from_pkcs8_pem(&key.to_pem())
        .unwrap()
        .sign(message.as_bytes())
        .to_bytes();
    let signature = serde_json::json!({ "keyid": key.id().to_string(), "sig": BASE64_STANDARD.encode(signature) });
    let envelope = serde_json::json!({
        "payloadType": kind, "payload": BASE64_STANDARD.encode(payload), "signatures": [signature]
    });
    serde_json::to_vec(&envelope).unwrap()
}

#[test]
fn envelopes_out_of_bounds_are_refused() {
    let signed = signed();
    let text = String::from_utf8(signed.envelope.clone()).unwrap();
    let many = serde_json::json!({"keyid": "", "sig": BASE64_STANDARD.encode([0; 64])}).to_string() + ",";
    let short = serde_json::json!({"keyid": "", "sig": "AAAA"}).to_string() + ",";
    for (bytes, reason) in [
        (vec![b' '; MAX_RELEASE as usize + 1], "more than"),
        (
            text.replace("vnd.mos.release", "vnd.other").into_bytes(),
            "the payload is",
        ),
        (
            text.replace("[{", &format!("[{}{{", many.repeat(16))).into_bytes(),
            "17 signatures",
        ),
        (text.replace("[{", &format!("[{short}{{")).into_bytes(), "64 bytes"),
        (vec![b'['; 100_000], "envelope"),
        (Vec::new(), "envelope"),
    ] {
        match signed.verify(&bytes).unwrap_err() {
            TrustError::Malformed(why) => assert!(why.contains(reason), "{why}"),
            other => panic!("{other}"),
        }
    }
    let unsigned = sign(&signed.release, &[]);
    assert!(matches!(signed.verify(&unsigned), Err(TrustError::UnknownKey { signed_by, .. }) if signed_by == "nobody"));
}

#[test]
fn one_trusted_signature_of_several_is_enough() {
    let signed = signed();
    let (old, new) = (&signed.build.key, KeyPair::generate().unwrap());
    let both = sign(&signed.release, &[old, &new]);
    for key in [old.public(), new.public()] {
        assert!(verify(&both, &Trust::new(ENVIRONMENT, vec![key]), start()).is_ok());
    }
    let stranger = KeyPair::generate().unwrap().public();
    assert!(verify(&both, &Trust::new(ENVIRONMENT, vec![stranger]), start()).is_err());
    assert!(verify(&both, &Trust::new(ENVIRONMENT, Vec::<PublicKey>::new()), start()).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), at in 0..2000_usize, cut in 0..2000_usize) {
        static SIGNED: LazyLock<Signed> = LazyLock::new(signed);
        prop_assert!(SIGNED.verify(&bytes).is_err());
        let mut damaged = SIGNED.envelope.clone();
        let at = at.min(damaged.len());
        let end = (at + cut).min(damaged.len());
        damaged.splice(at..end, bytes.iter().copied());
        prop_assert!(SIGNED.verify(&damaged).map_or(true, |release| release == SIGNED.release));
        let payload = String::from_utf8_lossy(&bytes);
        prop_assert!(SIGNED.verify(&resign(&payload, &SIGNED.build.key)).is_err());
    }
}
