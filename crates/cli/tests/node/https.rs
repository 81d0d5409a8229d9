//! A channel behind `https`, with an authority of its own in the image.

use std::fs;

use mos_testkit::{Authority, HttpServer, Identity};

use crate::system::{BOOT, Script, System, console, wait_all};

const APP: Script = Script {
    name: "app",
    script: "#!/bin/sh\necho APP-RAN-GOOD >/dev/console\nexec sleep 100000\n",
    service: "[service]\nname = \"app\"\nexec = \"/var/cache/bin/app\"\n",
};
/// How QEMU's guest sees this host.
const HOST: &str = "10.0.2.2";

/// A system whose image names this server as its channel, and this authority.
fn published(server: &Identity, authority: &Authority) -> (System, HttpServer) {
    let system = System::new(&[APP]);
    fs::create_dir_all(system.channel()).unwrap();
    let server = HttpServer::serve_tls(&system.channel(), server);
    let path = system.repository().join("environments/dev.toml");
    let old = "channel = \"http://10.0.2.2:8480\"\n";
    let new = format!(
        "channel = \"{}\"\nca = [\"keys/lab.pem\"]\n",
        server.url().replace("127.0.0.1", HOST)
    );
    let environment = fs::read_to_string(path).unwrap();
    assert!(environment.contains(old), "{environment}");
    system.write("environments/dev.toml", &environment.replace(old, &new));
    system.write("keys/lab.pem", authority.pem());
    system.publish();
    (system, server)
}

#[test]
fn node_reads_its_channel_over_https() {
    let authority = Authority::new();
    let (system, server) = published(&authority.vouch(HOST), &authority);
    let vm = system.boot_as_built();
    wait_all(&vm, &["starting generation 1", "APP-RAN-GOOD", "] ready"]);
    assert!(
        server
            .requests()
            .iter()
            .any(|line| line.starts_with("GET /release.json"))
    );
}

#[test]
fn node_does_not_talk_to_a_server_that_is_not_its_own() {
    let (system, server) = published(&Authority::new().vouch(HOST), &Authority::new());
    let mut vm = system.boot_as_built();
    let line = vm.wait_for("trust failure: ", BOOT).unwrap().text;
    let expected = "no authority in /etc/mos/ca.pem vouches for it";
    assert!(line.contains("https://10.0.2.2:") && line.contains(expected), "{line}");
    vm.wait_for("nothing is started", BOOT).unwrap();
    assert!(!console(&vm).contains("APP-RAN"), "{}", console(&vm));
    assert_eq!(server.requests(), [""; 0]);
}
