//! `mos-node watch`: a channel that comes back is found, and nothing unverified is started on the way.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[allow(dead_code, reason = "each file of tests uses its part")]
mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Ran, World, damage_all, noise};
use jiff::{SignedDuration, Timestamp};
use mos_testkit::Fault;
use serde_json::Value;

/// Longer than the first two waits of `mos-node watch`.
const SOON: Duration = Duration::from_secs(30);

/// Answers as my_init does, and runs `mos-node fetch` when it is told to.
struct MyInit {
    asked: Arc<Mutex<Vec<String>>>,
}

impl MyInit {
    fn new(world: &World) -> Self {
        fs::create_dir_all(world.root.join("run")).unwrap();
        let listener = UnixListener::bind(world.root.join("run/my_init.sock")).unwrap();
        let asked = Arc::default();
        let (shared, root) = (Arc::clone(&asked), world.root.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &shared, &root);
            }
        });
        Self { asked }
    }

    fn asked(&self, what: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(what))
            .count()
    }
}

fn answer(stream: UnixStream, asked: &Mutex<Vec<String>>, root: &std::path::Path) {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    // Whoever asked may have been killed meanwhile.
    let _ = (&stream).write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
    let fetch = line.contains("service.restart") && line.contains("runtime-fetch");
    asked.lock().unwrap().push(line);
    if fetch {
        let root: PathBuf = root.to_owned();
        std::thread::spawn(move || common::run_below(&root, "mos-node", &["fetch"]));
    }
}

/// A `mos-node watch` at work.
struct Watching(Option<Child>);

impl Watching {
    fn new(world: &World) -> Self {
        Self(Some(world.spawn("mos-node", &["watch"])))
    }

    /// What it said until it ended by itself.
    fn ended(mut self) -> Ran {
        let end = Instant::now() + SOON;
        let mut child = self.0.take().unwrap();
        while child.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        // One that has ended already cannot be killed.
        let _ = child.kill();
        common::ran(child.wait_with_output().unwrap())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What programs are told; `null` when it is nothing yet.
fn told(world: &World) -> Value {
    let bytes = fs::read(world.root.join("run/mos/fetch.json"));
    bytes.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
}

#[track_caller]
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A node with release 1 on its disk, whose channel is down.
fn offline() -> (World, MyInit) {
    let world = World::new();
    world.publish(1, &[("web", &noise(1, 300_000))]);
    world.fetch().expect(0, &["starting generation 1\n"]);
    let my_init = MyInit::new(&world);
    world.server.misbehave(Fault::Refuse, u32::MAX);
    world.fetch().expect(0, &["starting generation 1 offline"]);
    assert_eq!(my_init.asked("runtime-watch"), 1);
    (world, my_init)
}

#[test]
fn online_node_has_nothing_to_watch() {
    let world = World::new();
    world.publish(1, &[("web", b"x")]);
    world.fetch().expect(0, &["starting generation 1\n"]);
    let before = world.server.requests().len();
    let ran = world.run_as("mos-node", &["watch"]);
    ran.expect(0, &[]);
    assert_eq!((ran.text.as_str(), world.server.requests().len()), ("", before));
}

#[test]
fn channel_that_comes_back_is_found_and_its_release_started() {
    let (world, my_init) = offline();
    let watching = Watching::new(&world);
    wait_for("a failed try", || told(&world)["tries"] == 1);
    let status = world.run_as("mosctl", &["status"]).text;
    assert!(
        status.contains("generation     1\nfetch          offline: channel http"),
        "{status}"
    );
    let line = status.lines().find(|line| line.starts_with("offline since  20"));
    assert!(
        line.is_some_and(|line| line.contains(", next try in ") && line.ends_with(" s")),
        "{status}"
    );
    world.publish(2, &[("web", &noise(2, 300_000))]);
    world.server.misbehave(Fault::Refuse, 0);
    let ran = watching.ended();
    let line = "answers: release 2 is there as generation 2; runtime-fetch starts it\n";
    ran.expect(0, &["again until it answers, every 300 s at least\n", line]);
    assert_eq!(ran.text.matches("unreachable").count(), 0, "{}", ran.text);
    assert_eq!(my_init.asked("service.restart"), 1);
    assert_eq!(world.installed("bin/web"), noise(2, 300_000));
    let told = told(&world);
    assert_eq!((&told["phase"], &told["generation"]), (&"started".into(), &2.into()));
    assert_eq!(
        (&told["offline_since"], &told["next_try"]),
        (&Value::Null, &Value::Null)
    );
    let status = world.run_as("mosctl", &["status"]).text;
    assert!(!status.contains("offline since"), "{status}");
}

#[test]
fn fetch_by_hand_may_come_in_between_and_ends_the_watch() {
    let (world, my_init) = offline();
    let watching = Watching::new(&world);
    wait_for("its first line", || !told(&world)["next_try"].is_null());
    world.server.misbehave(Fault::Refuse, 0);
    world.fetch().expect(0, &["starting generation 1\n"]);
    let since = Instant::now();
    watching.ended().expect(0, &["every 300 s at least\n"]);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert_eq!(my_init.asked("service.restart"), 0);
}

#[test]
fn refused_release_is_replaced_without_a_reboot_and_never_started() {
    let world = World::new();
    let my_init = MyInit::new(&world);
    world.publish_changed(1, &[("web", b"old")], &world.key, |release| {
        release.created = Timestamp::now() - SignedDuration::from_hours(48);
        release.expires = release.created + SignedDuration::from_hours(1);
    });
    world
        .fetch()
        .expect(3, &["trust failure: ", "the release expired at ", "nothing is started"]);
    let watching = Watching::new(&world);
    wait_for("a refusal", || told(&world)["tries"] == 1);
    assert_eq!(told(&world)["phase"], "failed");
    assert!(
        told(&world)["message"]
            .as_str()
            .unwrap()
            .contains("the release expired at")
    );
    // The next one has a chunk that was tampered with: that is another refusal.
    world.publish(2, &[("web", &noise(9, 300_000))]);
    damage_all(&world.channel.join("blobs"));
    wait_for("another refusal", || {
        told(&world)["message"]
            .as_str()
            .unwrap()
            .contains("is not what the flist names")
    });
    assert!(fs::symlink_metadata(world.root.join("run/mos/current")).is_err());
    assert_eq!(
        (my_init.asked("system.reload"), my_init.asked("service.restart")),
        (0, 0)
    );
    fs::remove_dir_all(world.channel.join("blobs")).unwrap();
    world.publish(2, &[("web", &noise(9, 300_000))]);
    let ran = watching.ended();
    ran.expect(
        0,
        &[
            "until it has a release that can be started",
            "release 2 is there as generation 1",
        ],
    );
    assert_eq!(ran.text.matches("trust failure").count(), 1, "{}", ran.text);
    assert_eq!(world.installed("bin/web"), noise(9, 300_000));
    assert_eq!(told(&world)["phase"], "started");
}

#[test]
fn node_without_a_generation_keeps_trying() {
    let world = World::new();
    world.publish(1, &[("web", b"x")]);
    world.server.misbehave(Fault::Refuse, u32::MAX);
    let fetching = Watching(Some(world.spawn("mos-node", &["fetch"])));
    wait_for("tries after the boot's limit", || told(&world)["tries"] == 3);
    assert_eq!(
        (&told(&world)["phase"], &told(&world)["generation"]),
        (&"waiting".into(), &Value::Null)
    );
    assert!(told(&world)["next_try"].as_i64() >= told(&world)["offline_since"].as_i64());
    world.server.misbehave(Fault::Refuse, 0);
    let ran = fetching.ended();
    ran.expect(
        0,
        &[
            "nothing is started until the channel answers",
            "starting generation 1\n",
        ],
    );
    assert_eq!(ran.text.matches("(try ").count(), 2, "{}", ran.text);
}

#[test]
fn two_at_work_wait_for_each_other() {
    let (world, _my_init) = offline();
    let busy = fs::File::open(world.state().join("lock")).unwrap();
    busy.lock().unwrap();
    world.server.misbehave(Fault::Refuse, 0);
    let fetching = Watching(Some(world.spawn("mos-node", &["fetch"])));
    std::thread::sleep(Duration::from_millis(500));
    busy.unlock().unwrap();
    fetching.ended().expect(
        0,
        &[
            "another mos-node is at work: waiting for it to end",
            "starting generation 1\n",
        ],
    );
}
