//! Keys of buckets stay where they were given.

use std::fs;

use mos_testkit::S3Server;

use crate::support::{mos, run};

#[test]
fn no_key_of_a_bucket_gets_into_an_flist() {
    let server = S3Server::start();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::create_dir(here.join("tree")).unwrap();
    fs::write(here.join("tree/file"), vec![7; 100_000]).unwrap();
    let url = server.url();
    let (key, secret) = url
        .split_once("://")
        .unwrap()
        .1
        .split_once('@')
        .unwrap()
        .0
        .split_once(':')
        .unwrap();
    let output = run(mos(here).args(["flist", "pack", "tree", "-o", "tree.fl", "--store", &url]));
    let flist = fs::read(here.join("tree.fl")).unwrap();
    // As typed, and as it is without the encoding of a URL.
    for word in [key, secret, &secret.replace("%2B", "+")] {
        assert!(
            !flist.windows(word.len()).any(|bytes| bytes == word.as_bytes()),
            "{word} is in the flist"
        );
    }
    for said in [output.stdout, output.stderr] {
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains(secret), "{said}");
    }
}
