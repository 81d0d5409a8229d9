//! `mos new`, `mos validate`, `mos list`.

use std::fs;
use std::path::Path;

use expect_test::expect;

use crate::support::{mos, run};
use crate::transcript::transcript;

/// A new config repository, changed in one place.
fn changed(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(mos(folder.path()).args(["new", "--name", "demo", "."]));
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no `{from}`");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
    folder
}

fn says(folder: &Path, arguments: &[&str]) -> String {
    transcript(mos(folder).args(arguments), folder)
}

#[test]
fn new_writes_a_repository_and_no_other_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    expect![[r#"
        ! Wrote 22 files to [HERE]/demo.
        ! Next: cd demo && mos run --env dev
    "#]]
    .assert_eq(&says(here, &["new", "demo"]));
    expect![[r#"
        ! error: [HERE]/demo: not empty
        !  hint: choose a new directory
        [exit 5]
    "#]]
    .assert_eq(&says(here, &["new", "demo"]));
    let name = fs::read_to_string(here.join("demo/mos.toml")).unwrap();
    assert!(name.contains("name = \"demo\""), "{name}");
}

#[test]
fn new_repository_is_valid() {
    let folder = changed("mos.toml", "demo", "demo");
    expect![[r#"
        ! The config repository is valid; environments: 2.
    "#]]
    .assert_eq(&says(folder.path(), &["validate"]));
    expect![[r#"
        ! Environment production is valid.
    "#]]
    .assert_eq(&says(folder.path(), &["validate", "--env", "production"]));
    expect![[r#""#]].assert_eq(&says(folder.path(), &["--quiet", "validate"]));
}

#[test]
fn unknown_key_is_named_with_the_nearest() {
    let folder = changed("environments/dev.toml", "hostname =", "hostnam =");
    expect![[r#"
        error: [HERE]/environments/dev.toml:15:1: unknown key `hostnam` in [image]
          hint: did you mean `hostname`?
        ! error: the config repository has 1 error
        [exit 1]
    "#]]
    .assert_eq(&says(folder.path(), &["validate"]));
}

#[test]
fn text_that_is_no_toml_is_shown_where_it_breaks() {
    let folder = changed("mos.toml", "[project]", "[project");
    expect![[r#"
        error: [HERE]/mos.toml:1:9: unclosed table, expected `]`
        ! error: the config repository has 1 error
        [exit 1]
    "#]]
    .assert_eq(&says(folder.path(), &["validate"]));
}

#[test]
fn production_refuses_a_branch() {
    let folder = changed(
        "environments/production.toml",
        "commit = \"4c70fe2c036be9ab20a02d10826e508d0efed0d9\"",
        "branch = \"main\"",
    );
    expect![[r#"
        error: [HERE]/environments/production.toml:15:10: `node-metrics` follows the branch `main`; production takes commits
          hint: replace the branch by commit = "…", 40 digits
        ! error: the config repository has 1 error
        [exit 1]
    "#]].assert_eq(&says(folder.path(), &["validate"]));
}

#[test]
fn production_refuses_sudo_without_a_password() {
    let folder = changed(
        "access/operators.toml",
        "(root) /sbin/mosctl",
        "(root) NOPASSWD: /sbin/mosctl",
    );
    expect![[r#"
        error: [HERE]/environments/production.toml:22:11: `operators` lets `operator` use sudo without a password, which production refuses
          hint: the rule is at access/operators.toml:7:9
        ! error: the config repository has 1 error
        [exit 1]
    "#]]
    .assert_eq(&says(folder.path(), &["validate"]));
}

#[test]
fn production_refuses_developers() {
    let folder = changed("environments/production.toml", "[\"operators\"]", "[\"developers\"]");
    expect![[r#"
        error: [HERE]/environments/production.toml:22:11: `developers` are developers, whom production does not let in
          hint: name a group of operators
        error: [HERE]/environments/production.toml:22:11: `developers` lets `ada` use sudo without a password, which production refuses
          hint: the rule is at access/developers.toml:8:9
        error: [HERE]/environments/production.toml:22:11: `developers` lets `grace` use sudo without a password, which production refuses
          hint: the rule is at access/developers.toml:12:9
        ! error: the config repository has 3 errors
        [exit 1]
    "#]]
    .assert_eq(&says(folder.path(), &["validate"]));
}

#[test]
fn problems_as_json() {
    let folder = changed("environments/dev.toml", "hostname =", "hostnam =");
    expect![[r#"
        [
          {
            "severity": "error",
            "file": "[HERE]/environments/dev.toml",
            "line": 15,
            "column": 1,
            "message": "unknown key `hostnam` in [image]",
            "hint": "did you mean `hostname`?"
          }
        ]
        ! error: the config repository has 1 error
        [exit 1]
    "#]]
    .assert_eq(&says(folder.path(), &["validate", "--json"]));
}

#[test]
fn only_the_environment_asked_for_is_checked() {
    let folder = changed("environments/production.toml", "hostname =", "hostnam =");
    expect![[r#"
        ! Environment dev is valid.
    "#]]
    .assert_eq(&says(folder.path(), &["validate", "--env", "dev"]));
}

#[test]
fn unknown_environment_is_answered_with_those_there_are() {
    let folder = changed("mos.toml", "demo", "demo");
    expect![[r#"
        ! error: there is no environment `prod`
        !  hint: use one of: dev, production
        [exit 4]
    "#]]
    .assert_eq(&says(folder.path(), &["list", "--env", "prod"]));
    expect![[r#"
        ! error: there is no environment `prod`
        !  hint: use one of: dev, production
        [exit 4]
    "#]]
    .assert_eq(&says(folder.path(), &["validate", "--env", "prod"]));
}

#[test]
fn outside_a_repository_the_way_in_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    expect![[r#"
        ! error: no mos.toml in [HERE] or any folder above it
        !  hint: name the config repository with --config DIR
        !  hint: `mos new DIR` writes a new config repository
        [exit 4]
    "#]]
    .assert_eq(&says(folder.path(), &["validate"]));
    expect![[r#"
        ! error: nowhere has no mos.toml
        !  hint: `mos new DIR` writes a new config repository
        [exit 4]
    "#]]
    .assert_eq(&says(folder.path(), &["list", "--env", "dev", "--config", "nowhere"]));
}

#[test]
fn repository_is_found_from_a_folder_within() {
    let folder = changed("mos.toml", "demo", "demo");
    let within = folder.path().join("files/web");
    expect![[r#"
        ! The config repository is valid; environments: 2.
    "#]]
    .assert_eq(&transcript(mos(&within).arg("validate"), folder.path()));
}

#[test]
fn components_of_an_environment() {
    let folder = changed("mos.toml", "demo", "demo");
    expect![[r#"
        COMPONENT  WANTED  LOCKED  SOURCE
        node-metrics  branch main  not locked yet  git repos/node-metrics.bundle
        web  2.44.1  not locked yet  crate static-web-server
    "#]]
    .assert_eq(&says(folder.path(), &["list", "--env", "dev"]));
    expect![[r#"
        COMPONENT  WANTED  LOCKED  SOURCE
        node-metrics  commit [HEX]  [HEX]  git repos/node-metrics.bundle
        web  2.44.1  [HEX]  crate static-web-server
    "#]]
    .assert_eq(&says(folder.path(), &["list", "--env", "production"]));
}

#[test]
fn what_cannot_be_locked_is_not_said_to_be_waiting_for_it() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/kernel-files");
    let shown = says(&example, &["list", "--env", "dev"]);
    assert!(shown.contains("as it is"), "{shown}");
    assert!(!shown.contains("not locked yet"), "{shown}");
}

#[test]
fn components_as_json() {
    let folder = changed("mos.toml", "demo", "demo");
    expect![[r#"
        [
          {
            "component": "node-metrics",
            "description": "The state of the node for Prometheus, on port 9100",
            "wanted": "branch main",
            "locked": null,
            "lockable": true,
            "kind": "git",
            "source": "repos/node-metrics.bundle",
            "service": "node-metrics.service.toml"
          },
          {
            "component": "web",
            "description": "The node's web page",
            "wanted": "2.44.1",
            "locked": null,
            "lockable": true,
            "kind": "crate",
            "source": "static-web-server",
            "service": "web.service.toml"
          }
        ]
    "#]]
    .assert_eq(&says(folder.path(), &["list", "--env", "dev", "--json"]));
}

#[test]
fn plan_of_an_environment() {
    let folder = changed("mos.toml", "demo", "demo");
    expect![[r#"
        demo / dev (development)
          channel  http://10.0.2.2:8480
          trust  keys/dev.pub
        components
          node-metrics
            source  git repos/node-metrics.bundle branch main
            locked  not yet: the next build finds the exact state
            build  cargo, profile release
            installs node-metrics node-metrics.service.toml
          web
            source  crate static-web-server 2.44.1
            locked  not yet: the next build finds the exact state
            build  cargo, profile release, no default features
            installs static-web-server index.html web.toml web.service.toml
        image
          kernel  linux-image-6.12-cloud-amd64
          packages  busybox-static
          modules  virtio_pci virtio_net virtio_blk virtio_rng ext4 button evdev
          command line  console=ttyS0 quiet
          hostname  mos-dev
          services  mosnet.service.toml ready.service.toml runtime-fetch.service.toml runtime-watch.service.toml state.service.toml
          compression  zstd, level 3
          user  ada (developers), SSH keys: 1, sudo rules: 1
          user  grace (developers), SSH keys: 1, sudo rules: 1
        outputs
          flist node-metrics
          flist web
          boot image
          release, valid for 30 days
    "#]]
    .assert_eq(&says(folder.path(), &["runtime", "build", "--env", "dev", "--dry-run"]));
    assert!(!folder.path().join("dist").exists() && !folder.path().join("mos.lock").exists());
}

#[test]
fn plan_as_json_holds_what_its_text_says() {
    let folder = changed("mos.toml", "demo", "demo");
    let arguments = ["runtime", "build", "--env", "production", "--dry-run", "--json"];
    let output = run(mos(folder.path()).args(arguments)).stdout;
    let plan: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(plan["kind"], "production");
    assert_eq!(plan["components"][0]["name"], "node-metrics");
    assert_eq!(plan["components"][1]["source"]["requirement"], "2.44.1");
    assert_eq!(plan["image"]["hostname"], "node");
    assert_eq!(plan["outputs"][2]["kind"], "boot");
}
