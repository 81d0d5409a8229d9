//! Against a real registry: Debian's `docker-registry`.
#![allow(clippy::unwrap_used, reason = "functions beside the tests are tests too")]

mod support;

use std::sync::Mutex;

use mos_oci::{Artefact, Content, Credentials, OciError, Options, Progress, Reference, Registry, Sha256, pull, push};
use mos_store::{Digest, Memory, Read as _, StoreError, Write as _};

use support::{Server, noise};

/// An flist that is none, which nobody here parses, with blobs in a store.
struct Sample {
    flist: Vec<u8>,
    blobs: Vec<(Digest, u64)>,
    store: Memory,
}

fn sample(seeds: &[u64]) -> Sample {
    let store = Memory::new();
    let mut blobs = Vec::new();
    for seed in seeds {
        let bytes = noise(*seed, 300_000);
        let digest = Digest::of(&bytes);
        store.put(&digest.blob_name(), &bytes).unwrap();
        blobs.push((digest, bytes.len() as u64));
    }
    let flist = format!("MOSFLIST {blobs:?}").into_bytes();
    Sample { flist, blobs, store }
}

impl Sample {
    fn content(&self) -> Content<'_> {
        Content {
            flist: &self.flist,
            blobs: &self.blobs,
        }
    }

    fn push(&self, registry: &Registry) -> Result<mos_oci::Pushed, OciError> {
        push(self.content(), &self.store, registry, &|_| {})
    }
}

fn writer(address: &str) -> Registry {
    Registry::writer(
        &Reference::parse(address).unwrap(),
        Credentials::anonymous(),
        Options::default(),
    )
    .unwrap()
}

fn reader(address: &str) -> Registry {
    Registry::reader(
        &Reference::parse(address).unwrap(),
        Credentials::anonymous(),
        Options::default(),
    )
    .unwrap()
}

#[test]
fn pushed_and_pulled() {
    let Some(server) = Server::start("") else { return };
    let address = server.address("team/web:1");
    let sample = sample(&[1, 2, 3]);
    let told = Mutex::new(Vec::new());
    let pushed = push(sample.content(), &sample.store, &writer(&address), &|progress| {
        told.lock().unwrap().push(progress);
    })
    .unwrap();
    assert_eq!((pushed.layers, pushed.sent_layers), (4, 4));
    assert_eq!(pushed.sent_bytes, 900_000 + sample.flist.len() as u64);
    let last = told.into_inner().unwrap().pop().unwrap();
    let all = Progress {
        layers_done: 4,
        layers: 4,
        bytes_done: pushed.bytes,
        bytes: pushed.bytes,
    };
    assert_eq!(last, all);

    let store = Memory::new();
    let pulled = pull(&reader(&address), &store, &|_| {}).unwrap();
    assert_eq!(
        (&pulled.flist, &pulled.blobs, pulled.manifest),
        (&sample.flist, &sample.blobs, pushed.manifest)
    );
    assert_eq!(pulled.fetched_layers, 4);
    for (digest, length) in &sample.blobs {
        assert!(digest.matches(&store.get(&digest.blob_name(), *length).unwrap()));
    }
    let again = pull(&reader(&address), &store, &|_| {}).unwrap();
    assert_eq!(
        again.fetched_bytes,
        sample.flist.len() as u64,
        "blobs that are there stay"
    );
    let fixed = server.address(&format!("team/web@{}", pushed.manifest));
    assert_eq!(pull(&reader(&fixed), &store, &|_| {}).unwrap().flist, sample.flist);
}

#[test]
fn only_what_is_missing_is_sent() {
    let Some(server) = Server::start("") else { return };
    let first = sample(&[1, 2, 3]);
    first.push(&writer(&server.address("web:1"))).unwrap();
    let second = sample(&[1, 2, 4]);
    let pushed = second.push(&writer(&server.address("web:2"))).unwrap();
    assert_eq!(
        (pushed.sent_layers, pushed.sent_bytes),
        (2, 300_000 + second.flist.len() as u64)
    );
    let again = second.push(&writer(&server.address("web:2"))).unwrap();
    assert_eq!((again.sent_layers, again.manifest), (0, pushed.manifest));

    // What the tag names already is not even read from the store.
    let empty = Memory::new();
    let registry = writer(&server.address("web:2"));
    let unread = push(second.content(), &empty, &registry, &|_| {}).unwrap();
    assert_eq!(unread.sent_layers, 0);
}

#[test]
fn pieces_make_the_same_blob() {
    let Some(server) = Server::start("") else { return };
    let sample = sample(&[1, 2]);
    let reference = Reference::parse(&server.address("pieces:1")).unwrap();
    let options = Options {
        piece: 70_000,
        ..Options::default()
    };
    let registry = Registry::writer(&reference, Credentials::anonymous(), options).unwrap();
    assert_eq!(sample.push(&registry).unwrap().sent_layers, 3);
    let store = Memory::new();
    let pulled = pull(&reader(&server.address("pieces:1")), &store, &|_| {}).unwrap();
    assert_eq!(pulled.blobs, sample.blobs);
}

#[test]
fn content_is_read_without_pulling() {
    let Some(server) = Server::start("") else { return };
    let sample = sample(&[7]);
    sample.push(&writer(&server.address("lazy:1"))).unwrap();
    let artefact = Artefact::open(reader(&server.address("lazy:1"))).unwrap();
    assert_eq!(artefact.flist().unwrap(), sample.flist);
    let name = sample.blobs[0].0.blob_name();
    let whole = sample.store.get(&name, 1 << 20).unwrap();
    assert_eq!(artefact.get(&name, 1 << 20).unwrap(), whole);
    assert_eq!(artefact.get_range(&name, 1000..2000).unwrap(), whole[1000..2000]);
    assert_eq!(artefact.get_range(&name, 5..5).unwrap(), b"");
    assert_eq!(artefact.length(&name).unwrap(), Some(300_000));
    assert_eq!(artefact.length("blobs/aa/bb").unwrap(), None);
    assert!(matches!(artefact.get(&name, 10), Err(StoreError::TooLarge { .. })));
    assert!(matches!(
        artefact.get_range(&name, 299_999..300_001),
        Err(StoreError::Short {
            got: 1,
            expected: 2,
            ..
        })
    ));
    assert!(matches!(
        artefact.get("blobs/aa/bb", 10),
        Err(StoreError::NotFound { .. })
    ));
}

#[test]
fn what_is_not_there_is_named() {
    let Some(server) = Server::start("") else { return };
    let error = pull(&reader(&server.address("web:none")), &Memory::new(), &|_| {}).unwrap_err();
    let host = server.host();
    assert_eq!(error.to_string(), format!("{host}: there is no manifest none in web"));
}

#[test]
fn damaged_local_blob_is_not_sent() {
    let Some(server) = Server::start("") else { return };
    let sample = sample(&[1]);
    let name = sample.blobs[0].0.blob_name();
    sample.store.put(&name, &noise(9, 300_000)).unwrap();
    let error = sample.push(&writer(&server.address("web:1"))).unwrap_err();
    assert!(matches!(error, OciError::DamagedBlob { .. }), "{error}");
}

/// The registry's own disk is changed behind its back; it does not look.
#[test]
fn tampered_layers_are_refused() {
    let Some(server) = Server::start("") else { return };
    let sample = sample(&[1]);
    sample.push(&writer(&server.address("web:1"))).unwrap();
    let bytes = sample.store.get(&sample.blobs[0].0.blob_name(), 1 << 20).unwrap();
    let mut wrong = bytes.clone();
    wrong[4000] ^= 1;
    server.replace_blob(&Sha256::of(&bytes), &wrong);
    let store = Memory::new();
    let error = pull(&reader(&server.address("web:1")), &store, &|_| {}).unwrap_err();
    assert!(matches!(error, OciError::Tampered { .. }), "{error}");
    assert_eq!(store.list("").unwrap(), [""; 0], "nothing of it is kept");
}

#[test]
fn absent_registry_is_unreachable() {
    let options = Options {
        tries: 2,
        wait: std::time::Duration::from_millis(1),
        ..Options::default()
    };
    // The discard port: nothing listens there.
    let reference = Reference::parse("oci://127.0.0.1:9/web:1").unwrap();
    let registry = Registry::reader(&reference, Credentials::anonymous(), options).unwrap();
    let error = pull(&registry, &Memory::new(), &|_| {}).unwrap_err().to_string();
    assert!(error.starts_with("127.0.0.1:9: unreachable after 2 tries: "), "{error}");
}

#[test]
fn password_is_asked_for_and_used() {
    // bcrypt of `secret`, as `htpasswd -B` makes it; the registry takes no other kind.
    let Some(server) = Server::start_with_password() else {
        return;
    };
    let sample = sample(&[1]);
    let address = server.address("web:1");
    let error = sample.push(&writer(&address)).unwrap_err();
    assert!(matches!(error, OciError::Denied { .. }), "{error}");
    let reference = Reference::parse(&address).unwrap();
    let wrong = Credentials::basic("me", "wrong");
    let error = sample
        .push(&Registry::writer(&reference, wrong, Options::default()).unwrap())
        .unwrap_err();
    assert!(
        matches!(error, OciError::Denied { .. }) && !error.to_string().contains("wrong"),
        "{error}"
    );
    let right = Registry::writer(&reference, Credentials::basic("me", "secret"), Options::default()).unwrap();
    assert_eq!(sample.push(&right).unwrap().sent_layers, 2);
}

#[test]
fn token_server_is_asked_for_exactly_what_is_needed() {
    let Some((server, tokens)) = Server::start_with_tokens() else {
        return;
    };
    let sample = sample(&[1]);
    let reference = Reference::parse(&server.address("team/web:1")).unwrap();
    let me = Credentials::basic("me", "secret");
    sample
        .push(&Registry::writer(&reference, me.clone(), Options::default()).unwrap())
        .unwrap();
    let asked = tokens.requests();
    assert!(!asked.is_empty());
    for request in &asked {
        assert!(
            request.contains("service=registry&scope=repository%3Ateam%2Fweb%3Apull%2Cpush"),
            "{request}"
        );
        assert!(request.contains("Basic bWU6c2VjcmV0"), "{request}");
    }
    let stranger = Registry::reader(&reference, Credentials::basic("you", "x"), Options::default()).unwrap();
    let error = pull(&stranger, &Memory::new(), &|_| {}).unwrap_err().to_string();
    assert!(error.contains("its token server answers 401"), "{error}");
    let store = Memory::new();
    assert_eq!(
        pull(
            &Registry::reader(&reference, me, Options::default()).unwrap(),
            &store,
            &|_| {}
        )
        .unwrap()
        .blobs,
        sample.blobs
    );
}
