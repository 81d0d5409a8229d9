//! What every store promises.

use mos_store::{Read, StoreError, Write};
use std::thread;

/// The reading half, against objects that `writer` puts there.
pub fn reading(writer: &dyn Write, reader: &dyn Read) {
    writer.put("a/ten", b"0123456789").unwrap();
    writer.put("a/empty", b"").unwrap();
    writer.put("a b/ü?#", b"odd").unwrap();
    assert_eq!(reader.get("a/ten", 10).unwrap(), b"0123456789");
    assert_eq!(reader.get("a/empty", 0).unwrap(), b"");
    assert_eq!(reader.get("a b/ü?#", 3).unwrap(), b"odd");
    assert_eq!(reader.length("a/ten").unwrap(), Some(10));
    assert_eq!(reader.length("a/empty").unwrap(), Some(0));
    spelling(writer, reader);
    missing(reader);
    many_lengths(reader);
    limits_and_ranges(reader);
    bad_names(reader);
}

/// Characters that mean something in URLs, and how they come back in a listing.
fn spelling(writer: &dyn Write, reader: &dyn Read) {
    for name in ["1.0+deb12u1", "100%", "%2e%2e", "a&b=c;d", "~"] {
        writer.put(name, name.as_bytes()).unwrap();
        assert_eq!(reader.get(name, 20).unwrap(), name.as_bytes());
        assert_eq!(writer.list(name).unwrap(), [name]);
        writer.delete(name).unwrap();
    }
}

fn missing(reader: &dyn Read) {
    assert_eq!(reader.length("a/none").unwrap(), None);
    for error in [
        reader.get("a/none", 1).unwrap_err(),
        reader.get_range("a/none", 0..1).unwrap_err(),
        reader.get_range("a/none", 0..0).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        assert!(error.to_string().contains(&reader.address()), "{error}");
    }
}

/// In the order of the names, also when one is asked for twice.
fn many_lengths(reader: &dyn Read) {
    let names = ["a/ten", "a/none", "a b/ü?#", "a/empty", "a/ten"].map(str::to_owned);
    let expected = [Some(10), None, Some(3), Some(0), Some(10)];
    assert_eq!(reader.lengths(&names).unwrap(), expected);
    assert_eq!(reader.lengths(&[]).unwrap(), []);
    let error = reader.lengths(&["a/ten".into(), "../up".into()]).unwrap_err();
    assert!(matches!(error, StoreError::BadName(_)), "{error}");
}

fn limits_and_ranges(reader: &dyn Read) {
    let error = reader.get("a/ten", 9).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit: 9, .. }), "{error}");
    for range in [0..10, 0..1, 9..10, 3..7, 4..4, 10..10] {
        let expected = &b"0123456789"[range.start as usize..range.end as usize];
        assert_eq!(reader.get_range("a/ten", range).unwrap(), expected);
    }
    for (range, count) in [(8..12, 2), (10..11, 0), (99..100, 0), (0..1 << 60, 10), (99..99, 0)] {
        match reader.get_range("a/ten", range.clone()).unwrap_err() {
            StoreError::Short { got, expected, .. } => assert_eq!((got, expected), (count, range.end - range.start)),
            other => panic!("{range:?}: {other}"),
        }
    }
    assert!(matches!(
        reader.get_range("a/empty", 0..1),
        Err(StoreError::Short { got: 0, .. })
    ));
}

fn bad_names(reader: &dyn Read) {
    for name in ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", "a/.tmp-1-0-b"] {
        for error in [
            reader.get(name, 1).unwrap_err(),
            reader.get_range(name, 0..1).unwrap_err(),
            reader.length(name).unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::BadName(_)), "{name}: {error}");
        }
    }
}

/// Both halves, on an empty store.
pub fn writing(store: &dyn Write) {
    reading(store, &store);
    assert_eq!(store.list("").unwrap(), ["a b/ü?#", "a/empty", "a/ten"]);
    assert_eq!(store.list("a/t").unwrap(), ["a/ten"]);
    let entries = store.list_entries("a/").unwrap();
    let lengths: Vec<_> = entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry.length))
        .collect();
    assert_eq!(lengths, [("a/empty", 0), ("a/ten", 10)]);
    for entry in entries {
        let age = entry.modified.unwrap().elapsed().unwrap_or_default();
        assert!(age < std::time::Duration::from_secs(60), "{}: {age:?}", entry.name);
    }
    assert_eq!(store.list("a/none").unwrap(), [""; 0]);
    store.put("a/ten", b"ten").unwrap();
    assert_eq!(store.get("a/ten", 10).unwrap(), b"ten");
    for name in ["", "../up", "/abs", "a/.tmp-1-0-b"] {
        assert!(matches!(store.put(name, b"x"), Err(StoreError::BadName(_))), "{name}");
        assert!(matches!(store.delete(name), Err(StoreError::BadName(_))), "{name}");
    }
    store.delete("a/ten").unwrap();
    store.delete("a/ten").unwrap();
    assert_eq!(store.length("a/ten").unwrap(), None);
    concurrent_puts(store);
}

/// Whoever reads while others write sees all of one version.
fn concurrent_puts(store: &dyn Write) {
    const LENGTH: usize = 300_000;
    let whole = |bytes: Vec<u8>| assert!(bytes.len() == LENGTH && bytes.iter().all(|byte| *byte == bytes[0]));
    store.put("race", &vec![b'0'; LENGTH]).unwrap();
    thread::scope(|scope| {
        for digit in b'1'..=b'4' {
            scope.spawn(move || (0..5).for_each(|_| store.put("race", &vec![digit; LENGTH]).unwrap()));
        }
        (0..20).for_each(|_| whole(store.get("race", LENGTH as u64).unwrap()));
    });
    whole(store.get("race", LENGTH as u64).unwrap());
    store.delete("race").unwrap();
    assert_eq!(store.list("").unwrap(), ["a b/ü?#", "a/empty"]);
}
