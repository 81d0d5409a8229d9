//! From a signed repository to a tree, and what becomes of files that several packages have.

mod support;

use mos_alpine::{Database, ScriptKind};
use mos_testkit::apk::{Entry, PackageBuilder};
use support::{Lab, listing, names, text};

/// A small system with everything that a package can bring.
fn system() -> Vec<PackageBuilder> {
    let accounts = "#!/bin/sh\n\naddgroup -S daemon 2>/dev/null\n\
                    adduser -S -D -H -h /var/empty -s /sbin/nologin -G daemon -g daemon daemon 2>/dev/null\nexit 0\n";
    vec![
        PackageBuilder::new("base", "1-r0")
            .entry(Entry::directory("etc"))
            .entry(Entry::file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"))
            .entry(Entry::file("etc/group", "root:x:0:root\nshadow:x:42:\n"))
            .entry(
                Entry::file("etc/shadow", "root:*::0:::::\n")
                    .mode(0o640)
                    .owned(0, 42, "root", "shadow"),
            )
            .entry(Entry::directory("tmp").mode(0o1777))
            .entry(Entry::directory("var"))
            .entry(Entry::directory("var/empty")),
        PackageBuilder::new("busybox", "1.36-r1")
            .provides("/bin/sh cmd:busybox=1.36-r1")
            .info("provider_priority", "100")
            .info("triggers", "/bin /usr/bin")
            .script(
                "post-install",
                "#!/bin/busybox sh\n/bin/busybox --install -s || exit 1\n",
            )
            .script("trigger", "#!/bin/sh\n/bin/busybox --install -s\n")
            .file("bin/busybox", "program")
            .file("etc/busybox-paths.d/busybox", "bin/sh\nusr/bin/env\nbin/daemon\n"),
        PackageBuilder::new("daemon", "2.0_rc1-r3")
            .info("origin", "daemon-source")
            .info("commit", "1234")
            .depend("base /bin/sh so:libx.so.1>=1")
            .script("pre-install", accounts)
            .script("post-install", "#!/bin/sh\nrm -rf /somewhere\n")
            .file("bin/daemon", "program")
            .entry(Entry::hard_link("bin/daemon-2", "bin/daemon"))
            .entry(Entry::symlink("bin/daemon-link", "daemon"))
            .entry(
                Entry::file("bin/ping", "x")
                    .mode(0o755)
                    .record("SCHILY.xattr.security.capability", b"\x01\0\0\x02"),
            )
            .entry(Entry::directory("var"))
            .entry(Entry::directory("var/lib"))
            .entry(
                Entry::directory("var/lib/daemon")
                    .mode(0o750)
                    .owned(7, 7, "daemon", "daemon"),
            )
            .entry(Entry::file("var/lib/daemon/state", "").owned(7, 7, "daemon", "nobody-knows"))
            .entry(Entry::file("var/lib/.keep_me", "")),
        PackageBuilder::new("libx", "1.1-r0")
            .provides("so:libx.so.1=1.1")
            .file("usr/lib/libx.so.1", "library"),
        PackageBuilder::new("unused", "1").file("unused", ""),
    ]
}

const LISTING: &str = "\
0755 0:0 bin/
0644 0:0 bin/busybox
0644 0:0 bin/daemon
0644 0:0 bin/daemon-2
0777 0:0 bin/daemon-link -> daemon
0755 0:0 bin/ping
0777 0:0 bin/sh -> /bin/busybox
0755 0:0 etc/
0755 0:0 etc/apk/
0644 0:0 etc/apk/arch
0755 0:0 etc/apk/keys/
0644 0:0 etc/apk/keys/test-1.rsa.pub
0644 0:0 etc/apk/repositories
0644 0:0 etc/apk/world
0755 0:0 etc/busybox-paths.d/
0644 0:0 etc/busybox-paths.d/busybox
0644 0:0 etc/group
0644 0:0 etc/passwd
0640 0:42 etc/shadow
0755 0:0 lib/
0755 0:0 lib/apk/
0755 0:0 lib/apk/db/
0644 0:0 lib/apk/db/installed
0600 0:0 lib/apk/db/lock
0644 0:0 lib/apk/db/scripts.tar
0644 0:0 lib/apk/db/triggers
1777 0:0 tmp/
0755 0:0 usr/
0755 0:0 usr/bin/
0777 0:0 usr/bin/env -> /bin/busybox
0755 0:0 usr/lib/
0644 0:0 usr/lib/libx.so.1
0755 0:0 var/
0755 0:0 var/empty/
0755 0:0 var/lib/
0750 100:100 var/lib/daemon/
0644 100:7 var/lib/daemon/state
";

#[test]
fn installs_as_expected() {
    let lab = Lab::new(&system());
    let wanted = ["daemon"];
    let locked = lab.resolve(&wanted).unwrap();
    assert_eq!(
        names(&locked),
        ["base-1-r0", "busybox-1.36-r1", "daemon-2.0_rc1-r3", "libx-1.1-r0"]
    );
    let installed = lab.install(&wanted).unwrap();
    let tree = &installed.tree;
    assert_eq!(listing(tree), LISTING);
    assert_eq!(tree.find("bin/daemon"), tree.find("bin/daemon-2"));
    let ping = &tree.get("bin/ping").unwrap().metadata;
    assert_eq!(ping.xattrs[&b"security.capability"[..]], b"\x01\0\0\x02");
    assert_eq!(ping.mtime.seconds, 1_700_000_000);
    assert_eq!(text(tree, "etc/apk/world"), "daemon\n");
    assert_eq!(text(tree, "etc/apk/arch"), "x86_64\n");
    assert_eq!(
        text(tree, "etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:100:100:daemon:/var/empty:/sbin/nologin\n"
    );
    let not_run: Vec<_> = installed
        .scripts_not_run
        .iter()
        .map(|one| (one.package.as_str(), one.kind))
        .collect();
    assert_eq!(not_run, [("daemon-2.0_rc1-r3", ScriptKind::PostInstall)]);
}

#[test]
fn the_database_is_as_apk_writes_it() {
    let lab = Lab::new(&system());
    let tree = lab.install(&["daemon"]).unwrap().tree;
    let database = text(&tree, "lib/apk/db/installed");
    let start = database.find("P:daemon").unwrap();
    let block = &database[start..start + database[start..].find("\n\n").unwrap()];
    let (lines, files) = block.split_at(block.find("F:").unwrap());
    let size = lab.resolve(&["daemon"]).unwrap()[2].size;
    assert_eq!(
        lines,
        format!(
            "P:daemon\nV:2.0_rc1-r3\nA:x86_64\nS:{size}\nI:4096\nT:daemon of a test\nU:https://example.org/\nL:MIT\n\
             o:daemon-source\nt:1700000000\nc:1234\nD:base /bin/sh so:libx.so.1>=1\n"
        )
    );
    assert_eq!(
        files,
        "F:bin\nR:daemon\nZ:Q1gdmu6g4aQI1ltmYKF2xd6D3Jjns=\nR:daemon-2\nZ:Q1gdmu6g4aQI1ltmYKF2xd6D3Jjns=\n\
         R:daemon-link\na:0:0:777\nZ:Q1TrehdlVECnfPBn5tEJA2oT36UQA=\nR:ping\na:0:0:755:Q1I5+wkQQUBvmlLQsGDN5Z8Gcf0wo=\nZ:Q1EfatjsUqKYSrqv18O1FlA3hcIHI=\n\
         F:var\nF:var/lib\nF:var/lib/daemon\nM:100:100:750\nR:state\na:100:7:644\nZ:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk="
    );
    assert_eq!(Database::read(&tree).unwrap().packages.len(), 4);
    let triggers = text(&tree, "lib/apk/db/triggers");
    assert!(
        triggers.ends_with("= /bin /usr/bin\n") && triggers.lines().count() == 1,
        "{triggers}"
    );
}
