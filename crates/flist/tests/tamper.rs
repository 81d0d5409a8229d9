//! Nothing that was not packed reaches a reader.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod common;

use common::{packed, parsed, reader, small};
use mos_flist::{Depth, Finding, Flist, FlistError, Image as _, Part, ReadError};
use mos_store::{Memory, Write as _};
use std::sync::Arc;

#[test]
fn tampered_frame_is_refused_before_it_is_decompressed() {
    let store = Memory::new();
    let packed = packed(&small(), &store);
    let flist = parsed(&packed);
    let name = packed.blobs[0].digest.blob_name();
    let good = mos_store::Read::get(&store, &name, 1 << 20).unwrap();
    let entry = flist.find("bin/tool").unwrap();
    let mut right = Vec::new();
    reader(&flist, &store).read_file(&entry, &mut right).unwrap();
    for position in (0..good.len() - 300).step_by(97) {
        let mut bad = good.clone();
        bad[position] ^= 0x20;
        store.put(&name, &bad).unwrap();
        let mut out = Vec::new();
        match reader(&flist, &store).read_file(&entry, &mut out) {
            Err(ReadError::Tampered {
                file,
                part: Part::Frame { blob, .. },
                why: "its digest is another",
            }) => {
                assert_eq!((file, blob), ("bin/tool".to_owned(), packed.blobs[0].digest))
            }
            Err(other) => panic!("byte {position}: {other}"),
            Ok(()) => panic!("byte {position} was not noticed"),
        }
        assert!(right.starts_with(&out), "byte {position}: wrong bytes were written");
        assert!(
            reader(&flist, &store)
                .verify(Depth::Full, &|_| {})
                .iter()
                .any(|finding| matches!(finding, Finding::Damaged(_)))
        );
    }
}

/// A mirror that lies costs a second request, and nothing else; when all do, the file is tampered with.
#[test]
fn a_wrong_copy_is_replaced_by_that_of_another_mirror() {
    let mirrors = [Memory::new(), Memory::new()];
    let packed = mirrors
        .each_ref()
        .map(|store| packed(&small(), store))
        .into_iter()
        .next()
        .unwrap();
    let flist = parsed(&packed);
    let entry = flist.find("bin/tool").unwrap();
    let name = packed.blobs[0].digest.blob_name();
    let good = mos_store::Read::get(&mirrors[0], &name, 1 << 20).unwrap();
    let mut right = Vec::new();
    reader(&flist, &mirrors[0]).read_file(&entry, &mut right).unwrap();
    for liar in [0, 1] {
        mirrors[liar].put(&name, &vec![0x5a; good.len()]).unwrap();
        let router = routed(&mirrors);
        for _ in 0..3 {
            let mut out = Vec::new();
            reader(&flist, &router).read_file(&entry, &mut out).unwrap();
            assert_eq!(out, right);
        }
        assert!(router.status()[1 - liar].wrong_objects == 0);
        mirrors[liar].put(&name, &good).unwrap();
    }
    for store in &mirrors {
        store.put(&name, &vec![0x5a; good.len()]).unwrap();
    }
    let reader = reader(&flist, &routed(&mirrors));
    let error = reader.read_file(&entry, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ReadError::Tampered { .. }), "{error}");
}

fn routed(mirrors: &[Memory]) -> mos_store::Router {
    let route = || mos_store::Route::parse("dir:///mirror").unwrap();
    let stores = mirrors
        .iter()
        .map(|store| (route(), Arc::new(store.clone()) as Arc<dyn mos_store::Read>));
    mos_store::Router::new(stores.collect())
}

#[test]
fn missing_and_truncated_blobs_are_found() {
    let store = Memory::new();
    let packed = packed(&small(), &store);
    let flist = parsed(&packed);
    let name = packed.blobs[0].digest.blob_name();
    store.put(&name, b"short").unwrap();
    assert!(matches!(
        reader(&flist, &store).verify(Depth::Metadata, &|_| {})[..],
        [Finding::Length { found: 5, .. }]
    ));
    let entry = flist.find("bin/tool").unwrap();
    let mut out = Vec::new();
    assert!(reader(&flist, &store).read_file(&entry, &mut out).is_err());
    store.delete(&name).unwrap();
    assert!(matches!(
        reader(&flist, &store).verify(Depth::Metadata, &|_| {})[..],
        [Finding::Missing(_)]
    ));
    let error = reader(&flist, &store).read_file(&entry, &mut out).unwrap_err();
    assert!(matches!(error, ReadError::Store { .. }), "{error}");
    assert!(out.is_empty());
}

#[test]
fn tampered_flist_is_refused() {
    let good = packed(&small(), &Memory::new()).flist;
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 1 << (position % 8);
        assert!(Flist::parse(bad).is_err(), "byte {position}");
    }
}

#[test]
fn truncated_flist_is_refused() {
    let good = packed(&small(), &Memory::new()).flist;
    for length in 0..good.len() {
        assert!(Flist::parse(good[..length].to_vec()).is_err(), "{length} bytes");
    }
    let longer = [&good[..], b"x"].concat();
    assert!(matches!(Flist::parse(longer), Err(FlistError::Malformed { .. })));
}

#[test]
fn content_of_another_flist_is_not_read() {
    let store = Memory::new();
    let flist = parsed(&packed(&small(), &store));
    let entry = flist.find("bin/t").unwrap();
    let error = reader(&flist, &store).read_file(&entry, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ReadError::NotAFile(_)));
}
