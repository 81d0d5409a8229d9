//! Several stores as one.
#![cfg(feature = "routes")]
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

use mos_store::{
    Digest, Dir, Memory, Options, Read, Route, Router, RouterWriter, Schedule, StoreError, Timeouts, Write, open_read,
    open_read_with, open_write,
};
use mos_testkit::{Fault, HttpServer};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MS: Duration = Duration::from_millis(1);

/// A hundred blobs by name.
fn blobs() -> Vec<(String, Vec<u8>)> {
    (0..100_u32)
        .map(|n| n.to_le_bytes().to_vec())
        .map(|bytes| (Digest::of(&bytes).blob_name(), bytes))
        .collect()
}

fn first_byte(name: &str) -> u8 {
    u8::from_str_radix(&name[6..8], 16).unwrap()
}

fn folders<const N: usize>() -> (TempDir, [String; N]) {
    let root = tempfile::tempdir().unwrap();
    let urls = std::array::from_fn(|n| format!("dir://{}/{n}", root.path().display()));
    (root, urls)
}

#[test]
fn blobs_go_where_their_first_byte_says_and_the_rest_everywhere() {
    let (_root, [low, high, all]) = folders();
    let store = open_write(&format!("00-7f={low} 80-ff={high} {all}")).unwrap();
    for (name, bytes) in blobs() {
        store.put(&name, &bytes).unwrap();
    }
    store.put("release.json", b"{}").unwrap();
    let names = |url: &str| open_write(url).unwrap().list("").unwrap();
    let expected = |holds: fn(u8) -> bool| {
        let mut names: Vec<_> = blobs().into_iter().map(|(name, _)| name).collect();
        names.retain(|name| holds(first_byte(name)));
        names.push("release.json".into());
        names.sort();
        names
    };
    assert_eq!(names(&low), expected(|byte| byte < 0x80));
    assert_eq!(names(&high), expected(|byte| byte >= 0x80));
    assert_eq!(names(&all), expected(|_| true));
    assert_eq!(store.list("").unwrap(), expected(|_| true));
    for (name, bytes) in blobs() {
        assert_eq!(store.get(&name, 4).unwrap(), bytes);
        store.delete(&name).unwrap();
    }
    assert_eq!(names(&all), ["release.json"]);
    assert_eq!(names(&low), ["release.json"]);
}

#[test]
fn a_writer_knows_what_all_replicas_have_and_a_reader_what_any_has() {
    let (_root, [one, two]) = folders();
    let both = format!("{one} {two}");
    let (name, bytes) = blobs().swap_remove(0);
    open_write(&one).unwrap().put(&name, &bytes).unwrap();
    let (writer, reader) = (open_write(&both).unwrap(), open_read(&both).unwrap());
    let names = [name.clone(), "blobs/none".into()];
    assert_eq!(writer.length(&name).unwrap(), None);
    assert_eq!(writer.lengths(&names).unwrap(), [None, None]);
    assert_eq!(reader.length(&name).unwrap(), Some(4));
    assert_eq!(reader.lengths(&names).unwrap(), [Some(4), None]);
    assert_eq!(writer.get(&name, 4).unwrap(), bytes);
    writer.put(&name, &bytes).unwrap();
    assert_eq!(writer.lengths(&names).unwrap(), [Some(4), None]);
    assert_eq!(open_read(&two).unwrap().get(&name, 4).unwrap(), bytes);
    assert!(matches!(reader.get("blobs/none", 4), Err(StoreError::NotFound { .. })));
}

#[cfg(feature = "s3")]
#[test]
fn an_object_that_one_replica_lacks_or_has_of_another_length_is_put_in_all() {
    let (_root, [one, two]) = folders();
    let bucket = mos_testkit::S3Server::start();
    let urls = [one, two, bucket.url()];
    let all = open_write(&urls.join(" ")).unwrap();
    let names: Vec<String> = blobs().into_iter().map(|(name, _)| name).take(20).collect();
    let missing = |lengths: &[Option<u64>]| lengths.iter().filter(|length| length.is_none()).count();
    for (name, bytes) in blobs().iter().take(20) {
        all.put(name, bytes).unwrap();
    }
    all.put("release.json", b"new").unwrap();
    for url in &urls {
        let broken = open_write(url).unwrap();
        broken.delete(&names[3]).unwrap();
        broken.put(&names[4], b"longer than it was").unwrap();
        broken.put("release.json", b"old").unwrap();
        let found = all.lengths(&names).unwrap();
        assert_eq!((found[3], found[4], missing(&found)), (None, None, 2), "{url}");
        assert!(!all.holds("release.json", b"new").unwrap());
        for at in [3, 4] {
            all.put(&names[at], &blobs()[at].1).unwrap();
        }
        all.put("release.json", b"new").unwrap();
        assert_eq!(missing(&all.lengths(&names).unwrap()), 0);
        assert!(all.holds("release.json", b"new").unwrap());
        assert_eq!(broken.get(&names[4], 4).unwrap(), blobs()[4].1);
    }
}

#[test]
fn a_write_that_fails_somewhere_fails() {
    let (root, [one, two]) = folders();
    let store = open_write(&format!("{one} {two}")).unwrap();
    std::fs::write(root.path().join("1"), b"no folder").unwrap();
    let error = store.put("x", b"x").unwrap_err();
    assert!(error.to_string().contains(&two), "{error}");
    std::fs::remove_file(root.path().join("1")).unwrap();
    store.put("x", b"x").unwrap();
    assert_eq!(store.length("x").unwrap(), Some(1));
}

/// Two web servers with the same object, and a store of both.
struct Mirrors {
    root: TempDir,
    servers: [HttpServer; 2],
    router: Router,
}

fn mirrors() -> Mirrors {
    let root = tempfile::tempdir().unwrap();
    for folder in ["0", "1"] {
        Dir::new(root.path().join(folder)).put("x", &[7; 5000]).unwrap();
    }
    let servers = ["0", "1"].map(|folder| HttpServer::serve(&root.path().join(folder)));
    let options = Options {
        timeouts: Timeouts {
            connect: 500 * MS,
            read: 3000 * MS,
            total: 5000 * MS,
        },
        schedule: Schedule {
            first: MS,
            cap: 5 * MS,
            tries: 1,
        },
        ..Options::default()
    };
    let stores = servers.iter().map(|server| {
        let store: Arc<dyn Read> = open_read_with(&server.url(), &options).unwrap().into();
        (Route::parse(&server.url()).unwrap(), store)
    });
    let router = Router::new(stores.collect());
    Mirrors { router, root, servers }
}

impl Mirrors {
    fn read(&self) -> Vec<u8> {
        self.router.get_range("x", 0..5000).unwrap()
    }

    fn counts(&self) -> [usize; 2] {
        [0, 1].map(|n| self.servers[n].requests().len())
    }
}

#[test]
fn a_mirror_that_fails_is_avoided_and_probed_again() {
    let mirrors = mirrors();
    mirrors.servers[0].misbehave(Fault::Status(503), 99);
    for _ in 0..30 {
        assert_eq!(mirrors.read(), [7; 5000]);
    }
    let [first, second] = mirrors.counts();
    // Once, and once more for each time that its time was over.
    assert!((1..=4).contains(&first) && second == 30, "{first} {second}");
    let status = mirrors.router.status();
    assert!(status[0].failures as usize == first && status[1].failures == 0);
    assert!(status[1].latency.is_some() && status[0].latency.is_none());
    mirrors.servers[0].misbehave(Fault::Status(503), 0);
    let begun = Instant::now();
    while mirrors.router.status()[0].failures > 0 {
        assert_eq!(mirrors.read(), [7; 5000]);
        assert!(begun.elapsed() < 9000 * MS, "{:?}", mirrors.router.status());
        std::thread::sleep(50 * MS);
    }
    assert!(!mirrors.router.status()[0].avoided);
}

#[test]
fn a_mirror_that_is_slow_does_not_hold_up_a_read() {
    let mirrors = mirrors();
    for _ in 0..20 {
        mirrors.read();
    }
    for server in &mirrors.servers {
        server.misbehave(Fault::Stall(2500 * MS), 1);
        let begun = Instant::now();
        assert_eq!(mirrors.read(), [7; 5000]);
        assert!(begun.elapsed() < 2000 * MS, "{:?}", begun.elapsed());
        server.misbehave(Fault::Refuse, 0);
    }
}

#[test]
fn second_requests_are_bounded() {
    let mirrors = mirrors();
    for _ in 0..12 {
        mirrors.read();
    }
    let before: usize = mirrors.counts().iter().sum();
    // Always slower than ever before.
    for n in 0..30 {
        for server in &mirrors.servers {
            server.misbehave(Fault::Delay((40 + n) * MS), 1);
        }
        mirrors.read();
    }
    let more = mirrors.counts().iter().sum::<usize>() - before;
    assert!((30..=30 + 14).contains(&more), "{more}");
}

#[test]
fn wrong_bytes_are_reported_and_the_next_try_gets_others() {
    let mirrors = mirrors();
    let wrong = mirrors.root.path().join("0/x");
    std::fs::write(&wrong, [8; 5000]).unwrap();
    let mut reads = 0;
    let bytes = loop {
        let bytes = mirrors.read();
        reads += 1;
        if bytes == [7; 5000] {
            break bytes;
        }
        assert!(mirrors.router.report_bad("x"), "there is another mirror");
    };
    assert!(bytes == [7; 5000] && reads <= 2, "{reads}");
    std::fs::write(mirrors.root.path().join("1/x"), [8; 5000]).unwrap();
    while mirrors.read() == [8; 5000] && mirrors.router.report_bad("x") {
        reads += 1;
        assert!(reads <= 4);
    }
    assert_eq!(
        mirrors.router.status().iter().map(|status| status.wrong_objects).max(),
        Some(1)
    );
    assert!(!mirrors.router.report_bad("never read"));
}

#[test]
fn an_object_that_one_mirror_lacks_comes_from_the_other() {
    let mirrors = mirrors();
    std::fs::remove_file(mirrors.root.path().join("0/x")).unwrap();
    for _ in 0..5 {
        assert_eq!(mirrors.read(), [7; 5000]);
    }
    assert_eq!(
        mirrors.router.lengths(&["x".into(), "y".into()]).unwrap(),
        [Some(5000), None]
    );
    assert!(!mirrors.router.status()[0].avoided, "a mirror may lag behind");
    assert!(matches!(mirrors.router.get("y", 1), Err(StoreError::NotFound { .. })));
    // While one is silent, nobody can say that there is no such object.
    mirrors.servers[1].misbehave(Fault::Status(503), 9);
    assert!(matches!(
        mirrors.router.get("y", 1),
        Err(StoreError::Unreachable { .. })
    ));
    assert!(matches!(
        mirrors.router.lengths(&["y".into()]),
        Err(StoreError::Unreachable { .. })
    ));
}

#[test]
fn routes_in_front_of_memory() {
    let halves = [Memory::new(), Memory::new()];
    let routes = ["00-7f=dir:///low", "80-ff=dir:///high"].map(|text| Route::parse(text).unwrap());
    let stores = routes.into_iter().zip(&halves);
    let store = RouterWriter::new(
        stores
            .map(|(route, store)| (route, Arc::new(store.clone()) as Arc<dyn Write>))
            .collect(),
    );
    for (name, bytes) in blobs() {
        store.put(&name, &bytes).unwrap();
        assert_eq!(store.get(&name, 4).unwrap(), bytes);
    }
    let counts = halves.map(|half| half.list("").unwrap().len());
    assert!(counts[0] > 20 && counts[1] > 20 && counts[0] + counts[1] == 100);
    assert_eq!(store.address(), "00-7f=memory 80-ff=memory");
}
