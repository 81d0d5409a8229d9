//! Nodes of Alpine's packages, and of none.

use std::fs;

use crate::kernel_package::linux_virt;
use crate::support::alpine;
use crate::system::{Script, System, console, wait_all};

/// Runs in the shell of the image, and calls a program of a package.
const HELLO: Script = Script {
    name: "hello",
    script: "#!/bin/sh\necho \"HELLO $(greet) $(id -nu greeter)\" >/dev/console\nexec sleep 100000\n",
    service: "[service]\nname = \"hello\"\nexec = \"/var/cache/bin/hello\"\n",
};

#[test]
fn alpine_as_base_and_its_kernel_boot_to_ready() {
    let system = System::new(&[HELLO]);
    let mut packages = alpine::userland();
    packages.push(linux_virt());
    alpine::set_up(&system, "alpine-baselayout\ngreeter\n", "linux-virt", &packages);
    system.publish();
    let lock = fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    assert!(
        lock.contains("name = \"linux-virt\"") && lock.contains("checksum = \"Q1"),
        "{lock}"
    );
    assert!(!lock.contains("linux-image"), "no kernel of Debian: {lock}");
    let server = system.serve();
    let vm = system.boot(server.address().port(), Vec::new());
    wait_all(&vm, &["HELLO greetings from x86_64 greeter", "] ready"]);
}

#[test]
fn empty_base_boots_to_ready() {
    let system = System::new(&[]);
    system.write("mos.toml", "[project]\nname = \"test\"\n[image]\nbase = \"empty\"\n");
    system.write("image/packages.list", "");
    system.publish();
    let server = system.serve();
    let vm = system.boot(server.address().port(), Vec::new());
    wait_all(&vm, &["] ready"]);
    let said = console(&vm);
    assert!(!said.contains("not found") && !said.contains("No such file"), "{said}");
}
