//! What every store promises, tested on every backend.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

mod contract;

use contract::{reading, writing};
use mos_store::{Dir, Http, Memory, Options, open_read, open_write};
use mos_testkit::HttpServer;
#[cfg(feature = "s3")]
use mos_testkit::S3Server;

#[test]
fn memory() {
    writing(&Memory::new());
}

#[test]
fn directory() {
    let root = tempfile::tempdir().unwrap();
    let store = open_write(&format!("dir://{}/new/store", root.path().display())).unwrap();
    assert_eq!(store.list("").unwrap(), [""; 0]);
    writing(&store);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn web_server() {
    let root = tempfile::tempdir().unwrap();
    let server = HttpServer::serve(root.path());
    reading(&Dir::new(root.path()), &open_read(&server.url()).unwrap());
}

#[test]
fn web_server_below_a_path() {
    let root = tempfile::tempdir().unwrap();
    let server = HttpServer::serve(root.path());
    let store = Http::new(&format!("{}/deeper/still", server.url()), &Options::default()).unwrap();
    reading(&Dir::new(root.path().join("deeper/still")), &store);
}

#[cfg(feature = "s3")]
#[test]
fn bucket() {
    let server = S3Server::start();
    writing(&open_write(&server.url()).unwrap());
}

#[cfg(feature = "s3")]
#[test]
fn bucket_below_a_prefix() {
    let server = S3Server::start();
    let whole = open_write(&server.url()).unwrap();
    whole.put("chan/beside", b"").unwrap();
    whole.put("channel/x", b"").unwrap();
    let store = open_write(&format!("{}/chan/nel?region=garage", server.url())).unwrap();
    writing(&store);
    assert_eq!(
        whole.list("chan").unwrap(),
        ["chan/beside", "chan/nel/a b/ü?#", "chan/nel/a/empty", "channel/x"]
    );
}

#[cfg(feature = "routes")]
#[test]
fn a_cached_directory() {
    let root = tempfile::tempdir().unwrap();
    let store = Dir::new(root.path().join("store"));
    writing(&mos_store::Cached::new(store, root.path().join("cache"), 1 << 20));
}

#[cfg(feature = "routes")]
#[test]
fn two_replicas() {
    let root = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("dir://{}", root.path().join(name).display());
    writing(&open_write(&format!("{} {}", url("a"), url("b"))).unwrap());
}

#[cfg(all(feature = "routes", feature = "s3"))]
#[test]
fn a_bucket_and_a_directory() {
    let (server, root) = (S3Server::start(), tempfile::tempdir().unwrap());
    writing(&open_write(&format!("{} dir://{}", server.url(), root.path().display())).unwrap());
}
