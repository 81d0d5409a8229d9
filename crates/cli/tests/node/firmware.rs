//! The artefact as shipped: UEFI firmware starts `vmlinuz.efi`, with nothing added to its command line.

use std::fs;

use crate::system::{Script, System, dead_port};

/// Serves a page with BusyBox.
const PAGE: Script = Script {
    name: "page",
    script: "#!/bin/sh\nmkdir -p /run/page\necho THE-PAGE >/run/page/index.html\nexec httpd -f -p 8080 -h /run/page\n",
    service: "[service]\nname = \"page\"\nexec = \"/var/cache/bin/page\"\n\
              [health]\ntype = \"tcp\"\ntarget = \"127.0.0.1:8080\"\n",
};

#[test]
fn firmware_boots_the_image_and_the_page_is_served() {
    let system = System::new(&[PAGE]);
    let environment = fs::read_to_string(system.repository().join("environments/dev.toml")).unwrap();
    system.write(
        "environments/dev.toml",
        &environment.replace(":8480", &format!(":{}", dead_port())),
    );
    let port = dead_port();
    let (forward, url) = (format!("{port}:8080"), format!("http://127.0.0.1:{port}/"));
    let arguments = [
        "run",
        "--env",
        "dev",
        "--forward",
        &forward,
        "--until",
        "ready",
        "--get",
        &url,
    ];
    let output = system.mos(&[&arguments[..], &["--timeline", "boot.svg"]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    for expected in ["BdsDxe: starting", "THE-PAGE", "firmware ", "vmlinuz.efi", "poweroff"] {
        assert!(said.contains(expected), "`{expected}` is missing:\n{said}");
    }
    let picture = fs::read_to_string(system.repository().join("boot.svg")).unwrap();
    assert!(picture.contains("<svg") && picture.contains("firmware"), "{picture}");

    // Once more: nothing is built, and the node finds its release on the disk.
    let again = system.mos(&["run", "--env", "dev", "--forward", &forward, "--until", "ready"]);
    let told = String::from_utf8_lossy(&again.stderr);
    assert!(told.contains("Nothing changed: nothing was built."), "{told}");
}
