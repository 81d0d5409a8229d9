//! `mos-node fetch` against a channel on a real web server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[allow(dead_code, reason = "each file of tests uses its part")]
mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use common::{World, damage_all, noise};
use jiff::{SignedDuration, Timestamp};
use mos_channel::KeyPair;
use mos_testkit::Fault;

const SERVICE: &[u8] = b"[service]\nname = \"web\"\nexec = \"/var/cache/bin/web\"\n";

/// A node that has release 1 as generation 1.
fn with_generation() -> (World, Vec<u8>) {
    let world = World::new();
    let program = noise(1, 300_000);
    world.publish(
        1,
        &[
            ("web", &program),
            ("web.toml", b"port = 80\n"),
            ("web.service.toml", SERVICE),
        ],
    );
    world.fetch().expect(0, &["starting generation 1"]);
    (world, program)
}

/// Offers something that must be refused; the generation before stays and is started.
#[track_caller]
fn refused(world: &World, reason: &str) {
    world.fetch().expect(
        3,
        &[
            "trust failure: ",
            reason,
            "; nothing of it was started",
            "starting generation 1 (release 1)",
        ],
    );
    assert_eq!(world.current(), Path::new("generations/1"));
    assert_eq!(world.installed("bin/web"), noise(1, 300_000));
    assert!(!world.state().join("generations/2").exists());
}

#[test]
fn first_fetch_makes_generation_1_and_the_second_does_nothing() {
    let (world, program) = with_generation();
    assert_eq!(world.current(), Path::new("generations/1"));
    assert_eq!(world.installed("bin/web"), program);
    assert_eq!(world.installed("etc/web.toml"), b"port = 80\n");
    assert_eq!(world.installed("services/web.service.toml"), SERVICE);
    let mode = |place| {
        fs::metadata(world.state().join("current").join(place))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!((mode("bin/web"), mode("etc/web.toml")), (0o755, 0o644));
    let before = world.blob_requests();
    assert!(before > 0);
    world.fetch().expect(
        0,
        &[
            "release 1 is generation 1 already; every file verified",
            "starting generation 1\n",
        ],
    );
    assert_eq!(world.blob_requests(), before);
    assert!(!world.state().join("generations/2").exists());
    let told: serde_json::Value =
        serde_json::from_slice(&fs::read(world.root.join("run/mos/fetch.json")).unwrap()).unwrap();
    assert_eq!(
        (
            told["phase"].as_str(),
            told["release"].as_u64(),
            told["generation"].as_u64()
        ),
        (Some("started"), Some(1), Some(1))
    );
}

#[test]
fn new_release_fetches_only_what_changed() {
    let (world, program) = with_generation();
    world.publish(
        2,
        &[
            ("web", &program),
            ("tool", &noise(2, 200_000)),
            ("web.service.toml", SERVICE),
        ],
    );
    world.fetch().expect(
        0,
        &[
            "release 2: 1 files to fetch (200000 bytes), 2 there already",
            "starting generation 2",
        ],
    );
    assert_eq!(world.current(), Path::new("generations/2"));
    assert_eq!(world.installed("bin/tool"), noise(2, 200_000));
    world.publish(3, &[("web", &program)]);
    let before = world.blob_requests();
    world
        .fetch()
        .expect(0, &["release 3: 0 files to fetch", "starting generation 3"]);
    assert_eq!(world.blob_requests(), before);
    // The one before stays, older ones go.
    assert!(world.state().join("generations/2").exists() && !world.state().join("generations/1").exists());
    world
        .run_as("mosctl", &["history"])
        .expect(0, &["generation 2", "generation 3", "current"]);
}

#[test]
fn tampered_chunk_is_refused() {
    let (world, _) = with_generation();
    fs::remove_dir_all(world.channel.join("blobs")).unwrap();
    world.publish(2, &[("web", &noise(9, 300_000))]);
    damage_all(&world.channel.join("blobs"));
    refused(&world, "is not what the flist names");
}

#[test]
fn tampered_flist_is_refused() {
    let (world, _) = with_generation();
    world.publish(2, &[("web", &noise(9, 300_000))]);
    damage_all(&world.channel.join("flists"));
    refused(&world, "is not the one that the release names");
    world.publish_changed(2, &[("web", b"x")], &world.key, |release| release.flists[0].length -= 1);
    refused(&world, "is longer than the release says");
}

#[test]
fn tampered_release_is_refused() {
    let (world, _) = with_generation();
    world.publish(2, &[("web", b"new")]);
    let path = world.channel.join("release.json");
    let mut envelope: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let payload = envelope["payload"].as_str().unwrap();
    let changed = if payload.starts_with("eyJ") {
        payload.replacen("eyJ", "eyI", 1)
    } else {
        unreachable!()
    };
    envelope["payload"] = changed.into();
    fs::write(&path, envelope.to_string()).unwrap();
    refused(&world, "was changed after it was signed");
    fs::write(&path, "garbage").unwrap();
    refused(&world, "malformed");
}

#[test]
fn expired_release_is_refused() {
    let (world, _) = with_generation();
    world.publish_changed(2, &[("web", b"new")], &world.key, |release| {
        release.created = Timestamp::now() - SignedDuration::from_hours(48);
        release.expires = release.created + SignedDuration::from_hours(1);
    });
    refused(&world, "the release expired at ");
}

#[test]
fn older_sequence_is_refused() {
    let (world, program) = with_generation();
    world.publish(5, &[("web", &program)]);
    world.fetch().expect(0, &["starting generation 2"]);
    world.publish(4, &[("web", &program)]);
    let older = [
        "trust failure: ",
        "offers release 4, older than release 5",
        "starting generation 2 (release 5)",
    ];
    world.fetch().expect(3, &older);
    // The installed release is remembered even when the state is lost.
    fs::write(world.state().join("channel/state.json"), "{\"highest_seq").unwrap();
    world.fetch().expect(
        3,
        &[
            "state.json is damaged",
            "set aside",
            "offers release 4, older than release 5",
        ],
    );
    assert!(world.state().join("channel/state.json.damaged").exists());
}

#[test]
fn wrong_environments_key_is_refused() {
    let (world, _) = with_generation();
    let other = KeyPair::generate().unwrap();
    world.publish_changed(2, &[("web", b"new")], &other, |_| {});
    refused(&world, "not a trusted key of `dev`");
    world.publish_changed(2, &[("web", b"new")], &world.key, |release| {
        release.environment = "testing".into()
    });
    refused(&world, "for environment `testing`, not `dev`");
}

#[test]
fn nothing_at_all_is_started_when_the_first_release_is_not_trusted() {
    let world = World::new();
    world.publish_changed(1, &[("web", b"new")], &KeyPair::generate().unwrap(), |_| {});
    world.fetch().expect(
        3,
        &[
            "trust failure: ",
            "no good generation is on the disk: nothing is started",
        ],
    );
    assert!(!world.state().join("current").exists());
}

#[test]
fn two_components_with_one_path_are_refused_and_remembered() {
    let (world, _) = with_generation();
    world.publish_changed(2, &[("web", b"new")], &world.key, |release| {
        let mut twin = release.flists[0].clone();
        twin.name = "twin".into();
        release.flists.push(twin);
    });
    world.fetch().expect(
        1,
        &[
            "bin/web: both `web` and `twin` want it",
            "starting generation 1 (release 1)",
        ],
    );
    world.fetch().expect(1, &["found before; not tried again"]);
}

#[test]
fn unreachable_channel_is_bounded_and_the_last_generation_starts() {
    let (world, _) = with_generation();
    world.configure("http://127.0.0.1:1");
    let started = std::time::Instant::now();
    let unreachable = "channel http://127.0.0.1:1 unreachable (try 1): ";
    world
        .fetch()
        .expect(0, &[unreachable, "next try in 1 s", "starting generation 1 offline"]);
    assert!(started.elapsed().as_secs() < 10);
    // A mirror named on the kernel command line wins.
    fs::create_dir_all(world.root.join("proc")).unwrap();
    fs::write(
        world.root.join("proc/cmdline"),
        format!("quiet mos.channel={}\n", world.server.url()),
    )
    .unwrap();
    world.fetch().expect(0, &["starting generation 1\n"]);
}

#[test]
fn expired_generation_starts_offline_and_says_so() {
    let world = World::new();
    world.publish_changed(1, &[("web", b"x")], &world.key, |release| {
        release.expires = release.created + SignedDuration::from_secs(3);
    });
    world.fetch().expect(0, &["starting generation 1"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    world.configure("http://127.0.0.1:1");
    world.fetch().expect(
        0,
        &[
            "release 1 expired at ",
            "started all the same",
            "starting generation 1 offline",
        ],
    );
}

#[test]
fn damaged_object_is_fetched_again() {
    let (world, program) = with_generation();
    fs::write(world.state().join("current/bin/web"), "damaged").unwrap();
    world.fetch().expect(
        0,
        &[
            "generation 1: bin/web: its content is object ",
            "1 files to fetch (300000 bytes), 2 there",
            "starting generation 2",
        ],
    );
    assert_eq!(world.installed("bin/web"), program);
}

#[test]
fn damaged_generation_is_not_started_offline() {
    let (world, program) = with_generation();
    world.publish(2, &[("web", &program), ("tool", &noise(2, 100_000))]);
    world.fetch().expect(0, &["starting generation 2"]);
    fs::write(world.state().join("current/bin/tool"), "damaged").unwrap();
    world.configure("http://127.0.0.1:1");
    world.fetch().expect(
        0,
        &[
            "generation 2: bin/tool: its content is object ",
            "starting generation 1 offline",
        ],
    );
    assert_eq!(world.current(), Path::new("generations/1"));
}

#[test]
fn lost_or_forged_state_does_not_open_the_way_back() {
    let (world, program) = with_generation();
    let (old, copy) = (world.state().join("generations/1"), world.root.join("copy"));
    let copy_tree = |from: &Path, to: &Path| {
        let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.unwrap().success());
    };
    copy_tree(&old, &copy);
    world.publish_changed(2, &[("web", &program)], &world.key, |release| {
        release.minimum_sequence = 2
    });
    world.fetch().expect(0, &["starting generation 2"]);
    assert!(!old.exists());
    // Somebody with the disk in hand: forget what was seen, and bring back the older generation, which is signed too.
    copy_tree(&copy, &old);
    fs::write(
        world.state().join("channel/state.json"),
        format!("{{\"time_floor\": {}}}", i64::MAX),
    )
    .unwrap();
    fs::remove_file(world.state().join("current")).unwrap();
    std::os::unix::fs::symlink("generations/1", world.state().join("current")).unwrap();
    let dead = "http://127.0.0.1:1";
    world.configure(dead);
    world.fetch().expect(
        0,
        &[
            "release 1 is below 2, the oldest allowed",
            "starting generation 2 offline",
        ],
    );
    // And a channel that offers the older release again is refused.
    world.configure(&world.server.url());
    fs::remove_file(world.state().join("channel/state.json")).unwrap();
    world.publish(1, &[("web", &program)]);
    world
        .fetch()
        .expect(3, &["older than release 2", "starting generation 2 (release 2)"]);
}

#[test]
fn only_what_was_verified_is_vouched_for() {
    let (world, _) = with_generation();
    let verified = world.root.join("run/mos/current");
    assert_eq!(fs::read_link(&verified).unwrap(), world.state().join("generations/1"));
    fs::write(world.state().join("current/bin/web"), "damaged").unwrap();
    let stranger = KeyPair::generate().unwrap();
    world.publish_changed(2, &[("web", b"x")], &stranger, |_| {});
    world
        .fetch()
        .expect(3, &["no good generation is on the disk: nothing is started"]);
    assert!(fs::symlink_metadata(&verified).is_err());
    let status = world.run_as("mosctl", &["status"]);
    assert!(status.text.contains("generation     -"), "{}", status.text);
}

#[test]
fn status_says_which_image_runs() {
    let world = World::new();
    let status = world.run_as("mosctl", &["status"]);
    assert!(!status.text.contains("image  "), "{}", status.text);
    let record = "build_id = \"0123456789ab\"\ninputs = \"01\"\nproject = \"lab\"\nenvironment = \"dev\"\nkernel = \"6.12.1\"\n\
                  mos = \"0.1.0\"\nbuilt = 1700000000\n\n[packages]\n\"busybox\" = \"1\"\n";
    fs::create_dir_all(world.root.join("etc")).unwrap();
    fs::write(world.root.join("etc/mos-build"), record).unwrap();
    let status = world.run_as("mosctl", &["status"]);
    let line = "image          0123456789ab of dev, kernel 6.12.1, mos 0.1.0, built 2023-11-14T22:13:20Z\n";
    assert!(status.text.contains(line), "{}", status.text);
    let json = world.run_as("mosctl", &["status", "--json"]);
    assert!(json.text.contains("\"build_id\": \"0123456789ab\""), "{}", json.text);
    for rubbish in ["", "build_id = ", "built = -1"] {
        fs::write(world.root.join("etc/mos-build"), rubbish).unwrap();
        assert!(
            world.run_as("mosctl", &["status"]).text.contains("release "),
            "{rubbish}"
        );
    }
}

#[test]
fn my_init_that_refuses_is_not_called_a_start() {
    let world = World::new();
    world.publish(1, &[("web", b"x")]);
    fs::create_dir_all(world.root.join("run")).unwrap();
    let listener = UnixListener::bind(world.root.join("run/my_init.sock")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let refusal = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32003,\"message\":\"no\"}}\n";
        stream.write_all(refusal).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
    });
    world.fetch().expect(1, &["my_init could not start it: no"]);
    server.join().unwrap();
    let told = fs::read_to_string(world.root.join("run/mos/fetch.json")).unwrap();
    assert!(told.contains("\"phase\":\"failed\""), "{told}");
}

#[test]
fn interrupted_download_goes_on_where_it_was() {
    let (world, program) = with_generation();
    world.publish(2, &[("web", &program), ("tool", &noise(2, 900_000))]);
    world.server.misbehave(Fault::CutOff(1000), 1);
    world
        .fetch()
        .expect(0, &["unreachable (try 1)", "starting generation 2"]);
    assert_eq!(world.installed("bin/tool"), noise(2, 900_000));
}

#[test]
fn missing_blobs_do_not_keep_a_node_waiting() {
    let (world, _) = with_generation();
    world.publish(2, &[("tool", &noise(2, 300_000))]);
    fs::remove_dir_all(world.channel.join("blobs")).unwrap();
    world.fetch().expect(
        0,
        &[
            "unreachable (try 1): ",
            "next try in 1 s",
            "starting generation 1 offline",
        ],
    );
    assert_eq!(world.current(), Path::new("generations/1"));
}

#[test]
fn my_init_is_told_to_reload() {
    let world = World::new();
    world.publish(1, &[("web", b"x")]);
    fs::create_dir_all(world.root.join("run")).unwrap();
    let listener = UnixListener::bind(world.root.join("run/my_init.sock")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap())
            .read_line(&mut line)
            .unwrap();
        stream
            .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"added\":[\"web\"]}}\n")
            .unwrap();
        line
    });
    world.fetch().expect(0, &["starting generation 1"]);
    assert!(server.join().unwrap().contains("\"system.reload\""));
}

#[test]
fn wrong_usage_and_settings_say_what_is_wrong() {
    let world = World::new();
    world.run_as("mos-node", &["fetsh"]).expect(2, &["no verb `fetsh`"]);
    world
        .run_as("mosctl", &["services"])
        .expect(4, &["nobody listens: my_init does not run here"]);
    world
        .run_as("mosctl", &["logs"])
        .expect(2, &["needs the name of one service"]);
    world.run_as("mosctl", &["--help"]).expect(0, &["mosctl why NAME"]);
    world.run_as("mosnet", &["status"]).expect(4, &["the network is down"]);
    fs::write(world.root.join("etc/mos/node.toml"), "environmet = \"dev\"\n").unwrap();
    world.fetch().expect(
        2,
        &["node.toml:1:1: unknown key `environmet`", "did you mean `environment`?"],
    );
}
