//! The program as a daemon: stores that go away, content that is damaged, daemons that die, mounts that are in use.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{FILES, Setting, alone, bytes, name, within};
use mos_testkit::{Fault, HttpServer};

#[test]
fn a_store_that_goes_away_is_an_error_in_time_and_no_more_when_it_is_back() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let server = HttpServer::serve(&setting.path("store"));
    setting.mount(&server.url(), &["--how", "fuse", "--wait", "1"]);
    setting.check(0);
    server.misbehave(Fault::Stall(Duration::from_secs(4)), 1000);
    let start = Instant::now();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let path = setting.file(FILES - 1);
            std::thread::spawn(move || fs::read(path).unwrap_err().raw_os_error())
        })
        .collect();
    // Names, attributes and what is in the flist itself wait for nothing.
    std::thread::sleep(Duration::from_millis(300));
    let now = Instant::now();
    assert_eq!(
        fs::read_dir(setting.path("place/d0")).unwrap().count(),
        FILES.div_ceil(3)
    );
    assert!(fs::metadata(setting.file(20)).unwrap().len() > 0);
    assert_eq!(fs::read(setting.path("place/small")).unwrap(), b"inline");
    assert!(now.elapsed() < Duration::from_millis(500), "{:?}", now.elapsed());
    for reader in readers {
        assert_eq!(reader.join().unwrap(), Some(5), "EIO");
    }
    // Once, however many wait for the same page.
    let took = start.elapsed();
    assert!(
        Duration::from_millis(900) < took && took < Duration::from_secs(2),
        "{took:?}"
    );
    server.misbehave(Fault::Refuse, 0);
    within(Duration::from_secs(9), "recovery", || {
        fs::read(setting.file(FILES - 1)).is_ok()
    });
    setting.check(FILES - 1);
    setting.check(FILES / 2);
}

#[test]
fn a_damaged_frame_is_an_error_and_a_line_in_the_log_for_the_files_in_it_and_no_others() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let mut blobs = Vec::new();
    for shelf in fs::read_dir(setting.path("store/blobs")).unwrap().flatten() {
        blobs.extend(fs::read_dir(shelf.path()).unwrap().flatten().map(|entry| entry.path()));
    }
    assert!(!blobs.is_empty());
    let blob = blobs.first().unwrap();
    let file = fs::OpenOptions::new().write(true).open(blob).unwrap();
    file.write_all_at(b"damage", 1000).unwrap();
    setting.mount(&setting.url(), &["--how", "fuse"]);
    let failed: Vec<usize> = (0..FILES)
        .filter(|seed| match fs::read(setting.file(*seed)) {
            Ok(found) => found != bytes(*seed),
            Err(error) => error.raw_os_error() == Some(5),
        })
        .collect();
    // A frame of random bytes ends after four chunks of 64 KiB or a few more: one file, or two that are neighbours.
    assert!((1..=3).contains(&failed.len()), "{failed:?}");
    let log = setting.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("is not what the flist names"))
        .collect();
    assert_eq!(lines.len(), failed.len(), "{log}");
    let digest = blob.file_name().unwrap().to_string_lossy().into_owned();
    for file in &failed {
        let told = |line: &&str| line.contains(&name(*file)) && line.contains(&digest);
        assert!(lines.iter().any(told), "{log}");
    }
    assert!(fs::read(setting.file(failed[0])).is_err());
}

#[test]
fn readers_of_a_dead_daemon_get_an_error_and_the_next_mount_takes_its_place() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let server = HttpServer::serve(&setting.path("store"));
    setting.mount(&server.url(), &["--how", "fuse"]);
    setting.check(0);
    server.misbehave(Fault::Stall(Duration::from_secs(20)), 1000);
    let readers: Vec<_> = (1..9)
        .map(|seed| {
            let path = setting.file(seed * 4);
            std::thread::spawn(move || fs::read(path).is_err())
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    setting.signal(rustix::process::Signal::KILL);
    for reader in readers {
        assert!(reader.join().unwrap(), "a reader got something");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let error = fs::metadata(setting.path("place/never-asked-for")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(107), "ENOTCONN: {error}");
    server.misbehave(Fault::Refuse, 0);
    setting.mount(&server.url(), &["--how", "fuse"]);
    setting.check(7);
    // A mount that lives is not replaced.
    let again = setting.run(&server.url(), &["--how", "fuse"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("mounted here already"));
    setting.check(8);
}

#[test]
fn many_readers_at_once_fetch_each_part_once_and_later_mounts_fetch_nothing() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let server = HttpServer::serve(&setting.path("store"));
    let cache = setting.cache();
    setting.mount(&server.url(), &["--cache", &cache]);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let setting = &setting;
            scope.spawn(move || {
                for seed in 0..FILES {
                    setting.check((seed + thread) % FILES);
                }
            });
        }
    });
    let requests = server.requests().len();
    // Every file has a frame or two of its own, and readers of the same one wait for each other.
    assert!(requests <= 3 * FILES, "{requests} requests for {FILES} files");
    assert!(setting.unmount().status.success());
    server.misbehave(Fault::Refuse, u32::MAX);
    setting.mount(&server.url(), &["--cache", &cache]);
    for seed in 0..FILES {
        setting.check(seed);
    }
    assert_eq!(server.requests().len(), requests);
}

#[test]
fn a_mount_in_use_goes_away_with_its_last_user() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    setting.mount(&setting.url(), &["--how", "fuse"]);
    let mut open = fs::File::open(setting.file(3)).unwrap();
    let pid = setting.pid().unwrap();
    let output = setting.unmount();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("still in use"));
    assert!(!setting.is_mounted());
    let mut found = Vec::new();
    open.read_to_end(&mut found).unwrap();
    assert!(found == bytes(3));
    drop(open);
    let gone = || rustix::process::test_kill_process(pid).is_err() || is_zombie(pid);
    within(Duration::from_secs(5), "the end of the daemon", gone);
    assert_eq!(setting.unmount().status.code(), Some(1));
}

/// Nobody waits for a daemon of a test; where there is no init it stays as a zombie.
fn is_zombie(pid: rustix::process::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

#[test]
fn a_signal_unmounts_and_leaves_nothing() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        setting.mount(&setting.url(), &["--how", "fuse"]);
        setting.check(1);
        setting.signal(signal);
        within(Duration::from_secs(5), "unmounting", || {
            !setting.is_mounted() && !setting.path("pid").exists()
        });
    }
}

#[test]
fn files_read_once_are_traced_prefetched_and_passed_through() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let server = HttpServer::serve(&setting.path("store"));
    let (cache, list) = (setting.cache(), setting.path("list").display().to_string());
    setting.mount(&server.url(), &["--how", "fuse", "--trace-to", &list]);
    for seed in [5, 2, 9, 2] {
        setting.check(seed);
    }
    assert!(setting.unmount().status.success());
    let expected: String = [5, 2, 9].map(|seed| name(seed) + "\n").concat();
    assert_eq!(fs::read_to_string(&list).unwrap(), expected);
    setting.mount(&server.url(), &["--cache", &cache, "--prefetch", &list]);
    let objects = || setting.objects();
    within(Duration::from_secs(8), "three objects", || objects() == 3);
    server.misbehave(Fault::Refuse, u32::MAX);
    for seed in [2, 5, 9] {
        setting.check(seed);
    }
    server.misbehave(Fault::Refuse, 0);
    // What is read to its end becomes an object as well.
    setting.check(11);
    within(Duration::from_secs(8), "a fourth object", || objects() == 4);
}

#[test]
fn a_writable_mount_keeps_changes_apart() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let (cache, upper) = (setting.cache(), setting.path("changes"));
    fs::create_dir(&upper).unwrap();
    let writable = upper.display().to_string();
    for way in [
        &["--how", "fuse"][..],
        &["--how", "kernel", "--cache", &cache, "--prefetch-all"],
    ] {
        setting.mount(&setting.url(), &[way, &["--writable", &writable]].concat());
        setting.check(4);
        fs::write(setting.file(4), b"changed").unwrap();
        fs::remove_file(setting.file(5)).unwrap();
        fs::write(setting.path("place/new"), b"new").unwrap();
        assert_eq!(fs::read(setting.file(4)).unwrap(), b"changed");
        assert_eq!(fs::read(upper.join("upper").join(name(4))).unwrap(), b"changed");
        assert!(!setting.file(5).exists());
        setting.check(6);
        assert!(setting.unmount().status.success());
        assert!(!setting.is_mounted());
        fs::remove_dir_all(&upper).unwrap();
        fs::create_dir(&upper).unwrap();
    }
    // Without it, nothing is written.
    setting.mount(&setting.url(), &["--how", "fuse"]);
    assert_eq!(
        fs::write(setting.file(4), b"x").unwrap_err().raw_os_error(),
        Some(30),
        "EROFS"
    );
    setting.check(4);
}

#[test]
fn what_cannot_be_mounted_is_said_before_the_program_goes_into_the_background() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let output = setting.run("dir:///nowhere", &["--how", "kernel"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("kernel: not possible: there is no cache"), "{said}");
    assert_eq!(
        setting.run("store", &[]).status.code(),
        Some(2),
        "the address of no store"
    );
    fs::remove_dir(setting.path("place")).unwrap();
    let output = setting.run(&setting.url(), &[]);
    assert_eq!(output.status.code(), Some(1));
    fs::write(setting.path("x.fl"), b"something else").unwrap();
    assert_eq!(setting.run(&setting.url(), &[]).status.code(), Some(3));
    assert!(!setting.is_mounted());
}

/// Who is root only in a user namespace, as in many a container, may use FUSE, and the kernel's way not.
#[test]
fn in_a_user_namespace_fuse_is_taken_and_the_reason_is_told() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let script = r#"
        "$1" mount "$2/x.fl" "$2/place" --store "$3" --cache "$2/cache" --prefetch-all --daemon --how "$4" || exit
        cat "$2/place/d0/f0" "$2/place/small" | sha256sum
        "$1" unmount "$2/place"
    "#;
    let inside = |how: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_myfs")).arg(setting.root.path());
        command.args([&setting.url(), how]).output().unwrap()
    };
    if !Command::new("unshare")
        .args(["--user", "--map-root-user", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return eprintln!("SKIPPED: no user namespaces here");
    }
    let output = inside("auto");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("place: FUSE (this process may not use EROFS (Operation not permitted"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let expected = [bytes(0), b"inline".to_vec()].concat();
    fs::write(setting.path("expected"), expected).unwrap();
    let sum = Command::new("sha256sum")
        .stdin(fs::File::open(setting.path("expected")).unwrap())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&sum.stdout)
    );
    let output = inside("kernel");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("kernel: not possible: this process may not use EROFS"),
        "{said}"
    );
}

#[test]
fn an_ordinary_user_mounts_with_the_help_of_fusermount3() {
    if !alone() {
        return;
    }
    let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !found("fusermount3") || !found("setpriv") {
        eprintln!("SKIPPED: fusermount3 or setpriv is missing");
        return;
    }
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let setting = Setting::new();
    // Somewhere that the user may look into, whoever built the program.
    let program = setting.path("myfs");
    fs::copy(env!("CARGO_BIN_EXE_myfs"), &program).unwrap();
    fs::set_permissions(setting.root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    chown(setting.path("place"), Some(65_534), Some(65_534)).unwrap();
    // Open to everybody, as it is where there is a udev; seen only in this mount namespace.
    let device = setting.path("fuse");
    let number = rustix::fs::makedev(10, 229);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &device,
        rustix::fs::FileType::CharacterDevice,
        mode,
        number,
    )
    .unwrap();
    fs::set_permissions(&device, fs::Permissions::from_mode(0o666)).unwrap();
    rustix::mount::mount_bind(&device, "/dev/fuse").unwrap();
    let run = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program);
        command.args(arguments).output().unwrap()
    };
    let (flist, place, url, log) = (
        setting.path("x.fl"),
        setting.path("place"),
        setting.url(),
        setting.path("log"),
    );
    let output = run(&[
        "mount".as_ref(),
        flist.as_os_str(),
        place.as_os_str(),
        "-d".as_ref(),
        "-s".as_ref(),
        url.as_ref(),
        "-l".as_ref(),
        log.as_os_str(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("only root may mount without FUSE"),
        "{said}"
    );
    let sum = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "cat"])
        .arg(setting.file(3))
        .output()
        .unwrap();
    assert!(sum.stdout == bytes(3), "{}", String::from_utf8_lossy(&sum.stderr));
    // Not for others, not even root, unless they are let in.
    assert!(fs::read(setting.file(3)).is_err());
    let output = run(&["unmount".as_ref(), place.as_os_str()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!setting.is_mounted());
}

#[test]
fn what_a_mount_by_the_kernel_needs_is_not_evicted_until_it_is_gone() {
    if !alone() {
        return;
    }
    let setting = Setting::new();
    let cache = setting.cache();
    setting.mount(
        &setting.url(),
        &["--how", "kernel", "--cache", &cache, "--prefetch-all"],
    );
    assert_eq!(setting.objects(), FILES);
    let crowded = setting.path("crowded");
    fs::create_dir(&crowded).unwrap();
    let mount = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_myfs"));
        command.arg("mount").arg(setting.path("x.fl")).arg(&crowded);
        command.args([
            "--store",
            &setting.url(),
            "--how",
            "fuse",
            "-d",
            "--cache",
            &cache,
            "--cache-size",
            "1",
        ]);
        assert!(command.status().unwrap().success());
    };
    let unmount = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_myfs"));
        assert!(command.arg("unmount").arg(&crowded).status().unwrap().success());
    };
    mount();
    std::thread::sleep(Duration::from_millis(700));
    unmount();
    for seed in 0..FILES {
        setting.check(seed);
    }
    assert!(setting.unmount().status.success());
    mount();
    within(Duration::from_secs(5), "an empty cache", || setting.objects() == 0);
    unmount();
}
