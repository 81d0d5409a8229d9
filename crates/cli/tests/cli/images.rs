//! `mos flist pack` of container images, compared with what umoci and skopeo make of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect;
use tempfile::TempDir;

use crate::flist::{command, is_root, says};
use crate::support::run;

/// What each layer changes, as shell in the root of the image.
const LAYERS: [&str; 3] = [
    "mkdir -p etc usr/bin var/cache/deep gone; echo one >etc/name; head -c 300000 /dev/urandom >usr/bin/tool
     chmod 4755 usr/bin/tool; ln usr/bin/tool usr/bin/other; ln -s usr/bin bin; mknod null c 1 3; mkfifo pipe
     setfattr -n user.mos -v value etc/name; chown 3000000000:4000000000 etc/name; touch var/cache/deep/file gone/file
     echo long >$(printf 'n%.0s' $(seq 200)); touch -d '1965-01-01 00:00:00.123456789' etc/name; mkdir -p kind/file",
    "rm -r gone var/cache; mkdir var/cache; echo new >var/cache/new; ln usr/bin/tool usr/third; echo two >etc/second",
    "rm usr/bin/tool etc/second; echo three >etc/name; rm -r kind; echo file >kind; rm bin; mkdir bin; echo >bin/file",
];

/// An image layout `image` with the tags `base` and `latest`, made by umoci; `rootfs` is what umoci unpacks of the latter.
fn image() -> Option<TempDir> {
    let works = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !is_root() || !works("umoci") || !works("skopeo") {
        eprintln!("SKIPPED: needs root, umoci and skopeo");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let shell = |line: &str, place: &Path| run(Command::new("sh").args(["-e", "-c", line]).current_dir(place));
    shell(
        "umoci init --layout image; umoci new --image image:base; umoci tag --image image:base latest",
        here,
    );
    for (number, layer) in LAYERS.iter().enumerate() {
        let bundle = format!("bundle{number}");
        shell(&format!("umoci unpack --image image:latest {bundle}"), here);
        shell(layer, &here.join(&bundle).join("rootfs"));
        shell(&format!("umoci repack --image image:latest {bundle}"), here);
    }
    shell("umoci unpack --image image:latest last; mv last/rootfs rootfs", here);
    Some(folder)
}

fn pack(here: &Path, source: &str, flist: &str) -> Vec<u8> {
    run(&mut command(here, &format!("pack {source} -o {flist} --store store")));
    fs::read(here.join(flist)).unwrap()
}

/// The largest file of the layout: a layer.
fn layer(here: &Path) -> PathBuf {
    let entries = fs::read_dir(here.join("image/blobs/sha256")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn image_gives_the_flist_of_what_umoci_unpacks() {
    let Some(folder) = image() else { return };
    let here = folder.path();
    let expected = pack(here, "rootfs", "rootfs.fl");
    let found = pack(here, "image --image latest", "image.fl");
    assert_eq!(says(here, "diff rootfs.fl image.fl"), "! No difference.\n");
    assert!(found == expected, "attributes, times or hard links differ");
    for compression in ["zstd", "gzip"] {
        let mut skopeo = Command::new("skopeo");
        skopeo.args([
            "copy",
            "--quiet",
            "--insecure-policy",
            "--dest-compress-format",
            compression,
        ]);
        skopeo
            .args(["--dest-compress", "oci:image:latest", "oci:copy:latest"])
            .current_dir(here);
        run(&mut skopeo);
        assert!(pack(here, "copy", "copy.fl") == expected, "{compression}");
        fs::remove_dir_all(here.join("copy")).unwrap();
    }
}

#[test]
fn archives_of_images_are_recognised_and_give_the_same_flist() {
    let Some(folder) = image() else { return };
    let here = folder.path();
    let shell = |line: &str| run(Command::new("sh").args(["-e", "-c", line]).current_dir(here));
    let expected = pack(here, "rootfs", "rootfs.fl");
    shell(
        "skopeo copy -q --insecure-policy oci:image:latest oci-archive:oci.tar:mos/test:1
         skopeo copy -q --insecure-policy oci:image:latest docker-archive:docker.tar:mos/test:1
         gzip -k docker.tar; zstd -q oci.tar; xz -k oci.tar",
    );
    for (source, form) in [
        ("oci.tar", "an OCI image"),
        ("docker.tar", "an image as docker saves it"),
        ("docker.tar.gz", "an image as docker saves it"),
        ("oci.tar.zst", "an OCI image"),
        ("oci.tar.xz", "an OCI image"),
    ] {
        let said = says(here, &format!("pack {source} -o new.fl --store store --image 1"));
        let line = format!("! {source} is {form}: packing the tree of its {} layers", LAYERS.len());
        assert!(said.contains(&line), "{said}");
        assert!(fs::read(here.join("new.fl")).unwrap() == expected, "{source}");
    }
    pack(here, "docker.tar --plain", "plain.fl");
    let names = says(here, "ls plain.fl");
    assert!(names.contains("manifest.json"), "{names}");
    let mut damaged = fs::read(here.join("docker.tar")).unwrap();
    let at = damaged.windows(5).rposition(|bytes| bytes == b"three").unwrap();
    damaged[at] ^= 1;
    fs::write(here.join("docker.tar"), damaged).unwrap();
    let said = says(here, "pack docker.tar -o new.fl --store store");
    assert!(
        said.contains("the image is damaged or was tampered with") && said.contains("[exit 3]"),
        "{said}"
    );
}

#[test]
fn images_that_cannot_be_packed_are_named() {
    let Some(folder) = image() else { return };
    let here = folder.path();
    let says = |line: &str| says(here, &format!("pack {line} -o new.fl --store store"));
    expect![[r#"
        ! error: image: 2 images are linux/amd64; there are: linux/amd64 `base`, linux/amd64 `latest`
        !  hint: choose one with --platform OS/ARCH or --image NAME
        [exit 4]
    "#]]
    .assert_eq(&says("image"));
    expect![[r#"
        ! error: image: 0 images are plan9/mips; there are: linux/amd64 `base`, linux/amd64 `latest`
        !  hint: choose one with --platform OS/ARCH or --image NAME
        [exit 4]
    "#]]
    .assert_eq(&says("image --platform plan9/mips"));
    expect![[r#"
        ! error: rootfs is no container image: --platform and --image mean nothing for it
        [exit 2]
    "#]]
    .assert_eq(&says("rootfs --image latest"));
    let layer = layer(here);
    let bytes = fs::read(&layer).unwrap();
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for bad in [damaged, [&bytes[..], b"x"].concat(), bytes[..100].to_vec()] {
        fs::write(&layer, bad).unwrap();
        let said = says("image --image latest");
        assert!(
            said.contains("the image is damaged or was tampered with") && said.contains("[exit 3]"),
            "{said}"
        );
    }
    assert!(!here.join("new.fl").exists());
}
