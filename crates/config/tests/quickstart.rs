//! The example is valid and resolves to what its files say.

use std::path::{Path, PathBuf};

use mos_config::{Compression, EnvironmentKind, Lock, LockedComponent, Plan, Repository, Source, load, resolve};

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart")
}

fn repository() -> Repository {
    load(&quickstart()).expect("the example").valid(None).expect("valid")
}

fn plan(environment: &str) -> Plan {
    resolve(&repository(), environment, &Lock::default()).expect("a plan")
}

#[test]
fn there_is_nothing_to_complain_about() {
    let problems = load(&quickstart()).unwrap().problems(None);
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn dev_follows_a_branch_until_it_is_locked() {
    let repository = repository();
    let open = plan("dev");
    assert_eq!(open.kind, EnvironmentKind::Development);
    let unlocked: Vec<&str> = open.unlocked().map(|component| component.name.as_str()).collect();
    assert_eq!(unlocked, ["node-metrics", "web"]);

    let mut lock = Lock::default();
    for component in &open.components {
        let digits = if component.source.kind() == "crate" { 64 } else { 40 };
        lock.set_component(LockedComponent {
            name: component.name.clone(),
            kind: component.source.kind().to_owned(),
            source: component.source.location().to_owned(),
            reference: component.source.reference(),
            version: "1.0.0".to_owned(),
            digest: "a".repeat(digits),
        });
    }
    let locked = resolve(&repository, "dev", &lock).unwrap();
    assert_eq!(locked.unlocked().count(), 0);
    assert_eq!(
        resolve(&repository, "production", &lock)
            .unwrap()
            .component("node-metrics")
            .unwrap()
            .locked,
        None
    );
}

#[test]
fn production_is_exact_without_a_lock() {
    let plan = plan("production");
    assert_eq!(plan.unlocked().count(), 0);
    let Source::Crate {
        requirement, sha256, ..
    } = &plan.component("web").unwrap().source
    else {
        panic!("web is a crate");
    };
    assert_eq!(requirement, "2.44.1");
    assert_eq!(sha256.as_ref().unwrap().len(), 64);
    let users: Vec<&str> = plan.image.users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(users, ["operator"]);
}

#[test]
fn services_of_components_are_not_in_the_image() {
    let plan = plan("dev");
    let names: Vec<&str> = plan
        .image
        .services
        .iter()
        .map(|service| service.file_name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "mosnet.service.toml",
            "ready.service.toml",
            "runtime-fetch.service.toml",
            "runtime-watch.service.toml",
            "state.service.toml"
        ]
    );
    assert_eq!(
        plan.component("web").unwrap().service.as_ref().unwrap().file_name,
        "web.service.toml"
    );
}

#[test]
fn a_plan_prints_and_serialises() {
    let plan = plan("production");
    let text = plan.to_string();
    assert!(text.starts_with("quickstart / production (production)\n"), "{text}");
    assert!(text.contains("    source   crate static-web-server 2.44.1\n"), "{text}");
    assert!(
        text.contains("    build    cargo, profile release, no default features\n"),
        "{text}"
    );
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["components"][0]["source"]["kind"], "git");
    assert_eq!(json["image"]["compression"], "zstd");
    assert_eq!(json["outputs"].as_array().unwrap().len(), 4);
}

#[test]
fn a_misspelt_environment_is_named() {
    let error = resolve(&repository(), "prodction", &Lock::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no environment `prodction`\n  hint: did you mean `production`?"
    );
}

#[test]
fn what_breaks_production_does_not_stop_work_on_dev() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("system");
    mos_config::scaffold(&root, "system").unwrap();
    let path = root.join("environments/production.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"operators\"", "\"developers\"")).unwrap();
    let loaded = load(&root).unwrap();
    let found = loaded.problems(Some("production"));
    assert!(
        found
            .iter()
            .any(|problem| problem.message.contains("sudo without a password")),
        "{found:?}"
    );
    assert!(
        loaded.problems(Some("dev")).is_empty(),
        "{:?}",
        loaded.problems(Some("dev"))
    );
    assert!(loaded.valid(Some("dev")).is_ok());
}

#[test]
fn the_other_examples_are_valid_too() {
    for name in ["alpine", "kernel-files", "minimal", "server"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        let loaded = load(&folder).unwrap();
        assert!(loaded.problems(None).is_empty(), "{name}: {:?}", loaded.problems(None));
        let plan = resolve(&loaded.valid(None).unwrap(), "dev", &Lock::default()).unwrap();
        assert_eq!(plan.image.alpine.is_some(), name == "alpine");
    }
}

/// Each example can be copied by itself, so what both kernels have is in both.
#[test]
fn the_kernel_of_servers_is_that_of_virtual_machines_and_more() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let settings = |name: &str| std::fs::read_to_string(examples.join(name).join("image/kernel.config")).unwrap();
    assert_eq!(settings("server"), settings("minimal"));
    let plan = |name: &str| {
        let loaded = load(&examples.join(name)).unwrap();
        let plan = resolve(&loaded.valid(None).unwrap(), "dev", &Lock::default()).unwrap();
        plan.image.kernel_source.unwrap().settings
    };
    assert!(plan("server").len() > plan("minimal").len());
}

#[test]
fn releases_are_compressed_by_what_a_kernel_unpacks_fast_and_development_quickly() {
    // xz is 7 % smaller than zstd at its highest levels, and costs every boot three seconds of a slow machine.
    let (dev, production) = (plan("dev").image, plan("production").image);
    assert_eq!([dev.compression, production.compression], [Compression::Zstd; 2]);
    assert!(dev.compression_level <= 3 && production.compression_level >= 19);
}
