//! Components from source to tree, with the real cargo and git.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_cache::Cache;
use mos_components::{Built, ComponentError, Fetched, Toolchain, Workshop, build, check_static, fetch, stage};
use mos_config::{Build, BuildKind, Libc, Lock, LockedComponent, Plan, PlannedComponent, Source, load, resolve};

fn example(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(folder)
}

fn plan(environment: &str) -> Plan {
    let repository = load(&example("quickstart")).expect("the example is there").valid(None);
    resolve(
        &repository.expect("the example is valid"),
        environment,
        &Lock::default(),
    )
    .expect("a plan")
}

fn component(source: Source, binaries: &[&str]) -> PlannedComponent {
    PlannedComponent {
        name: "hello".to_owned(),
        description: String::new(),
        source,
        version: None,
        locked: None,
        build: Build::default(),
        binaries: binaries.iter().map(|name| (*name).to_owned()).collect(),
        files: BTreeMap::new(),
        routes: BTreeMap::new(),
        kernel_modules: false,
        firmware: None,
        service: None,
    }
}

fn path_source() -> Source {
    Source::Path {
        path: "hello".to_owned(),
    }
}

/// A program without dependencies, in `hello` below a folder.
fn hello(folder: &Path, main: &str) {
    let source = folder.join("hello/src");
    fs::create_dir_all(&source).expect("a temporary folder");
    let manifest = "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    let lock = "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n";
    for (path, text) in [("Cargo.toml", manifest), ("Cargo.lock", lock), ("src/main.rs", main)] {
        fs::write(folder.join("hello").join(path), text).expect("a temporary folder");
    }
}

fn make(component: &PlannedComponent, shop: &Workshop) -> Result<(Fetched, Built), ComponentError> {
    let fetched = fetch(component, shop, &mut |_| {})?;
    let toolchain = Toolchain::find(shop, component.build.libc, &mut |_| {})?;
    let built = build(
        &fetched,
        &component.build,
        &component.binaries,
        &toolchain,
        shop,
        &mut |_| {},
    )?;
    Ok((fetched, built))
}

/// With a cache of its own, but for the standard library, which takes a minute to compile.
fn shop(repository: &Path, cache: &Path) -> Workshop {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mos-cache/steps/std");
    fs::create_dir_all(&shared).expect("a folder for all tests");
    fs::create_dir_all(cache.join("steps")).expect("a temporary folder");
    match std::os::unix::fs::symlink(shared, cache.join("steps/std")) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{error}"),
        _ => Workshop::new(repository, Cache::new(cache)),
    }
}

fn run(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().expect("a program");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Runs `git` in a folder, with fixed names and dates.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args([
        "-c",
        "user.name=Ada",
        "-c",
        "user.email=ada@example.org",
        "-c",
        "init.defaultBranch=main",
    ]);
    let output = command.args(arguments).current_dir(folder).output().expect("git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn the_bundle_of_the_example_is_made_of_the_program_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let script = example("node-metrics/bundle.sh");
    let output = Command::new("sh")
        .arg(script)
        .arg(directory.path().join("it.bundle"))
        .output()
        .unwrap();
    let commit = String::from_utf8(output.stdout).unwrap();
    let plan = plan("production");
    let pinned = plan.component("node-metrics").unwrap().source.reference();
    assert_eq!(
        pinned,
        format!("commit {}", commit.trim()),
        "see examples/node-metrics/bundle.sh"
    );
}

#[test]
fn same_commit_same_bytes_in_any_directory() {
    let mut programs = Vec::new();
    for name in ["one", "another/place with spaces"] {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join(name);
        let plan = plan("production");
        let component = plan.component("node-metrics").unwrap();
        let shop = shop(&example("quickstart"), &cache);
        let (fetched, built) = make(component, &shop).unwrap();
        assert_eq!(fetched.version, "0.1.0");
        assert!(!built.cached);
        let program = fs::read(&built.binaries["node-metrics"]).unwrap();
        check_static(&program).unwrap();
        let needle = directory.path().to_str().unwrap().as_bytes();
        assert!(
            !program.windows(needle.len()).any(|bytes| bytes == needle),
            "a path is left in the program"
        );

        let (_, again) = make(component, &shop).unwrap();
        assert!(again.cached);
        assert_eq!(again.key, built.key);
        assert_eq!(
            fs::read_dir(cache.join("build")).unwrap().count(),
            0,
            "nothing is left of the build"
        );

        let tree = stage(component, &again, &shop).unwrap().tree;
        let names: Vec<_> = tree
            .walk()
            .map(|entry| String::from_utf8(entry.path).unwrap())
            .collect();
        assert_eq!(names, ["", "node-metrics", "node-metrics.service.toml"]);
        assert_eq!(tree.get("node-metrics").unwrap().metadata.mode, 0o755);
        programs.push(program);
    }
    assert!(programs[0] == programs[1], "two builds of one commit differ");
}

#[test]
fn a_branch_is_locked_and_then_stays_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    hello(directory.path(), "fn main() { println!(\"first\"); }");
    let repository = directory.path().join("hello");
    git(&repository, &["init", "--quiet"]);
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "--quiet", "--message=first"]);
    git(&repository, &["tag", "v1"]);
    let first = git(&repository, &["rev-parse", "HEAD"]);

    let mut wanted = component(
        Source::Git {
            url: "hello".to_owned(),
            branch: Some("main".to_owned()),
            tag: None,
            commit: None,
            subdirectory: None,
        },
        &["hello"],
    );
    let shop = shop(directory.path(), &directory.path().join("cache"));
    let fetched = fetch(&wanted, &shop, &mut |_| {}).unwrap();
    assert_eq!(fetched.digest, first);
    let lock: LockedComponent = fetched.lock.unwrap();
    assert_eq!(lock.reference, "branch main");

    fs::write(repository.join("src/main.rs"), "fn main() { println!(\"second\"); }").unwrap();
    git(&repository, &["commit", "--quiet", "--all", "--message=second"]);
    let second = git(&repository, &["rev-parse", "HEAD"]);
    assert_eq!(fetch(&wanted, &shop, &mut |_| {}).unwrap().digest, second);
    wanted.locked = Some(lock);
    assert_eq!(fetch(&wanted, &shop, &mut |_| {}).unwrap().digest, first);

    // A commit that only history leads to, and a tag that was moved away from it.
    let with_tag = |tag: Option<&str>| Source::Git {
        url: "hello".to_owned(),
        branch: None,
        tag: tag.map(str::to_owned),
        commit: Some(first.clone()),
        subdirectory: None,
    };
    let fresh = Workshop::new(directory.path(), Cache::new(directory.path().join("fresh")));
    let by_commit = component(with_tag(Some("v1")), &["hello"]);
    assert_eq!(fetch(&by_commit, &fresh, &mut |_| {}).unwrap().version, "v1");
    git(&repository, &["tag", "--force", "v1", "HEAD"]);
    let other = Workshop::new(directory.path(), Cache::new(directory.path().join("other")));
    assert!(matches!(
        fetch(&by_commit, &other, &mut |_| {}),
        Err(ComponentError::MovedTag { .. })
    ));
}

#[test]
fn a_damaged_cache_entry_is_built_again() {
    let directory = tempfile::tempdir().unwrap();
    hello(directory.path(), "fn main() { println!(\"hello\"); }");
    let shop = shop(directory.path(), &directory.path().join("cache"));
    let wanted = component(path_source(), &["hello"]);
    let (fetched, built) = make(&wanted, &shop).unwrap();
    assert_eq!(run(&built.binaries["hello"], ""), "hello");
    fs::write(&built.binaries["hello"], "damaged").unwrap();
    // As if the build that damaged it had been killed.
    let left = format!("cache/build/{}-{}", fetched.name, &built.key.to_string()[..16]);
    let left = directory.path().join(left);
    fs::create_dir_all(left.join("source")).unwrap();
    let (_, again) = make(&wanted, &shop).unwrap();
    assert!(!again.cached);
    assert!(!left.exists());
    check_static(&fs::read(&again.binaries["hello"]).unwrap()).unwrap();

    hello(directory.path(), "fn main() { println!(\"changed\"); }");
    let (_, changed) = make(&wanted, &shop).unwrap();
    assert_ne!(changed.key, again.key);
}

#[test]
fn packages_of_a_workspace_are_built_with_its_own_profile() {
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = directory.path().join("hello").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n[profile.node]\ninherits = \"release\"\npanic = \"abort\"\nopt-level = \"s\"\n",
    );
    let mut lock = "version = 4\n".to_owned();
    for name in ["one", "two", "unused"] {
        write(
            &format!("{name}/Cargo.toml"),
            &format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n"),
        );
        let main = if name == "unused" {
            "nonsense"
        } else {
            "fn main() { println!(\"{}\", env!(\"CARGO_PKG_NAME\")); }"
        };
        write(&format!("{name}/src/main.rs"), main);
        lock.push_str(&format!("\n[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n"));
    }
    write("Cargo.lock", &lock);
    let mut wanted = component(path_source(), &["one", "two"]);
    wanted.build.packages = vec!["one".to_owned(), "two".to_owned()];
    wanted.build.profile = "node".to_owned();
    let shop = shop(directory.path(), &directory.path().join("cache"));
    let (_, built) = make(&wanted, &shop).unwrap();
    assert_eq!(
        (run(&built.binaries["one"], ""), run(&built.binaries["two"], "")),
        ("one".to_owned(), "two".to_owned())
    );
    assert!(make(&wanted, &shop).unwrap().1.cached);
}

#[test]
fn a_failing_build_shows_why_and_where() {
    let directory = tempfile::tempdir().unwrap();
    hello(directory.path(), "fn main() { nonsense(); }");
    let shop = shop(directory.path(), &directory.path().join("cache"));
    let wanted = component(path_source(), &["hello"]);
    let mut lines = Vec::new();
    let fetched = fetch(&wanted, &shop, &mut |_| {}).unwrap();
    let toolchain = Toolchain::find(&shop, wanted.build.libc, &mut |_| {}).unwrap();
    let failed = build(
        &fetched,
        &wanted.build,
        &wanted.binaries,
        &toolchain,
        &shop,
        &mut |line| {
            lines.push(line.to_owned());
        },
    );
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("cannot find function `nonsense`"), "{error}");
    assert!(error.contains("cache/logs/hello.log"), "{error}");
    assert!(lines.iter().any(|line| line.contains("Compiling hello")), "{lines:?}");

    hello(directory.path(), "fn main() {}");
    let missing = component(path_source(), &["helo"]);
    let error = make(&missing, &shop).unwrap_err().to_string();
    assert!(error.contains("no bin target named `helo`"), "{error}");
    fs::remove_file(directory.path().join("hello/Cargo.lock")).unwrap();
    assert!(matches!(make(&wanted, &shop), Err(ComponentError::NoLock { .. })));
}

#[test]
fn a_crate_is_locked_by_its_digest() {
    let online = Command::new("cargo")
        .args(["info", "--quiet", "static-web-server@2.44.1"])
        .output();
    if !online.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: the Rust registry is not in reach");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let shop = shop(directory.path(), &directory.path().join("cache"));
    let of = |requirement: &str, sha256: Option<&str>| {
        component(
            Source::Crate {
                name: "static-web-server".to_owned(),
                requirement: requirement.to_owned(),
                sha256: sha256.map(str::to_owned),
            },
            &["static-web-server"],
        )
    };
    let fetched = fetch(&of("=2.44.1", None), &shop, &mut |_| {}).unwrap();
    assert_eq!(fetched.version, "2.44.1");
    let plan = plan("production");
    let Source::Crate { sha256, .. } = &plan.component("web").unwrap().source else {
        panic!("web is a crate");
    };
    assert_eq!(Some(&fetched.digest), sha256.as_ref());

    // A requirement never leads to a pre-release, and what is locked is not asked for again.
    let mut newest = of(">=2.44, <4", None);
    let found = fetch(&newest, &shop, &mut |_| {}).unwrap();
    assert!(!found.version.contains('-'), "{}", found.version);
    newest.locked = found.lock.clone();
    let mut asked = Vec::new();
    let again = fetch(&newest, &shop, &mut |line| asked.push(line.to_owned())).unwrap();
    assert_eq!((again.digest, asked), (found.digest, Vec::new()));

    let wrong = fetch(&of("2.44.1", Some(&"0".repeat(64))), &shop, &mut |_| {});
    assert!(matches!(wrong, Err(ComponentError::WrongDigest { .. })), "{wrong:?}");
}

#[test]
fn with_either_c_library_a_program_is_static_and_catches_its_panics() {
    let directory = tempfile::tempdir().unwrap();
    hello(
        directory.path(),
        "fn main() {\n    let caught = std::panic::catch_unwind(|| panic!(\"first\"));\n    \
         let thread = std::thread::spawn(|| panic!(\"second\")).join();\n    \
         println!(\"{} {}\", caught.is_err(), thread.is_err());\n}",
    );
    let shop = shop(directory.path(), &directory.path().join("cache"));
    for libc in [None, Some(Libc::Glibc)] {
        let mut wanted = component(path_source(), &["hello"]);
        wanted.build.libc = libc;
        let (_, built) = make(&wanted, &shop).unwrap();
        assert!(!built.cached);
        assert!(libc.is_none() || built.target.ends_with("-gnu"));
        check_static(&fs::read(&built.binaries["hello"]).unwrap()).unwrap();
        assert_eq!(run(&built.binaries["hello"], ""), "true true", "{}", built.target);
    }
}

#[test]
fn a_program_that_does_not_unwind_tells_its_panic_and_is_smaller() {
    let directory = tempfile::tempdir().unwrap();
    hello(directory.path(), "fn main() { panic!(\"why\") }");
    let shop = shop(directory.path(), &directory.path().join("cache"));
    let wanted = component(path_source(), &["hello"]);
    let (_, unwinding) = make(&wanted, &shop).unwrap();
    let manifest = directory.path().join("hello/Cargo.toml");
    let mut text = fs::read_to_string(&manifest).unwrap();
    text.push_str(
        "[profile.release]\npanic = \"abort\"\nopt-level = \"s\"\n[profile.release.package.hello]\nopt-level = \"z\"\n",
    );
    fs::write(&manifest, text).unwrap();
    let (_, aborting) = make(&wanted, &shop).unwrap();
    let program = &aborting.binaries["hello"];
    let symbols = fs::read(program).unwrap().windows(8).any(|bytes| bytes == b".symtab\0");
    assert!(!symbols, "settings for one package leave its symbols in");
    let said = Command::new(program).output().unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("panicked at") && said.contains("why"), "{said}");
    if aborting.target.ends_with("-musl") {
        let size = |built: &Built| fs::metadata(&built.binaries["hello"]).unwrap().len();
        assert!(size(&aborting) < size(&unwinding));
    }
}

#[test]
fn programs_that_come_with_mos_are_taken_as_they_are_and_their_absence_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let programs = directory.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let shop = shop(directory.path(), &directory.path().join("cache")).with_programs(&programs);
    let mut wanted = component(Source::Mos, &["myfs"]);
    wanted.build.kind = BuildKind::None;
    let error = make(&wanted, &shop).unwrap_err().to_string();
    assert!(
        error.contains("programs/myfs") && error.contains("`make build`"),
        "{error}"
    );
    let mut versions = Vec::new();
    for text in ["first", "second"] {
        fs::write(programs.join("myfs"), text).unwrap();
        fs::write(programs.join("other"), text).unwrap();
        let (fetched, built) = make(&wanted, &shop).unwrap();
        assert_eq!(fs::read_to_string(&built.binaries["myfs"]).unwrap(), text);
        assert!(fetched.lock.is_none());
        versions.push(fetched.version);
    }
    assert_ne!(versions[0], versions[1]);
    fs::write(programs.join("other"), "not asked for").unwrap();
    assert_eq!(make(&wanted, &shop).unwrap().0.version, versions[1]);
}
