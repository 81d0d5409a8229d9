//! `mos serve`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use expect_test::expect;

use crate::HELLO;
use crate::support::{System, mos};
use crate::transcript::transcript;

/// A running server; it ends with the test.
struct Serving {
    child: Child,
    /// Host and port.
    address: String,
}

impl Serving {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let address = url
            .trim()
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned();
        Self { child, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn folder_is_served() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("site")).unwrap();
    fs::write(folder.path().join("site/page.txt"), "the page").unwrap();
    fs::write(folder.path().join("secret"), "one level up").unwrap();
    let serving = Serving::start(mos(folder.path()).args(["serve", "site"]));
    let answer = serving.get("/page.txt");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nthe page"),
        "{answer}"
    );
    for path in ["/nothing", "/../secret", "/%2e%2e/secret"] {
        let answer = serving.get(path);
        assert!(
            answer.starts_with("HTTP/1.1 4") && !answer.contains("one level up"),
            "{answer}"
        );
    }
}

#[test]
fn channel_of_an_environment_is_served() {
    let system = System::new(&[HELLO]);
    let channel = system.repository().join("dist/channel/dev");
    fs::create_dir_all(&channel).unwrap();
    fs::write(channel.join("release.json"), "{}").unwrap();
    let serving = Serving::start(&mut system.command(&["serve", "--env", "dev", "--no-log"]));
    assert!(serving.get("/release.json").ends_with("\r\n\r\n{}"));
}

#[test]
fn what_cannot_be_served_is_named() {
    let system = System::new(&[HELLO]);
    let says = |arguments: &[&str]| transcript(&mut system.command(arguments), system.folder());
    expect![[r#"
        ! error: cannot serve nowhere: No such file or directory (os error 2)
        [exit 4]
    "#]]
    .assert_eq(&says(&["serve", "nowhere"]));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = says(&["serve", ".", "--listen", &address]);
    expect![[r#"
        ! error: cannot listen on [ADDRESS]: Address already in use (os error 98)
        !  hint: another program has the port; with port 0 a free one is taken
        [exit 5]
    "#]]
    .assert_eq(&said.replace(&address, "[ADDRESS]"));
    let text = fs::read_to_string(system.repository().join("mos.toml")).unwrap();
    system.write(
        "mos.toml",
        &format!("{text}\n[stores]\ndefault = \"s3://key:secret@127.0.0.1:9/bucket\"\n"),
    );
    expect![[r#"
        ! error: stores.default of mos.toml is no folder for the channel of dev
        !  hint: name a folder to serve: `mos serve DIR`
        [exit 2]
    "#]]
    .assert_eq(&says(&["serve", "--env", "dev"]));
}
