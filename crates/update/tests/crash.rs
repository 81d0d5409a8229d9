//! Power cuts at every change to the disk that an update makes.
//!
//! The list of crash points is recorded from a run of the real executor: every change announces itself, so a new one
//! is cut off here without anybody having to remember it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_flist::{ObjectDigest, ReadError};
use mos_update::{
    Content, Fetch, Generation, Installed, Item, Job, Kind, Layout, Observer, Operation, Plan, UpdateError, Wanted,
    WantedFlist, check, execute, plan,
};

/// Which operation the child process dies before.
const CRASH_AT: &str = "MOS_TEST_CRASH_AT";
/// The state directory of the child process.
const STATE: &str = "MOS_TEST_STATE";

struct Contents(BTreeMap<ObjectDigest, Vec<u8>>);

impl Content for Contents {
    fn read(&self, fetch: &Fetch, out: &mut dyn Write) -> Result<(), ReadError> {
        let bytes = &self.0[&fetch.object];
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        let file = fetch.file.clone();
        let written = out.write_all(head).and_then(|()| out.write_all(tail));
        written.map_err(|source| ReadError::Write { file, source })
    }
}

/// A release with these files, and their content.
fn release(sequence: u64, files: &[(&str, &str)]) -> (Generation, Contents) {
    let item = |(path, content): &(&str, &str)| Item {
        path: path.as_bytes().to_vec(),
        kind: Kind::File {
            object: ObjectDigest::of(content.as_bytes()),
            length: content.len() as u64,
        },
    };
    let mut items: Vec<Item> = files.iter().map(item).collect();
    let kind = Kind::Symlink(b"web".to_vec());
    items.push(Item {
        path: b"alias".to_vec(),
        kind,
    });
    let flist = WantedFlist::from_items("web", &items, b"flist".to_vec(), None).unwrap();
    let digits = "0".repeat(64);
    let json = format!(
        r#"{{"format":1,"environment":"dev","sequence":{sequence},"created":"2026-11-21T06:00:00Z",
        "expires":"2026-12-21T06:00:00Z","minimum_sequence":1,"flists":[],
        "boot":{{"path":"boot/{digits}.efi","length":1,"sha256":"{digits}","blake3":"{digits}"}}}}"#
    );
    let release = serde_json::from_str(&json).unwrap();
    let wanted = Wanted::new(&release, format!("envelope {sequence}").into_bytes(), vec![flist]).unwrap();
    let contents = files.iter().map(|(_, content)| content.as_bytes().to_vec());
    let contents = contents.map(|bytes| (ObjectDigest::of(&bytes), bytes)).collect();
    let number = sequence;
    (
        Generation {
            number,
            release,
            wanted,
        },
        Contents(contents),
    )
}

fn old() -> (Generation, Contents) {
    release(
        1,
        &[
            ("web", "old program"),
            ("web.toml", "same"),
            ("web.service.toml", "old service"),
        ],
    )
}

fn new() -> (Generation, Contents) {
    release(
        2,
        &[
            ("web", "new program"),
            ("web.toml", "same"),
            ("web.service.toml", "new service"),
            ("same", "same"),
        ],
    )
}

fn plan_for(layout: &Layout, current: Option<&Generation>, target: &Generation) -> Plan {
    let installed = Installed::scan(layout, current).unwrap();
    plan(layout.root(), &installed, &target.wanted).unwrap()
}

fn update(
    layout: &Layout,
    current: Option<&Generation>,
    target: &(Generation, Contents),
    observer: &mut dyn Observer,
) -> Result<Plan, UpdateError> {
    let lock = layout.lock().unwrap();
    let plan = plan_for(layout, current, &target.0);
    let job = Job {
        layout,
        wanted: &target.0.wanted,
        content: &target.1,
    };
    execute(&lock, &job, &plan, observer)?;
    Ok(plan)
}

/// A state directory with the old release as generation 1, and a still older generation and object to be removed.
fn with_old(path: &Path) -> Layout {
    let layout = Layout::new(path);
    update(&layout, None, &old(), &mut ()).unwrap();
    assert_eq!(layout.current_number().unwrap(), Some(1));
    std::fs::create_dir_all(layout.generation(0).join("bin")).unwrap();
    let unused = layout.object(&ObjectDigest::of(b"unused"));
    std::fs::create_dir_all(unused.parent().unwrap()).unwrap();
    std::fs::write(unused, "unused").unwrap();
    layout
}

#[derive(Default)]
struct Recorder(Vec<(&'static str, PathBuf)>);

impl Observer for Recorder {
    fn before(&mut self, operation: &Operation<'_>) -> io::Result<()> {
        self.0.push((operation.doing, operation.path.to_owned()));
        Ok(())
    }
}

/// Stops before an operation: as an error, or as a process that dies.
struct Cut {
    left: usize,
    die: bool,
}

impl Observer for Cut {
    fn before(&mut self, _: &Operation<'_>) -> io::Result<()> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None if self.die => std::process::abort(),
            None => return Err(io::Error::other("power cut")),
        }
        Ok(())
    }
}

fn operations() -> Vec<(&'static str, PathBuf)> {
    let directory = tempfile::tempdir().unwrap();
    let layout = with_old(directory.path());
    let mut recorder = Recorder::default();
    update(&layout, Some(&old().0), &new(), &mut recorder).unwrap();
    recorder.0
}

/// What a node finds when it starts again: the number of a generation that is whole.
fn sound_current(layout: &Layout, at: &str) -> Generation {
    let number = layout
        .current_number()
        .unwrap()
        .unwrap_or_else(|| panic!("{at}: nothing is current"));
    let generation = match number {
        1 => old().0,
        2 => new().0,
        other => panic!("{at}: generation {other}"),
    };
    assert_eq!(check(layout, &generation).unwrap(), [], "{at}");
    let envelope = std::fs::read(layout.generation(number).join("release.json")).unwrap();
    assert_eq!(envelope, generation.wanted.envelope, "{at}");
    generation
}

fn leftovers(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with(".tmp-") {
            found.push(path);
        } else if path.is_dir() && !path.is_symlink() {
            leftovers(&path, found);
        }
    }
}

/// Starts again after a cut: finishes the update when it has to, and leaves nothing behind.
fn recover(layout: &Layout, at: &str) -> u64 {
    let found = sound_current(layout, at);
    let (target, contents) = new();
    let on_disk = Installed::scan(layout, Some(&found)).unwrap().objects;
    let lock = layout.lock().unwrap();
    let plan = plan_for(layout, Some(&found), &target);
    assert!(plan.fetches().all(|fetch| !on_disk.contains_key(&fetch.object)), "{at}");
    let job = Job {
        layout,
        wanted: &target.wanted,
        content: &contents,
    };
    execute(&lock, &job, &plan, &mut ()).unwrap();
    let current = layout.current_number().unwrap();
    assert_eq!(current, Some(plan.generation), "{at}");
    let rebuilt = Generation {
        number: plan.generation,
        ..target
    };
    assert_eq!(check(layout, &rebuilt).unwrap(), [], "{at}");
    let mut left = Vec::new();
    leftovers(layout.root(), &mut left);
    assert!(left.is_empty(), "{at}: {left:?}");
    found.number
}

#[test]
fn power_cut_during_generation_switch_leaves_old_or_new() {
    let points = operations();
    assert!(points.len() > 30, "{points:?}");
    let mut outcomes = BTreeMap::new();
    for (index, (doing, path)) in points.iter().enumerate() {
        let at = format!("{index}: {doing} {}", path.display());
        let directory = tempfile::tempdir().unwrap();
        let layout = with_old(directory.path());
        let mut cut = Cut {
            left: index,
            die: false,
        };
        update(&layout, Some(&old().0), &new(), &mut cut).unwrap_err();
        *outcomes.entry(recover(&layout, &at)).or_insert(0) += 1;
    }
    // Cuts fall on both sides of the switch, or this test would not see it.
    assert_eq!(outcomes.into_keys().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn killed_process_leaves_old_or_new() {
    for (index, (doing, path)) in operations().iter().enumerate() {
        let at = format!("{index}: {doing} {}", path.display());
        let directory = tempfile::tempdir().unwrap();
        let layout = with_old(directory.path());
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child_that_dies", "--test-threads=1"]);
        let status = child
            .env(CRASH_AT, index.to_string())
            .env(STATE, directory.path())
            .output()
            .unwrap()
            .status;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{at}");
        recover(&layout, &at);
    }
}

/// Not a test of its own: the process that [`killed_process_leaves_old_or_new`] starts.
#[test]
fn child_that_dies() {
    let (Ok(left), Ok(state)) = (std::env::var(CRASH_AT), std::env::var(STATE)) else {
        println!("only does something when another test starts it");
        return;
    };
    let mut cut = Cut {
        left: left.parse().unwrap(),
        die: true,
    };
    update(&Layout::new(state), Some(&old().0), &new(), &mut cut).unwrap();
}

#[test]
fn everything_is_synced_before_the_switch() {
    let operations = operations();
    let position = |wanted: &str| operations.iter().position(|(doing, _)| *doing == wanted).unwrap();
    let switch = position("switch");
    let finish = operations
        .iter()
        .position(|(doing, path)| *doing == "rename" && path.ends_with("generations/2"))
        .unwrap();
    assert!(finish < switch);
    let named = operations[..finish].iter().enumerate().filter(|(_, (doing, path))| {
        matches!(*doing, "link" | "write" | "make directory") && path.to_string_lossy().contains("generations/.tmp-2")
    });
    let parents: BTreeSet<(usize, &Path)> = named
        .map(|(index, (_, path))| (index, path.parent().unwrap()))
        .collect();
    assert!(parents.len() > 5);
    for (index, parent) in parents {
        let synced = operations[index..finish]
            .iter()
            .any(|(doing, path)| *doing == "sync" && path == parent);
        // The name of the generation itself becomes durable with the rename.
        assert!(
            synced || parent.ends_with("generations"),
            "{} is never synced",
            parent.display()
        );
    }
    let early = operations[..switch].iter().find(|(doing, _)| *doing == "remove");
    assert_eq!(early, None, "removed before the switch");
}

#[test]
fn content_that_is_not_what_the_flist_names_is_never_stored() {
    let directory = tempfile::tempdir().unwrap();
    let layout = with_old(directory.path());
    let (target, mut contents) = new();
    contents
        .0
        .insert(ObjectDigest::of(b"new program"), b"bad program".to_vec());
    let error = update(&layout, Some(&old().0), &(target, contents), &mut ()).unwrap_err();
    assert!(error.is_trust_failure(), "{error}");
    assert!(error.to_string().starts_with("web: its content is object "), "{error}");
    assert_eq!(sound_current(&layout, "tampered").number, 1);
    assert!(!layout.object(&ObjectDigest::of(b"new program")).exists());
    assert!(!layout.object(&ObjectDigest::of(b"bad program")).exists());
}

#[test]
fn damage_is_named_and_what_nobody_signed_is_too() {
    let directory = tempfile::tempdir().unwrap();
    let layout = with_old(directory.path());
    let root = layout.generation(1);
    std::fs::write(root.join("bin/web"), "evil program").unwrap();
    std::fs::write(root.join("services/evil.service.toml"), "evil").unwrap();
    std::fs::remove_file(root.join("bin/alias")).unwrap();
    let damages = check(&layout, &old().0).unwrap();
    let places: Vec<_> = damages.iter().map(|damage| damage.place.as_str()).collect();
    assert_eq!(places, ["bin/web", "bin/alias", "services/evil.service.toml"]);
    let mut installed = Installed::scan(&layout, None).unwrap();
    installed.verify(&layout, &old().0.wanted);
    let plan = plan(layout.root(), &installed, &old().0.wanted).unwrap();
    assert_eq!(
        plan.fetches().map(|fetch| fetch.file.as_str()).collect::<Vec<_>>(),
        ["web"]
    );
}

#[test]
fn read_only_or_senseless_state_directory_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Layout::new(&file).lock().unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot make directory {}", file.join("objects").display())),
        "{error}"
    );
    let error = Layout::new("/proc/mos").lock().unwrap_err().to_string();
    assert!(
        error.starts_with("cannot make directory /proc/mos/objects: "),
        "{error}"
    );
}
