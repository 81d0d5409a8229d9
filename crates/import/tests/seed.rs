//! The checkout that the manual of mos_builder describes, with its own examples of every file, as a config repository.

#![allow(clippy::unwrap_used, reason = "functions beside the tests are tests too")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use expect_test::expect;
use mos_import::{Checkout, Import, plan};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mos_builder")
}

fn imported() -> Import {
    plan(&Checkout::read(&checkout()).unwrap(), "mos_builder")
}

fn text(import: &Import, path: &str) -> String {
    String::from_utf8(import.files[path].bytes.clone()).unwrap()
}

#[test]
fn seed_001_everything_is_taken_over_or_named() {
    let import = imported();
    let said: Vec<String> = import.problems.iter().map(ToString::to_string).collect();
    expect![[r#"
        warning: config/build.conf:2:1: the kernel 6.12.44 is compiled from the Debian package of its series; [kernel] `source` takes the URL of an archive too
        warning: config/init:1:1: nothing becomes of this file
          hint: my_init is /init, and does what it did
        warning: config/my_init/services/networking.toml:1:1: the service `networking` is left out: MOS's `mosnet` brings up the network
        warning: config/my_init/services/runtime-fetch.toml:1:1: the service `runtime-fetch` is left out: MOS's `runtime-fetch` fetches and starts releases
        warning: config/sources.conf:4:5: `my_init` is left out: MOS has its own my_init"#]].assert_eq(&said.join("\n"));
    assert!(!import.is_partial());
}

#[test]
fn seed_001_lists_are_read_as_they_are() {
    let import = imported();
    for (list, place) in [
        ("packages.list", "image/packages.list"),
        ("modules.conf", "image/modules.conf"),
    ] {
        let own = fs::read_to_string(checkout().join("config").join(list)).unwrap();
        assert_eq!(text(&import, place), own, "{list}");
    }
    assert!(text(&import, "image/firmware.conf").contains("\npackage linux-firmware-rtl_nic\n"));
}

#[test]
fn seed_001_the_result_is_a_valid_repository() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("nodes");
    imported().write(&root).unwrap();
    let loaded = mos_config::load(&root).unwrap();
    let errors: Vec<String> = loaded.problems(None).iter().map(ToString::to_string).collect();
    let repository = loaded.valid(None).unwrap_or_else(|_| panic!("{errors:#?}"));
    assert_eq!(repository.image.packages.len(), 16);
    assert_eq!(repository.image.modules.len(), 10);
    let components: Vec<&str> = repository.components.keys().map(String::as_str).collect();
    assert_eq!(components, ["corex", "myapp", "mycelium", "mytool", "rfs"]);
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("image/files/etc/my_init/init/sshd-setup.sh"), 0o755);
    assert_eq!(mode("config/rfs.conf"), 0o600);
    assert!(imported().write(&root).is_err(), "nothing is overwritten");
}

#[test]
fn seed_001_components_and_services_belong_together() {
    let import = imported();
    expect![[r##"
        # From config/sources.conf:5:5.
        description = "mycelium, which build_mycelium of mos_builder made"

        [source]
        kind = "git"
        url = "https://github.com/threefoldtech/mycelium"
        tag = "0.6.1"
        subdirectory = "myceliumd"

        [install]
        binaries = ["mycelium"]
        service = "services/mycelium.service.toml"
    "##]]
    .assert_eq(&text(&import, "components/mycelium.toml"));
    expect![[r##"
        # The overlay network.
        [service]
        name = "mycelium"
        exec = "/var/cache/bin/mycelium --key-file /var/cache/etc/mycelium.key --tun-name mycelium"
        ports = [9651]
        kill_others = false

        [dependencies]
        requires = ["mosnet"]
        after = ["udevd"]

        [lifecycle]
        restart = "always"

        [health]
        type = "exec"
        target = "/var/cache/bin/mycelium inspect"
    "##]]
    .assert_eq(&text(&import, "services/mycelium.service.toml"));
    expect![[r##"
        # From config/zinit/sshd.yaml.

        [service]
        name = "sshd"
        exec = "/usr/sbin/sshd -D -e"

        [dependencies]
        requires = ["sshd-setup"]
        after = ["mosnet"]

        [lifecycle]
        restart = "always"
    "##]]
    .assert_eq(&text(&import, "services/sshd.service.toml"));
    expect![[r##"
        # From a checkout of mos_builder.

        [project]
        name = "mos_builder"

        [image]
        base = "alpine"

        [alpine]
        release = "v3.22"

        [kernel]
        source = "linux-source-6.12"
        base = "image/kernel.config"
    "##]]
    .assert_eq(&text(&import, "mos.toml"));
}
