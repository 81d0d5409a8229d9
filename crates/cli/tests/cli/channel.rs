//! Channels that are not there, or not reachable.

use std::net::{Ipv4Addr, TcpListener};

use expect_test::expect;

use crate::HELLO;
use crate::support::System;
use crate::transcript::transcript;

#[test]
fn empty_channel_is_not_found() {
    let system = System::new(&[HELLO]);
    let says = |verb: &str| transcript(&mut system.command(&["release", verb, "--env", "dev"]), system.folder());
    expect![[r#"
        ! error: dir://[HERE]/repository/dist/channel/dev: no object release.json
        !  hint: `mos release publish` writes the first release of a channel
        [exit 4]
    "#]]
    .assert_eq(&says("show"));
    assert_eq!(says("verify"), says("show"));
}

#[test]
fn unreachable_channel_is_named_with_the_tries() {
    let system = System::new(&[HELLO]);
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}/dev");
    let said = transcript(
        &mut system.command(&["release", "show", "--env", "dev", "--from", &url]),
        system.folder(),
    );
    expect![[r#"
        ! error: http://[SERVER]/dev: unreachable after 5 tries: io: Connection refused (os error 111)
        [exit 4]
    "#]]
    .assert_eq(&said.replace(&free.to_string(), "[SERVER]"));
}

#[test]
fn address_of_an_unknown_kind_is_a_usage_error() {
    let system = System::new(&[HELLO]);
    let arguments = ["release", "show", "--env", "dev", "--from", "ftp://example.org/dev"];
    expect![[r#"
        ! error: `ftp://example.org/dev` is not the address of a store: a store is dir://, http://, https://, s3:// or s3s://
        [exit 2]
    "#]].assert_eq(&transcript(&mut system.command(&arguments), system.folder()));
}
