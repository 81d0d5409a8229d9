//! A small Alpine: packages made and signed by the test, with the host's static BusyBox as the userland.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_testkit::apk::{Entry, Hash, PackageBuilder, SigningKey, write_repository};

use super::{System, run};

const ACCOUNTS: [(&str, &str); 3] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
    ),
    ("group", "root:x:0:root\ntty:x:5:\nshadow:x:42:\nnobody:x:65534:\n"),
    ("shadow", "root:*::0:::::\nnobody:!::0:::::\n"),
];

/// Makes Alpine the base of a system, with packages of these and the keys that sign them. Gives the folder of their files.
pub(crate) fn set_up(system: &System, wanted: &str, kernel: &str, packages: &[PackageBuilder]) -> PathBuf {
    let key = SigningKey::first();
    let main = system.repository().join("mirror/v3.22/main");
    write_repository(&main, "x86_64", packages, &key, Hash::Sha1);
    system.write(&format!("keys/alpine/{}", key.name), &key.public_pem());
    system.write(
        "mos.toml",
        &format!(
            "[project]\nname = \"test\"\n[kernel]\npackage = \"{kernel}\"\n[image]\nbase = \"alpine\"\n\
             [alpine]\nmirror = \"./mirror\"\nrepositories = [\"main\"]\n"
        ),
    );
    system.write("image/packages.list", wanted);
    main.join("x86_64")
}

/// Directories, accounts, a C library, BusyBox, and a program with an account of its own.
pub(crate) fn userland() -> Vec<PackageBuilder> {
    let mut base = PackageBuilder::new("alpine-baselayout", "3.6.5-r0");
    for (name, text) in ACCOUNTS {
        base = base.file(&format!("etc/{name}"), text);
    }
    let musl = PackageBuilder::new("musl", "1.2.5-r9")
        .provides("so:libc.musl-x86_64.so.1=1")
        .file("lib/ld-musl-x86_64.so.1", "no program here needs it");
    let greeter = PackageBuilder::new("greeter", "1.0-r0")
        .depend("cmd:sh so:libc.musl-x86_64.so.1")
        .provides("cmd:greet=1.0-r0")
        .script(
            "pre-install",
            "#!/bin/sh\naddgroup -S greeter 2>/dev/null\nadduser -S -G greeter greeter\nexit 0\n",
        )
        .script("post-install", "#!/bin/sh\nrc-update add greeter\n")
        .entry(Entry::directory("usr"))
        .entry(Entry::directory("usr/bin"))
        .entry(Entry::file("usr/bin/greet", "#!/bin/sh\necho greetings from $(cat /etc/apk/arch)\n").mode(0o755));
    vec![base, musl, busybox(), greeter]
}

fn busybox() -> PackageBuilder {
    let program = Path::new("/bin/busybox");
    let listed = run(Command::new(program).arg("--list-full")).stdout;
    let commands = String::from_utf8(listed).unwrap();
    let paths = commands.lines().filter(|line| line.contains('/'));
    let paths: String = paths.map(|path| format!("/{path}\n")).collect();
    let script = "#!/bin/sh\n/bin/busybox --install -s\n";
    PackageBuilder::new("busybox", "1.37.0-r18")
        .info("size", "2097152")
        .depend("so:libc.musl-x86_64.so.1")
        .provides("cmd:sh=1.37.0-r18 cmd:cat=1.37.0-r18")
        .script("post-install", script)
        .script("trigger", script)
        .info("triggers", "/bin /usr/bin /sbin /usr/sbin")
        .file("etc/busybox-paths.d/busybox", paths)
        .entry(Entry::directory("bin"))
        .entry(Entry::file("bin/busybox", fs::read(program).unwrap()).mode(0o755))
}
