//! Programs out of container images, from a real registry (Debian's `docker-registry`); `skopeo` puts them there.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

#[path = "../../oci/tests/support/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mos_architecture::Architecture;
use mos_cache::Cache;
use mos_components::{ComponentError, Toolchain, Workshop, build, fetch};
use mos_config::{Build, BuildKind, LockedComponent, PlannedComponent, Source};
use mos_oci::Sha256;
use support::Server;

const OLD: &str = "#!/bin/sh\necho old\n";
const NEW: &str = "#!/bin/sh\necho new\n";

/// An image layout with two layers: a program, and the same program in the version `text`, with a file that hides another.
fn layout(folder: &Path, text: &str) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let keep = |bytes: &[u8]| {
        let digest = Sha256::of(bytes);
        fs::write(blobs.join(digest.digits()), bytes).unwrap();
        format!("\"digest\":\"{digest}\",\"size\":{}", bytes.len())
    };
    let (mut layers, mut plain) = (Vec::new(), Vec::new());
    for (number, text) in [OLD, text].into_iter().enumerate() {
        let root = folder.join(format!("root-{number}/usr/bin"));
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("web"), text).unwrap();
        let other = if number == 0 { "tool" } else { ".wh.tool" };
        fs::write(root.join(other), OLD).unwrap();
        let tar = Command::new("tar")
            .args(["-cf", "-", "-C"])
            .arg(folder.join(format!("root-{number}")))
            .arg("usr")
            .output();
        let tar = tar.unwrap().stdout;
        plain.push(format!("\"{}\"", Sha256::of(&tar)));
        let media = "application/vnd.oci.image.layer.v1.tar";
        layers.push(format!("{{\"mediaType\":\"{media}\",{}}}", keep(&tar)));
    }
    let architecture = Architecture::HOST.debian();
    let config = format!(
        "{{\"os\":\"linux\",\"architecture\":\"{architecture}\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}}}}",
        plain.join(",")
    );
    let config = keep(config.as_bytes());
    let manifest = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{{\"mediaType\":\
         \"application/vnd.oci.image.config.v1+json\",{config}}},\"layers\":[{}]}}",
        layers.join(",")
    );
    let manifest = keep(manifest.as_bytes());
    let index = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",{manifest}}}]}}"
    );
    fs::write(folder.join("index.json"), index).unwrap();
    fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
}

/// Puts an image with this program under a tag.
fn publish(server: &Server, text: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    layout(folder.path(), text);
    let mut skopeo = Command::new("skopeo");
    skopeo
        .args(["copy", "--quiet", "--dest-tls-verify=false"])
        .arg(format!("oci:{}", folder.path().display()))
        .arg(format!("docker://{}/team/web:1.0", server.host()));
    match skopeo.status() {
        Ok(status) => assert!(status.success()),
        Err(_) => eprintln!("SKIPPED: skopeo is missing"),
    }
    Command::new("skopeo").arg("--version").output().is_ok()
}

fn component(image: String, binary: &str) -> PlannedComponent {
    PlannedComponent {
        name: "web".to_owned(),
        description: String::new(),
        source: Source::Oci {
            image,
            version: "1.0".to_owned(),
            sha256: None,
        },
        version: None,
        locked: None,
        build: Build {
            kind: BuildKind::None,
            ..Build::default()
        },
        binaries: vec![binary.to_owned()],
        files: BTreeMap::new(),
        routes: BTreeMap::new(),
        kernel_modules: false,
        firmware: None,
        service: None,
    }
}

fn make(wanted: &PlannedComponent, folder: &Path) -> Result<(String, LockedComponent), ComponentError> {
    let shop = Workshop::new(folder, Cache::new(folder.join("cache")));
    let fetched = fetch(wanted, &shop, &mut |_| {})?;
    let toolchain = Toolchain::find(&shop, wanted.build.libc, &mut |_| {})?;
    let built = build(
        &fetched,
        &wanted.build,
        &wanted.binaries,
        &toolchain,
        &shop,
        &mut |_| {},
    )?;
    let program = fs::read_to_string(&built.binaries[&wanted.binaries[0]]).unwrap();
    Ok((program, fetched.lock.unwrap()))
}

#[test]
fn a_program_comes_from_the_highest_layer_and_the_lock_outlives_a_moved_tag() {
    let Some(server) = Server::start("") else { return };
    if !publish(&server, NEW) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = component(format!("{}/team/web", server.host()), "web");
    let (program, lock) = make(&wanted, folder.path()).unwrap();
    assert_eq!(program, NEW);
    assert_eq!((lock.kind.as_str(), lock.reference.as_str()), ("oci", "1.0"));

    publish(&server, "#!/bin/sh\necho moved\n");
    wanted.locked = Some(lock);
    // Here, and on another machine whose cache is empty.
    let elsewhere = tempfile::tempdir().unwrap();
    for folder in [folder.path(), elsewhere.path()] {
        assert_eq!(make(&wanted, folder).unwrap().0, NEW);
    }
    drop(server);
    assert_eq!(make(&wanted, folder.path()).unwrap().0, NEW, "without a registry");
}

#[test]
fn what_an_upper_layer_removed_is_not_there() {
    let Some(server) = Server::start("") else { return };
    if !publish(&server, NEW) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = format!("{}/team/web", server.host());
    let error = make(&component(image, "tool"), folder.path()).unwrap_err().to_string();
    assert!(error.contains("no program `tool`"), "{error}");
    let image = format!("{}/team/none", server.host());
    let error = make(&component(image, "web"), folder.path()).unwrap_err().to_string();
    assert!(error.contains("there is no manifest 1.0 in team/none"), "{error}");
}
