//! Repositories, tags, the cache, and what happens when one of them is not as it should be.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod support;

use std::fs;

use mos_alpine::{Alpine, AlpineError, Database, Progress, Repository, parse_world};
use mos_store::{Options, Schedule};
use mos_testkit::HttpServer;
use mos_testkit::apk::PackageBuilder;
use mos_tree::Tree;
use support::{Lab, names, text};

fn two() -> Vec<PackageBuilder> {
    vec![
        PackageBuilder::new("a", "1-r0").depend("b").file("a", "1"),
        PackageBuilder::new("b", "1-r0").file("b", "1"),
    ]
}

#[test]
fn a_second_run_with_a_lock_asks_no_repository() {
    let lab = Lab::new(&two());
    let server = HttpServer::serve(&lab.path("main"));
    let mut client = lab.client();
    client.repositories = vec![server.url().parse::<Repository>().unwrap()];
    let mut steps = Vec::new();
    let locked = client
        .resolve(&["a"], None, &mut |step| steps.push(format!("{step:?}")))
        .unwrap();
    assert_eq!(names(&locked), ["a-1-r0", "b-1-r0"]);
    assert_eq!(steps.len(), 3, "{steps:?}");
    assert_eq!(server.requests().len(), 3);
    let again = client.resolve(&["a"], None, &mut |_| {}).unwrap();
    assert_eq!(again, locked);
    assert_eq!(
        server.requests().len(),
        3,
        "the index is young, and the packages are there"
    );
    drop(server);
    let mut cached = 0;
    for one in &locked {
        client
            .fetch(one, &mut |step| {
                cached += usize::from(matches!(step, Progress::Cached { .. }))
            })
            .unwrap();
    }
    assert_eq!(cached, 2);
}

#[test]
fn a_young_index_that_lacks_what_is_wanted_is_fetched_again() {
    let lab = Lab::new(&two());
    let server = HttpServer::serve(&lab.path("main"));
    let mut client = lab.client();
    client.repositories = vec![server.url().parse::<Repository>().unwrap()];
    client.resolve(&["a"], None, &mut |_| {}).unwrap();
    lab.publish("main", &[PackageBuilder::new("new", "1-r0")]);
    assert_eq!(
        names(&client.resolve(&["new"], None, &mut |_| {}).unwrap()),
        ["new-1-r0"]
    );
    lab.publish("main", &[PackageBuilder::new("new", "2-r0")]);
    fs::remove_file(lab.package_file("new-1-r0.apk")).unwrap();
    fs::remove_dir_all(lab.path("cache/packages")).unwrap();
    assert_eq!(
        names(&client.resolve(&["new"], None, &mut |_| {}).unwrap()),
        ["new-2-r0"]
    );
}

#[test]
fn the_last_index_serves_when_a_repository_is_out_of_reach() {
    let lab = Lab::new(&two());
    let mut client = lab.client();
    client.resolve(&["b"], None, &mut |_| {}).unwrap();
    fs::remove_dir_all(lab.path("main")).unwrap();
    let mut warnings = 0;
    let locked = client.resolve(&["b"], None, &mut |step| {
        warnings += usize::from(matches!(step, Progress::Warning(_)))
    });
    assert_eq!((names(&locked.unwrap()), warnings), (vec!["b-1-r0".to_owned()], 1));
    client.cache = lab.path("other");
    match client.resolve(&["b"], None, &mut |_| {}) {
        Err(AlpineError::Store { url, .. }) => assert!(url.ends_with("/main"), "{url}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_package_under_a_locked_name_is_refused() {
    let lab = Lab::new(&two());
    let locked = lab.resolve(&["b"]).unwrap();
    lab.publish("main", &[PackageBuilder::new("b", "1-r0").file("b", "2")]);
    let mut client = lab.client();
    client.cache = lab.path("other");
    match client.fetch(&locked[0], &mut |_| {}) {
        Err(AlpineError::Digest { name, expected, .. }) => {
            assert_eq!((name.as_str(), expected), ("b-1-r0", locked[0].sha256.clone()))
        }
        other => panic!("{other:?}"),
    }
    fs::remove_file(lab.package_file("b-1-r0.apk")).unwrap();
    match client.fetch(&locked[0], &mut |_| {}) {
        Err(AlpineError::Gone { tried, .. }) => assert_eq!(tried.len(), 1),
        other => panic!("{other:?}"),
    }
    let mut second = client.repositories[0].clone();
    second.url = second.url.replace("/main", "/community");
    client.repositories.push(second);
    match client.fetch(&locked[0], &mut |_| {}) {
        Err(AlpineError::Gone { tried, .. }) => {
            assert!(
                tried[0].contains("/main") && tried[1].contains("/community"),
                "{tried:?}"
            )
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_package_of_the_cache_is_fetched_again() {
    let lab = Lab::new(&two());
    let locked = lab.resolve(&["b"]).unwrap();
    let sha256 = &locked[0].sha256;
    let path = lab
        .path("cache/packages")
        .join(&sha256[..2])
        .join(format!("{sha256}.apk"));
    fs::write(&path, "damaged").unwrap();
    lab.client().fetch(&locked[0], &mut |_| {}).unwrap();
    assert_eq!(fs::read(&path).unwrap().len() as u64, locked[0].size);
    fs::write(&path, "damaged").unwrap();
    assert_eq!(lab.resolve(&["b"]).unwrap(), locked);
}

#[test]
fn a_lock_that_names_a_path_leads_nowhere() {
    let lab = Lab::new(&two());
    let mut locked = lab.resolve(&["b"]).unwrap().remove(0);
    locked.sha256 = format!("../../{}", &locked.sha256[6..]);
    assert!(matches!(
        lab.client().fetch(&locked, &mut |_| {}),
        Err(AlpineError::Digest { .. })
    ));
    locked.name = "../b".to_owned();
    assert!(matches!(
        lab.client().fetch(&locked, &mut |_| {}),
        Err(AlpineError::Gone { .. })
    ));
}

#[test]
fn tags_keep_repositories_apart() {
    let lab = Lab::new(&two());
    lab.publish(
        "edge",
        &[
            PackageBuilder::new("b", "2-r0").file("b", "2"),
            PackageBuilder::new("a", "2-r0").depend("b>=2"),
        ],
    );
    let client = lab.client_of(&["main", "@edge edge"]);
    let resolve = |wanted: &[&str]| names(&client.resolve(wanted, None, &mut |_| {}).unwrap());
    assert_eq!(resolve(&["a"]), ["a-1-r0", "b-1-r0"]);
    assert_eq!(resolve(&["b@edge"]), ["b-2-r0"]);
    assert_eq!(resolve(&["a@edge"]), ["a-2-r0", "b-2-r0"]);
    let packages: Vec<_> = client.resolve(&["a@edge"], None, &mut |_| {}).unwrap();
    let packages: Vec<_> = packages
        .iter()
        .map(|one| client.fetch(one, &mut |_| {}).unwrap())
        .collect();
    let installed = client
        .install(Tree::default(), &packages, &parse_world(&["a@edge"]).unwrap())
        .unwrap();
    assert_eq!(text(&installed.tree, "etc/apk/world"), "a@edge\n");
    assert!(text(&installed.tree, "etc/apk/repositories").contains("\n@edge /"));
}

#[test]
fn what_a_tree_has_already_is_not_fetched() {
    let lab = Lab::new(&two());
    let base = lab.install(&["b"]).unwrap().tree;
    let database = Database::read(&base).unwrap();
    let client = lab.client();
    let locked = client.resolve(&["a"], Some(&database), &mut |_| {}).unwrap();
    assert_eq!(names(&locked), ["a-1-r0"]);
}

#[test]
fn an_upgrade_takes_the_old_files_away() {
    let lab = Lab::new(&two());
    let base = lab.install(&["b"]).unwrap().tree;
    let database = Database::read(&base).unwrap();
    lab.publish(
        "main",
        &[PackageBuilder::new("b", "2-r0")
            .file("new/b", "2")
            .script("post-upgrade", "#!/bin/sh\nx\n")],
    );
    let client = lab.client();
    let locked = client.resolve(&["b>1-r0"], Some(&database), &mut |_| {}).unwrap();
    let packages: Vec<_> = locked
        .iter()
        .map(|one| client.fetch(one, &mut |_| {}).unwrap())
        .collect();
    let installed = client.install(base, &packages, &parse_world(&["b"]).unwrap()).unwrap();
    assert!(installed.tree.get("b").is_none());
    assert_eq!(text(&installed.tree, "new/b"), "2");
    assert_eq!(installed.database.packages.len(), 1);
    assert_eq!(installed.scripts_not_run.len(), 1);
}

#[test]
fn the_same_twice_gives_the_same() {
    let lab = Lab::new(&two());
    let tree = |lab: &Lab| lab.install(&["a"]).unwrap().tree;
    assert_eq!(tree(&lab), tree(&lab));
}

#[test]
fn one_try_is_enough_for_a_client_that_says_so() {
    let lab = Lab::new(&two());
    let client = Alpine {
        options: Options {
            schedule: Schedule {
                tries: 1,
                ..Schedule::default()
            },
            ..Options::default()
        },
        repositories: vec!["http://127.0.0.1:9/x".parse().unwrap()],
        ..lab.client()
    };
    assert!(matches!(
        client.resolve(&["a"], None, &mut |_| {}),
        Err(AlpineError::Store { .. })
    ));
}

#[test]
fn lines_that_are_none_are_all_named() {
    let lab = Lab::new(&two());
    let problem = lab.resolve(&["a", "b==1", "c d"]).unwrap_err().to_string();
    assert!(problem.contains("`b==1`") && problem.contains("`c d`"), "{problem}");
    let problem = lab.resolve(&["x", "a", "y>1"]).unwrap_err().to_string();
    assert_eq!(problem.lines().count(), 3, "{problem}");
}
