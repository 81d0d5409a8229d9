//! `mos-node fetch` over `https`, to the end and to each kind of refusal.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[allow(dead_code, reason = "each file of tests uses its part")]
mod common;

use std::fs;
use std::path::Path;

use common::{World, noise};
use mos_testkit::{Authority, HttpServer};

const HOST: &str = "127.0.0.1";

/// A node that has release 1 as generation 1 from an `https` channel.
fn fetched(authority: &Authority) -> World {
    let world = World::secure(&authority.vouch(HOST), authority);
    world.publish(1, &[("web", &noise(1, 300_000))]);
    world.fetch().expect(0, &["starting generation 1"]);
    world
}

#[test]
fn release_is_fetched_over_https() {
    let world = fetched(&Authority::new());
    assert!(world.server.url().starts_with("https://"));
    assert_eq!(world.installed("bin/web"), noise(1, 300_000));
    assert!(world.blob_requests() > 0);
}

#[test]
fn server_that_is_not_believed_is_a_trust_failure() {
    let world = fetched(&Authority::new());
    let foreign = HttpServer::serve_tls(&world.channel, &Authority::new().vouch(HOST));
    world.configure(&foreign.url());
    let file = world.root.join("etc/mos/ca.pem");
    let expected = format!(
        "trust failure: {}: the server's certificate is not trusted: no authority in {} vouches for it; name a PEM file",
        foreign.url(),
        file.display()
    );
    world
        .fetch()
        .expect(3, &[&expected, "starting generation 1 (release 1) from before"]);
    assert_eq!(foreign.requests(), [""; 0]);
}

#[test]
fn certificate_out_of_date_is_waited_for_and_the_last_generation_starts() {
    let authority = Authority::new();
    let world = fetched(&authority);
    let expired = HttpServer::serve_tls(&world.channel, &authority.vouch_between(HOST, 1990, 2001));
    world.configure(&expired.url());
    world.fetch().expect(
        0,
        &[
            "the server's certificate expired at 2001-01-01T00:00:00Z, and the clock here says 20",
            "next try in 1 s",
            "starting generation 1 offline",
        ],
    );
    assert_eq!(world.current(), Path::new("generations/1"));
}

#[test]
fn https_without_a_file_of_authorities_is_a_wrong_setting() {
    let authority = Authority::new();
    let world = World::secure(&authority.vouch(HOST), &authority);
    let file = world.root.join("etc/mos/ca.pem");
    fs::remove_file(&file).unwrap();
    let expected = format!(
        "https needs the certificates of authorities: {}: No such file",
        file.display()
    );
    world.fetch().expect(2, &[&expected, "and make a new image"]);
}
