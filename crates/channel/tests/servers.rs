//! Channels behind real servers.
#![cfg(feature = "publish")]
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

mod support;

use mos_channel::{ChannelError, KeyPair, Trust, TrustError, fetch_release, history, verify_channel};
use mos_store::{Dir, open_read, open_write};
use mos_testkit::{Fault, HttpServer, S3Server};
use support::{Build, start};

#[test]
fn published_to_a_directory_and_read_over_http() {
    let mut build = Build::new();
    let directory = tempfile::tempdir().unwrap();
    let server = HttpServer::serve(directory.path());
    let reader = open_read(&server.url()).unwrap();
    for sequence in 1..=2 {
        build.set_flist("web", format!("flist {sequence}").as_bytes(), &[b"shared", b"web"]);
        build.publish(&Dir::new(directory.path()));
        server.misbehave(Fault::CutOff(100), 2);
        let audit = verify_channel(&reader, &build.inputs.trust, start()).unwrap();
        assert_eq!((audit.release.sequence, audit.findings), (sequence, vec![]));
    }
    assert_eq!(history(&reader, &build.inputs.trust, 9).unwrap().len(), 2);
    let stranger = Trust::new("dev", vec![KeyPair::generate().unwrap().public()]);
    match fetch_release(&reader, &stranger, start()).unwrap_err() {
        ChannelError::Trust {
            address,
            source: TrustError::UnknownKey { .. },
        } => assert_eq!(address, server.url()),
        other => panic!("{other}"),
    }
}

#[test]
fn published_to_a_bucket() {
    let mut build = Build::new();
    let server = S3Server::start();
    let channel = open_write(&format!("{}/dev", server.url())).unwrap();
    build.publish(&channel);
    build.set_flist("web", b"flist of web, next", &[b"shared", b"web 2"]);
    let second = build.publish(&channel);
    assert_eq!((second.release.sequence, second.steps.len()), (2, 4));
    let reader = open_read(&format!("{}/dev", server.read_only_url())).unwrap();
    assert_eq!(
        verify_channel(&reader, &build.inputs.trust, start()).unwrap().findings,
        []
    );
}
