//! From what is wanted and what is there to what is to be done. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mos_flist::ObjectDigest;
use serde::{Serialize, Serializer};

use crate::{Installed, Object, UpdateError, Wanted};

/// Space is given out in blocks of this many bytes by the file systems that nodes use.
const BLOCK: u64 = 4096;

/// How a release becomes the current generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The environment.
    pub environment: String,
    /// The release's sequence number.
    pub sequence: u64,
    /// The generation to make.
    pub generation: u64,
    /// The generation that is kept beside it.
    pub keep: Option<u64>,
    /// Objects that are there already.
    pub present: usize,
    /// Bytes to fetch.
    pub fetch_bytes: u64,
    /// Bytes that the disk must have free.
    pub needed: u64,
    /// What to do, in this order.
    pub steps: Vec<Step>,
}

/// A whole file to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetch {
    /// Its digest.
    #[serde(serialize_with = "as_text")]
    pub object: ObjectDigest,
    /// Bytes.
    pub length: u64,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
    /// The component that brings it.
    pub flist: String,
    /// Its path in the component's flist.
    pub file: String,
}

/// One step of a plan. Each can be repeated, and none but [`Step::Switch`] changes what is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Remove what a crash left unfinished.
    Sweep,
    /// Fetch and verify an object.
    Fetch(Fetch),
    /// Begin the generation under a temporary name.
    Begin,
    /// Give an object a name in the generation.
    Place {
        /// The object.
        #[serde(serialize_with = "as_text")]
        object: ObjectDigest,
        /// The path in the generation.
        place: String,
        /// Mode 0755 instead of 0644.
        executable: bool,
        /// The object has the other mode, so it cannot be shared.
        copy: bool,
    },
    /// Make a symbolic link.
    Link {
        /// The path in the generation.
        place: String,
        /// A name beside it.
        target: String,
    },
    /// Keep an flist.
    KeepFlist {
        /// The component.
        name: String,
    },
    /// Keep the signed envelope.
    KeepRelease,
    /// Make every name in the generation durable.
    Sync,
    /// Give the generation its final name.
    Finish,
    /// Make it the current one.
    Switch,
    /// Remove a generation that is no longer kept.
    Prune {
        /// Its number.
        generation: u64,
    },
    /// Remove an object that no kept generation uses.
    Drop {
        /// The object.
        #[serde(serialize_with = "as_text")]
        object: ObjectDigest,
    },
}

/// Plans the update.
///
/// # Errors
/// [`UpdateError::Full`] when the disk has not enough room.
pub fn plan(state: &std::path::Path, installed: &Installed, wanted: &Wanted) -> Result<Plan, UpdateError> {
    let (fetches, objects) = objects(installed, wanted);
    let placed = placements(wanted, &objects);
    let needed = needed(&fetches, &placed, installed, wanted);
    if needed > installed.free {
        return Err(UpdateError::Full {
            path: state.to_owned(),
            needed,
            free: installed.free,
        });
    }
    let used: BTreeSet<ObjectDigest> = wanted.files().map(|(_, file)| file.object).collect();
    let fetch_bytes = fetches.iter().map(|fetch| fetch.length).sum();
    let present = used.len() - fetches.len();
    let mut steps = vec![Step::Sweep];
    steps.extend(fetches.into_iter().map(Step::Fetch));
    steps.push(Step::Begin);
    steps.extend(placed);
    steps.extend(links_and_records(wanted));
    steps.extend([Step::Sync, Step::Finish, Step::Switch]);
    steps.extend(pruning(installed, &used));
    Ok(Plan {
        environment: wanted.environment.clone(),
        sequence: wanted.sequence,
        generation: installed.generations.last().map_or(1, |last| last + 1),
        keep: installed.keep,
        present,
        fetch_bytes,
        needed,
        steps,
    })
}

/// What to fetch, and every object as it will be: the first file that wants a new object decides its mode.
fn objects(installed: &Installed, wanted: &Wanted) -> (Vec<Fetch>, BTreeMap<ObjectDigest, Object>) {
    let mut objects = installed.objects.clone();
    let mut fetches = Vec::new();
    for (flist, file) in wanted.files() {
        if objects
            .get(&file.object)
            .is_some_and(|object| object.length == file.length)
        {
            continue;
        }
        let (length, executable) = (file.length, file.executable);
        objects.insert(file.object, Object { length, executable });
        fetches.push(Fetch {
            object: file.object,
            length,
            executable,
            flist: flist.name.clone(),
            file: file.source.clone(),
        });
    }
    (fetches, objects)
}

fn placements(wanted: &Wanted, objects: &BTreeMap<ObjectDigest, Object>) -> Vec<Step> {
    let place = |file: &crate::File| Step::Place {
        object: file.object,
        place: file.place.clone(),
        executable: file.executable,
        copy: objects
            .get(&file.object)
            .is_none_or(|object| object.executable != file.executable),
    };
    wanted.files().map(|(_, file)| place(file)).collect()
}

fn links_and_records(wanted: &Wanted) -> impl Iterator<Item = Step> {
    let links = wanted.links().map(|link| Step::Link {
        place: link.place.clone(),
        target: link.target.clone(),
    });
    let flists = wanted.flists.iter().map(|flist| Step::KeepFlist {
        name: flist.name.clone(),
    });
    links.chain(flists).chain([Step::KeepRelease])
}

fn pruning<'a>(installed: &'a Installed, used: &'a BTreeSet<ObjectDigest>) -> impl Iterator<Item = Step> + 'a {
    let generations = installed
        .generations
        .iter()
        .filter(|number| Some(**number) != installed.keep);
    let objects = installed.objects.keys();
    let unused = objects.filter(|object| !used.contains(object) && !installed.kept_objects.contains(object));
    let generations = generations.map(|generation| Step::Prune {
        generation: *generation,
    });
    generations.chain(unused.map(|object| Step::Drop { object: *object }))
}

/// Everything that is written, while all that is there stays: old generations go only after the switch.
fn needed(fetches: &[Fetch], placed: &[Step], installed: &Installed, wanted: &Wanted) -> u64 {
    let fetched = fetches.iter().map(|fetch| fetch.length);
    let copied = placed
        .iter()
        .zip(wanted.files())
        .filter_map(|(step, (_, file))| match step {
            Step::Place { copy: true, .. } => Some(file.length),
            _ => None,
        });
    let flists = wanted.flists.iter().map(|flist| flist.bytes.len() as u64);
    let lengths = fetched
        .chain(copied)
        .chain(flists)
        .chain([wanted.envelope.len() as u64]);
    let files: u64 = lengths
        .map(|length| length.div_ceil(BLOCK).saturating_mul(BLOCK))
        .fold(0, u64::saturating_add);
    let shelves: BTreeSet<u8> = fetches.iter().map(|fetch| fetch.object.as_bytes()[0]).collect();
    let directories = placed.len() + shelves.len() + crate::PLACES.len() + installed.generations.len();
    files.saturating_add(directories as u64 * BLOCK)
}

impl Plan {
    /// How many objects are fetched.
    pub fn fetches(&self) -> impl Iterator<Item = &Fetch> {
        self.steps.iter().filter_map(|step| match step {
            Step::Fetch(fetch) => Some(fetch),
            _ => None,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (environment, sequence, generation) = (&self.environment, self.sequence, self.generation);
        write!(
            f,
            "release {sequence} of {environment} becomes generation {generation}: "
        )?;
        let fetches = self.fetches().count();
        write!(
            f,
            "{fetches} objects to fetch ({} bytes), {} there already",
            self.fetch_bytes, self.present
        )?;
        self.steps.iter().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sweep => f.write_str("sweep leftovers"),
            Self::Fetch(fetch) => write!(f, "fetch {} from {} ({} bytes)", fetch.file, fetch.flist, fetch.length),
            Self::Begin => f.write_str("begin the generation"),
            Self::Place { place, copy: false, .. } => write!(f, "link {place}"),
            Self::Place { place, copy: true, .. } => write!(f, "copy {place}"),
            Self::Link { place, target } => write!(f, "link {place} -> {target}"),
            Self::KeepFlist { name } => write!(f, "keep flist {name}"),
            Self::KeepRelease => f.write_str("keep the release"),
            Self::Sync => f.write_str("sync the generation"),
            Self::Finish => f.write_str("finish the generation"),
            Self::Switch => f.write_str("switch to it"),
            Self::Prune { generation } => write!(f, "remove generation {generation}"),
            Self::Drop { object } => write!(f, "remove object {object}"),
        }
    }
}

fn as_text<S: Serializer>(digest: &ObjectDigest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{File, WantedFlist};
    use std::path::Path;

    fn file(place: &str, content: &str, executable: bool) -> File {
        File {
            source: place.to_owned(),
            place: place.to_owned(),
            object: ObjectDigest::of(content.as_bytes()),
            length: content.len() as u64,
            executable,
        }
    }

    fn wanted(files: Vec<File>) -> Wanted {
        let flist = WantedFlist {
            name: "web".into(),
            bytes: vec![0; 10],
            files,
            links: Vec::new(),
        };
        Wanted {
            environment: "dev".into(),
            sequence: 3,
            envelope: vec![0; 10],
            flists: vec![flist],
        }
    }

    fn roomy() -> Installed {
        Installed {
            free: 1 << 30,
            ..Installed::default()
        }
    }

    #[test]
    fn only_what_is_missing_is_fetched_and_only_once() {
        let wanted = wanted(vec![
            file("bin/a", "x", true),
            file("bin/b", "x", true),
            file("bin/c", "y", true),
        ]);
        let mut installed = roomy();
        installed.objects.insert(
            ObjectDigest::of(b"y"),
            Object {
                length: 1,
                executable: true,
            },
        );
        let plan = plan(Path::new("s"), &installed, &wanted).unwrap();
        assert_eq!(
            plan.fetches().map(|fetch| fetch.file.as_str()).collect::<Vec<_>>(),
            ["bin/a"]
        );
        assert_eq!((plan.present, plan.fetch_bytes, plan.generation), (1, 1, 1));
        let text = plan.to_string();
        assert!(
            text.starts_with("release 3 of dev becomes generation 1: 1 objects to fetch (1 bytes), 1 there already\n")
        );
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json["steps"][1]["object"], ObjectDigest::of(b"x").to_string());
    }

    #[test]
    fn one_content_with_two_modes_is_linked_once_and_copied_once() {
        let wanted = wanted(vec![file("bin/a", "", true), file("etc/a", "", false)]);
        let plan = plan(Path::new("s"), &roomy(), &wanted).unwrap();
        let copies = plan.steps.iter().filter_map(|step| match step {
            Step::Place { place, copy, .. } => Some((place.as_str(), *copy)),
            _ => None,
        });
        assert_eq!(copies.collect::<Vec<_>>(), [("bin/a", false), ("etc/a", true)]);
    }

    #[test]
    fn no_room_is_said_before_anything_is_written() {
        let wanted = wanted(vec![file("bin/a", &"x".repeat(10_000), true)]);
        let installed = Installed {
            free: 10_000,
            ..Installed::default()
        };
        let error = plan(Path::new("/state"), &installed, &wanted).unwrap_err().to_string();
        assert!(error.starts_with("/state: no room for the release: "), "{error}");
        assert!(error.contains("10000 free"), "{error}");
    }

    #[test]
    fn current_is_kept_and_everything_older_goes_after_the_switch() {
        let (kept, old) = (ObjectDigest::of(b"kept"), ObjectDigest::of(b"old"));
        let object = Object {
            length: 4,
            executable: false,
        };
        let installed = Installed {
            generations: vec![1, 2, 3],
            keep: Some(3),
            kept_objects: BTreeSet::from([kept]),
            objects: BTreeMap::from([(kept, object), (old, object)]),
            ..roomy()
        };
        let plan = plan(Path::new("s"), &installed, &wanted(vec![file("bin/a", "x", true)])).unwrap();
        assert_eq!(plan.generation, 4);
        let switch = plan.steps.iter().position(|step| *step == Step::Switch).unwrap();
        let after = &plan.steps[switch + 1..];
        assert_eq!(
            after,
            [
                Step::Prune { generation: 1 },
                Step::Prune { generation: 2 },
                Step::Drop { object: old }
            ]
        );
    }
}
