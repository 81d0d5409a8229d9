//! Publishing, and what readers of the channel see meanwhile.
#![cfg(feature = "publish")]
#![allow(clippy::unwrap_used, reason = "the helpers here are tests, too")]

mod support;

use jiff::SignedDuration;
use mos_channel::{
    ChannelError, KeyPair, PublishError, RELEASE, Trust, TrustError, fetch_release, history, release_name,
    verify_channel,
};
use mos_store::{Dir, Memory, Read, StoreError, Write};
use std::sync::atomic::AtomicUsize;
use support::{Build, Mortal, start};

/// The sequence of a channel in which everything is whole.
fn audited(build: &Build, channel: &dyn Read) -> u64 {
    let audit = verify_channel(channel, &build.inputs.trust, start()).unwrap();
    assert_eq!(audit.findings, []);
    audit.release.sequence
}

#[test]
fn a_first_and_a_second_release() {
    let mut build = Build::new();
    let channel = Memory::new();
    let plan = build.publish(&channel);
    // Three blobs, for one is shared; two flists, the boot image, and the release twice.
    assert_eq!(
        (plan.is_new, plan.release.sequence, plan.steps.len(), plan.present),
        (true, 1, 8, 0)
    );
    assert_eq!(audited(&build, &channel), 1);
    build.set_flist("web", b"flist of web, next", &[b"shared", b"web 2"]);
    let plan = build.publish(&channel);
    let names: Vec<_> = plan
        .steps
        .iter()
        .map(|step| step.name.split('/').next().unwrap())
        .collect();
    assert_eq!(names, ["blobs", "flists", "releases", RELEASE]);
    assert_eq!((plan.release.sequence, plan.present), (2, 4));
    assert_eq!(audited(&build, &channel), 2);
    let past = history(&channel, &build.inputs.trust, 9).unwrap();
    assert_eq!(past.iter().map(|past| past.sequence).collect::<Vec<_>>(), [2, 1]);
    assert!(
        past.iter()
            .all(|past| matches!(&past.release, Ok(Some(release)) if release.sequence == past.sequence))
    );
}

#[test]
fn an_unchanged_release_publishes_nothing_and_says_so() {
    let mut build = Build::new();
    let channel = Memory::new();
    build.publish(&channel);
    build.inputs.flists.reverse();
    build.inputs.now = start() + SignedDuration::from_hours(24);
    let plan = build.plan(&channel).unwrap();
    assert!(!plan.is_new && plan.steps.is_empty());
    assert_eq!(plan.to_string(), "release 1 of dev is unchanged: nothing to publish");
}

#[test]
fn an_unchanged_release_is_renewed_when_a_third_of_its_life_is_left() {
    let mut build = Build::new();
    let channel = Memory::new();
    build.publish(&channel);
    for (days, sequence) in [(19, 1), (21, 2)] {
        build.inputs.now = start() + SignedDuration::from_hours(24 * days);
        assert_eq!(
            build.plan(&channel).unwrap().release.sequence,
            sequence,
            "after {days} days"
        );
    }
    // Long expired, it can still be replaced.
    build.inputs.now = start() + SignedDuration::from_hours(24 * 99);
    assert_eq!(build.plan(&channel).unwrap().release.sequence, 2);
}

#[test]
fn lost_parts_of_an_unchanged_release_are_put_back() {
    let build = Build::new();
    let channel = Memory::new();
    let first = build.publish(&channel);
    for lost in [&first.steps[0].name, &release_name(1)] {
        channel.delete(lost).unwrap();
        assert_eq!(
            verify_channel(&channel, &build.inputs.trust, start())
                .unwrap()
                .findings
                .len(),
            1,
            "{lost}"
        );
        let plan = build.plan(&channel).unwrap();
        assert_eq!((plan.is_new, plan.steps.len(), &plan.steps[0].name), (false, 1, lost));
        build.execute(&plan, &channel).unwrap();
        assert_eq!(audited(&build, &channel), 1);
    }
}

#[test]
fn publish_order_never_shows_missing_parts() {
    for first_release in [true, false] {
        let mut steps = 1;
        let mut killed_at = 0;
        while killed_at < steps {
            let mut build = Build::new();
            let channel = Memory::new();
            if !first_release {
                build.publish(&channel);
                build.set_flist("web", b"flist of web, next", &[b"shared", b"web 2"]);
            }
            let plan = build.plan(&channel).unwrap();
            steps = plan.steps.len();
            let mortal = Mortal {
                store: &channel,
                puts: AtomicUsize::new(killed_at),
            };
            build.execute(&plan, &mortal).unwrap_err();
            if first_release {
                let error = fetch_release(&channel, &build.inputs.trust, start()).unwrap_err();
                assert!(
                    matches!(error, ChannelError::Store(StoreError::NotFound { .. })),
                    "{error}"
                );
            } else {
                assert_eq!(audited(&build, &channel), 1, "killed at {killed_at}");
            }
            let next = build.publish(&channel);
            assert!(
                next.steps.len() + killed_at.min(steps - 2) == steps,
                "what was written is not sent again"
            );
            assert_eq!(audited(&build, &channel), plan.release.sequence);
            killed_at += 1;
        }
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes_but_for_the_time() {
    let mut build = Build::new();
    let empty = Default::default();
    let plan = build.plan_over(&empty).unwrap();
    build.inputs.flists.reverse();
    assert!(build.plan_over(&empty).unwrap() == plan);
    build.inputs.now = start() + SignedDuration::from_secs(1);
    let mut later = build.plan_over(&empty).unwrap().release;
    assert_eq!(later.created, build.inputs.now);
    (later.created, later.expires) = (plan.release.created, plan.release.expires);
    assert_eq!(later, plan.release);
}

#[test]
fn somebody_elses_channel_is_not_overwritten() {
    let (mine, theirs) = (Build::new(), Build::new());
    let channel = Memory::new();
    theirs.publish(&channel);
    let error = mine.plan(&channel).unwrap_err();
    assert!(
        matches!(
            &error,
            PublishError::NotOurs(ChannelError::Trust {
                source: TrustError::UnknownKey { .. },
                ..
            })
        ),
        "{error}"
    );
    let mut other = mine.inputs.clone();
    other.trust = Trust::new("production", vec![theirs.key.public()]);
    let error = mos_channel::survey(&channel, &other).unwrap_err();
    assert!(
        error.to_string().contains("for environment `dev`, not `production`"),
        "{error}"
    );
    other.trust.environment = "dev".into();
    mos_channel::survey(&channel, &other).unwrap();
}

#[test]
fn a_key_that_nodes_do_not_trust_cannot_publish() {
    let mut build = Build::new();
    build.key = KeyPair::generate().unwrap();
    let error = build.plan(&Memory::new()).unwrap_err();
    assert!(
        error.to_string().contains(&build.inputs.trust.keys[0].id().to_string()),
        "{error}"
    );
}

#[test]
fn a_publisher_whose_clock_ran_ahead_does_not_lock_nodes_out() {
    let mut build = Build::new();
    let channel = Memory::new();
    build.inputs.now = support::at("2031-01-01T00:00:00Z");
    let ahead = build.publish(&channel).release;
    build.inputs.now = start();
    build.set_flist("web", b"next", &[b"web 2"]);
    build.publish(&channel);
    let trust = build.inputs.trust.clone().seen(&ahead);
    assert_eq!(fetch_release(&channel, &trust, start()).unwrap().release.sequence, 2);
}

#[test]
fn the_floor_rises_and_never_sinks() {
    let mut build = Build::new();
    let channel = Memory::new();
    build.publish(&channel);
    build.inputs.minimum_sequence = 2;
    assert_eq!(build.publish(&channel).release.minimum_sequence, 2);
    build.inputs.minimum_sequence = 0;
    assert!(!build.plan(&channel).unwrap().is_new);
    build.inputs.minimum_sequence = 1;
    assert!(matches!(build.plan(&channel), Err(PublishError::BadInputs(_))));
    build.inputs.minimum_sequence = 9;
    assert!(matches!(build.plan(&channel), Err(PublishError::BadInputs(_))));
}

#[test]
fn files_and_blobs_that_changed_since_the_plan_are_not_sent() {
    let build = Build::new();
    let channel = Memory::new();
    let plan = build.plan(&channel).unwrap();
    std::fs::write(&build.inputs.boot.file, b"boot image 2").unwrap();
    let error = build.execute(&plan, &channel).unwrap_err();
    assert!(
        matches!(&error, PublishError::Changed { name, .. } if name.ends_with("vmlinuz.efi")),
        "{error}"
    );
    build.blobs.put(&plan.steps[0].name, b"x").unwrap();
    let error = build.execute(&plan, &Memory::new()).unwrap_err();
    assert!(
        matches!(&error, PublishError::Changed { name, .. } if *name == plan.steps[0].name),
        "{error}"
    );
    assert_eq!(channel.length(RELEASE).unwrap(), None);
}

#[test]
fn of_two_publishers_at_once_one_is_told() {
    let mut build = Build::new();
    let channel = Memory::new();
    let plan = build.plan(&channel).unwrap();
    build.set_flist("quicker", b"quicker", &[b"web q"]);
    build.publish(&channel);
    let error = build.execute(&plan, &channel).unwrap_err();
    assert!(matches!(error, PublishError::Conflict { .. }), "{error}");
    assert_eq!(
        fetch_release(&channel, &build.inputs.trust, start())
            .unwrap()
            .release
            .flist("quicker")
            .unwrap()
            .length,
        7
    );
}

#[test]
fn every_kind_of_damage_is_found() {
    let build = Build::new();
    let directory = tempfile::tempdir().unwrap();
    let channel = Dir::new(directory.path());
    let plan = build.publish(&channel);
    for step in plan.steps.iter().filter(|step| step.name != RELEASE) {
        let whole = channel.get(&step.name, step.length).unwrap();
        let mut flipped = whole.clone();
        flipped[0] ^= 1;
        let longer = [whole.as_slice(), b"+"].concat();
        for damaged in [&flipped, &longer, &whole[1..].to_vec()] {
            channel.put(&step.name, damaged).unwrap();
            let findings = verify_channel(&channel, &build.inputs.trust, start()).unwrap().findings;
            assert_eq!(
                findings.iter().map(|finding| &finding.name).collect::<Vec<_>>(),
                [&step.name]
            );
        }
        channel.put(&step.name, &whole).unwrap();
    }
    assert_eq!(audited(&build, &channel), 1);
}

#[test]
fn history_shows_gaps_and_forgeries() {
    let mut build = Build::new();
    let channel = Memory::new();
    for content in [b"1", b"2", b"3", b"4"] {
        build.set_flist("web", content, &[]);
        build.publish(&channel);
    }
    channel.delete(&release_name(3)).unwrap();
    let first = channel.get(&release_name(1), 1 << 20).unwrap();
    channel.put(&release_name(2), &first).unwrap();
    let past = history(&channel, &build.inputs.trust, 3).unwrap();
    assert!(matches!(&past[0].release, Ok(Some(release)) if release.sequence == 4));
    assert!(matches!(&past[1].release, Ok(None)));
    assert!(matches!(&past[2].release, Err(TrustError::Malformed(why)) if why.contains("holds release 1")));
    assert_eq!(past.len(), 3);
    assert!(history(&channel, &build.inputs.trust, 0).unwrap().is_empty());
}

/// Three stores, one of which is a bucket, that all have everything.
struct Replicas {
    root: tempfile::TempDir,
    bucket: mos_testkit::S3Server,
}

impl Replicas {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            bucket: mos_testkit::S3Server::start(),
        }
    }

    fn urls(&self) -> [String; 3] {
        let folder = |name: &str| format!("dir://{}/{name}", self.root.path().display());
        [folder("one"), folder("two"), self.bucket.url()]
    }

    fn all(&self) -> Box<dyn Write> {
        mos_store::open_write(&self.urls().join(" ")).unwrap()
    }

    fn each(&self) -> [Box<dyn Write>; 3] {
        self.urls().map(|url| mos_store::open_write(&url).unwrap())
    }

    fn are_equal(&self) -> bool {
        let content = |store: &dyn Write| -> Vec<(String, Vec<u8>)> {
            let names = store.list("").unwrap().into_iter();
            names
                .map(|name| (name.clone(), store.get(&name, 1 << 20).unwrap()))
                .collect()
        };
        let [one, two, bucket] = self.each().map(|store| content(&*store));
        assert!(one.len() > 4);
        one == two && two == bucket
    }
}

#[test]
fn publishing_again_mends_every_replica() {
    let build = Build::new();
    let replicas = Replicas::new();
    let first = build.publish(&*replicas.all());
    assert!(first.is_new && replicas.are_equal());
    assert_eq!(build.plan(&*replicas.all()).unwrap().steps, []);
    let all = replicas.each();
    for (number, step) in first.steps.iter().enumerate() {
        // Each step, in one store: missing, then with another length.
        let broken = &all[number % all.len()];
        broken.delete(&step.name).unwrap();
        let plan = build.publish(&*replicas.all());
        assert!(replicas.are_equal(), "{} at {}", step.name, broken.address());
        assert!(!plan.is_new);
        let names: Vec<&String> = plan.steps.iter().map(|step| &step.name).collect();
        assert_eq!(names, [&step.name]);
        if step.name != RELEASE {
            broken.put(&step.name, b"cut off").unwrap();
            build.publish(&*replicas.all());
            assert!(replicas.are_equal(), "{} at {}", step.name, broken.address());
        }
    }
}

#[test]
fn a_replica_that_was_away_while_others_were_published_catches_up() {
    let mut build = Build::new();
    let replicas = Replicas::new();
    build.publish(&*replicas.all());
    let old = replicas.all().get(RELEASE, 1 << 20).unwrap();
    build.set_flist("web", b"flist of web 2", &[b"shared", b"web 2"]);
    assert_eq!(build.publish(&*replicas.all()).release.sequence, 2);
    for behind in replicas.each() {
        // Of the same length, most likely: only the bytes tell.
        behind.put(RELEASE, &old).unwrap();
        let plan = build.publish(&*replicas.all());
        assert_eq!((plan.is_new, plan.release.sequence), (false, 2), "{}", behind.address());
        assert!(replicas.are_equal(), "{}", behind.address());
    }
}
