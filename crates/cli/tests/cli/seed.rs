//! What the manual of mos_builder tells people to type, walked through with the checkout that it describes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use expect_test::expect;

use crate::support::{mos, run};
use crate::transcript::transcript;

const PAGE: &str = include_str!("../../../../docs/from-mos_builder.md");

/// Every command and entry of that manual, section by section.
const MANUAL: [&str; 41] = [
    // Prerequisites
    "sudo apt-get install -y git podman",
    "sudo apt-get install -y git podman qemu-system-x86 qemu-utils",
    "sudo apt-get install -y git podman qemu-utils screen curl jq iproute2",
    "sudo pacman -S git podman",
    "sudo pacman -S git podman qemu-full",
    "sudo pacman -S git podman qemu-img screen curl jq iproute2 cloud-hypervisor",
    "apk add --no-cache git podman",
    "apk add --no-cache git podman qemu-system-x86_64 qemu-img",
    "apk add --no-cache git podman qemu-img screen curl jq iproute2",
    "echo \"$(whoami):100000:65536\" >> /etc/subuid",
    "podman system info",
    "podman system reset",
    // Build
    "git clone",
    "cd mos_builder",
    "chmod +x scripts/build.sh scripts/clean.sh",
    "./scripts/build.sh",
    "ls -la dist/",
    // Testing
    "./runit.sh",
    "./runit.sh --hypervisor qemu --memory 2048 --disks 3",
    "./runit.sh --hypervisor ch",
    "./runit.sh --hypervisor ch --reset --disks 5",
    "./runit.sh --help",
    "./runit.sh --disk-size 20G --bridge mosbr --disks 4",
    "HYPERVISOR=ch NUM_DISKS=5 ./runit.sh",
    "./runit.sh --hypervisor qemu",
    // Advanced usage
    "git:myapp:https://github.com/user/myapp:v1.0:build_myapp",
    "release:mytool:https://releases.example.com/mytool-x86_64:v2.0:install_mytool",
    "function build_myapp()",
    "UPLOAD_KERNEL=true ./scripts/build.sh",
    "KERNEL_SUBPATH=kernels UPLOAD_KERNEL=true ./scripts/build.sh",
    "UPLOAD_MANIFESTS=true ./scripts/build.sh",
    "podman build -t mos-builder .",
    "podman run --rm -v $(pwd):/workspace -w /workspace mos-builder ./scripts/build.sh",
    "export RUST_TARGET=\"aarch64-unknown-linux-musl\"",
    "export ALPINE_ARCH=\"aarch64\"",
    // Troubleshooting and development
    "./scripts/clean.sh",
    "./scripts/build.sh --check-deps",
    "./scripts/dev-container.sh shell",
    "./scripts/dev-container.sh start",
    "rustup target add x86_64-unknown-linux-musl",
    "export DEBUG=1",
];

fn checkout() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/mos_builder");
    path.canonicalize().unwrap().display().to_string()
}

/// The checkout of the manual as a config repository.
fn imported(here: &Path) {
    run(mos(here).args(["import", "--quiet", &checkout(), "nodes"]));
}

#[test]
fn seed_001_the_page_has_every_line_of_the_manual() {
    let rows = PAGE
        .lines()
        .filter(|line| line.starts_with("| ") && line.matches(" | ").count() >= 1);
    let left: BTreeSet<&str> = rows
        .filter_map(|row| row.trim_start_matches("| ").split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let missing: Vec<&str> = MANUAL.into_iter().filter(|line| !left.contains(line)).collect();
    assert!(
        missing.is_empty(),
        "docs/from-mos_builder.md says nothing of {missing:#?}"
    );
}

#[test]
fn seed_001_quick_start() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let out = mos(here).args(["import", &checkout(), "nodes"]).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{said}");
    assert!(
        said.contains("Next: cd nodes && mos validate && mos run --env dev"),
        "{said}"
    );
    assert!(!said.contains("error:"), "{said}");
    assert!(said.contains("MOS_ALPINE_MIRROR"), "no mirror is guessed: {said}");
    let nodes = here.join("nodes");
    run(mos(&nodes).arg("validate"));
    expect![[r#"
        COMPONENT  WANTED  LOCKED  SOURCE
        corex  2.1.4  not locked yet  release https://github.com/threefoldtech/corex/releases/download/2.1.4/corex-2.1.4-amd64-linux-static
        myapp  tag v1.0  not locked yet  git https://github.com/user/myapp
        mycelium  tag 0.6.1  not locked yet  git https://github.com/threefoldtech/mycelium
        mytool  v2.0  not locked yet  release https://releases.example.com/mytool-x86_64
        rfs  branch development  not locked yet  git https://github.com/threefoldtech/rfs
    "#]].assert_eq(&transcript(mos(&nodes).args(["list", "--env", "dev"]), here));
    // `./scripts/build.sh`, as far as it goes without a network: the plan of the build.
    let plan =
        String::from_utf8(run(mos(&nodes).args(["runtime", "build", "--env", "dev", "--dry-run"])).stdout).unwrap();
    for expected in [
        "mycelium",
        "tag 0.6.1 in myceliumd",
        "openssh-server",
        "linux-source-6.12",
        "release 2.1.4 https://github.com",
    ] {
        assert!(plan.contains(expected), "{expected}\n{plan}");
    }
}

#[test]
fn seed_001_lines_that_cannot_be_satisfied_are_named_in_one_go() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let write = |path: &str, text: &str| {
        let path = here.join("old").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("config/packages.list", "busybox\nBusy Box\n");
    write("config/modules.conf", "virtio_net\nnot a module!\n");
    write(
        "config/sources.conf",
        "# components\ngti:a:https://h/a:v1:build_a\ngit:b:https://h/b:v1:build_b\ngit c https://h/c\nrelease:d:h/d:v1:install_d\n",
    );
    write("config/my_init/my_init.conf", "init: [services, dance]\n");
    write("config/zinit/x.yaml", "exec: x\nafter: {a: b}\n");
    let import = |arguments: &[&str]| transcript(mos(here).args(["import", "old", "new"]).args(arguments), here);
    expect![[r#"
        ! error: old/config/modules.conf:2:1: `not a module!` is not the name of a kernel module
        ! error: old/config/my_init/my_init.conf:1:18: unknown stage `dance`
        !  hint: write a service that does it: services/NAME.service.toml
        ! error: old/config/packages.list:2:1: `Busy Box` is not the name of an Alpine package
        ! error: old/config/sources.conf:2:1: `gti` is no type of source
        !  hint: did you mean `git`?
        ! error: old/config/sources.conf:3:22: `build_b` is not defined in scripts/lib/components.sh
        ! error: old/config/sources.conf:4:1: the line has no VERSION and BUILD_FUNCTION
        !  hint: write TYPE:NAME:URL:VERSION:BUILD_FUNCTION, and options as :NAME=VALUE
        ! error: old/config/sources.conf:5:11: `h/d` is not an http:// or https:// URL
        !  hint: write TYPE:NAME:URL:VERSION:BUILD_FUNCTION, and options as :NAME=VALUE
        ! error: old/config/zinit/x.yaml:2:8: `after` is not a list
        ! error: 8 lines cannot be taken over: nothing was written
        !  hint: mend them in the checkout, or leave them out with --partial
        [exit 1]
    "#]]
    .assert_eq(&import(&[]));
    assert!(!here.join("new").exists(), "nothing is written");
    import(&["--partial"]);
    run(mos(&here.join("new")).arg("validate"));
    let packages = fs::read_to_string(here.join("new/image/packages.list")).unwrap();
    assert_eq!(packages, "busybox\n# Busy Box\n");
    assert!(import(&["--partial"]).contains("! error: new: not empty"));
}

#[test]
fn seed_001_the_plan_of_an_import_can_be_read_before() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let output = run(mos(here).args(["import", &checkout(), "--dry-run", "--json"]));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["name"], "mos_builder");
    assert_eq!(plan["files"]["image/packages.list"]["from"], "config/packages.list");
    assert_eq!(
        plan["files"]["services/state.service.toml"]["from"],
        serde_json::Value::Null
    );
    assert!(
        plan["problems"]
            .as_array()
            .unwrap()
            .iter()
            .all(|problem| problem["severity"] == "warning")
    );
    assert_eq!(fs::read_dir(here).unwrap().count(), 0, "nothing is written");
    let table = String::from_utf8(run(mos(here).args(["import", &checkout(), "--dry-run"])).stdout).unwrap();
    assert!(
        table.starts_with("FILE") && table.contains("components/corex.toml"),
        "{table}"
    );
}

#[test]
fn seed_001_troubleshooting() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    imported(here);
    // `./scripts/build.sh --check-deps`
    let reports = mos(here).args(["doctor", "build", "run", "--json"]).output().unwrap();
    let reports: serde_json::Value = serde_json::from_slice(&reports.stdout).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 2);
    // `./scripts/clean.sh`
    let clean = run(mos(here)
        .env("MOS_CACHE", here.join("cache"))
        .args(["clean", "--dry-run", "--all", "--json"]));
    assert_eq!(String::from_utf8(clean.stdout).unwrap().trim(), "[]");
    // The workflow of a repository that is there already.
    run(mos(&here.join("nodes")).args(["new", "--ci", "github", "."]));
    assert!(here.join("nodes/.github/workflows/mos.yml").is_file());
    // `./runit.sh --help`
    let help = String::from_utf8(run(mos(here).args(["run", "--help"])).stdout).unwrap();
    for option in ["--memory", "--disks", "--disk-size", "--reset"] {
        assert!(help.contains(option), "{option}");
    }
}
