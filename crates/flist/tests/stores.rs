//! Differences between flists, copies from store to store, garbage collection, and the prefetch list.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test, as tests do")]

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{large, metadata, noise, packed, parsed, reader, small, text};
use mos_flist::gc::{self, Verdict};
use mos_flist::{
    CloneError, Depth, Flist, FlistError, Image as _, PackOptions, PrefetchError, diff, pack, transfer, with_prefetch,
};
use mos_store::{Digest, Listed, Memory, Read as _, Write as _};
use mos_tree::{Inode, Kind, Tree};
use proptest::prelude::*;

fn changes(first: &Tree, second: &Tree) -> Vec<String> {
    let store = Memory::new();
    let image = |tree| reader(&parsed(&packed(tree, &store)), &store);
    let changes = diff(&image(first), &image(second)).unwrap();
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_of_change_is_told() {
    let old = small();
    let mut new = small();
    assert_eq!(changes(&old, &new), [""; 0]);
    new.remove("pipe").unwrap();
    new.insert_file("bin/new", 0o644, "new").unwrap();
    new.insert_symlink("etc/host", "was/a/file").unwrap();
    let id = new.find("bin/tool").unwrap();
    new.inode_mut(id).kind = Kind::File(text(2, 60_000).into());
    new.inode_mut(id).metadata.mode = 0o755;
    let id = new.find("bin/t").unwrap();
    new.inode_mut(id).kind = Kind::Symlink(b"link".to_vec());
    new.inode_mut(id).metadata.mtime.seconds += 1;
    let id = new.find("null").unwrap();
    new.inode_mut(id).kind = Kind::CharacterDevice { major: 1, minor: 5 };
    new.inode_mut(id).metadata.uid += 1;
    let id = new.find("bin").unwrap();
    new.inode_mut(id).metadata.xattrs.insert(b"user.x".to_vec(), vec![]);
    assert_eq!(
        changes(&old, &new),
        [
            "~ bin (attributes)",
            "~ bin/link (content, mode)",
            "+ bin/new",
            "~ bin/t (target, time)",
            "~ bin/tool (content, mode)",
            "~ etc/host (kind, mode, owner, time)",
            "~ null (device, owner)",
            "- pipe",
        ]
    );
}

#[test]
fn packing_and_cloning_mend_the_replica_that_lacks_a_blob() {
    let root = tempfile::tempdir().unwrap();
    let urls = ["one", "two"].map(|name| format!("dir://{}/{name}", root.path().display()));
    let both = mos_store::open_write(&urls.join(" ")).unwrap();
    let source = Memory::new();
    let flist = parsed(&packed(&large(), &source));
    let clone = || {
        mos_flist::clone(&flist, &source, &both, Depth::Metadata, &|_| ())
            .unwrap()
            .copied_blobs
    };
    let whole = |url: &String| {
        let store: Arc<dyn mos_store::Read> = mos_store::open_read(url).unwrap().into();
        reader(&flist, &store).verify(Depth::Full, &|_| ()).is_empty()
    };
    assert_eq!(clone(), flist.blobs().len() as u64);
    let name = flist.blobs()[0].digest.blob_name();
    for url in &urls {
        let broken = mos_store::open_write(url).unwrap();
        broken.delete(&name).unwrap();
        assert!(!whole(url));
        assert_eq!(clone(), 1);
        assert!(urls.iter().all(whole), "{url}: missing");
        broken.put(&name, b"cut off").unwrap();
        packed(&large(), &both);
        assert!(urls.iter().all(whole), "{url}: of another length");
    }
}

#[test]
fn a_diff_says_what_has_to_travel() {
    let store = Memory::new();
    let mut tree = Tree::default();
    for n in 0..50 {
        tree.insert_file(format!("{n:02}"), 0o644, noise(n, 200_000)).unwrap();
    }
    let old = parsed(&packed(&tree, &store));
    assert_eq!(
        transfer(&old, &old).flist_bytes,
        old.as_bytes().len() as u64,
        "the flist itself"
    );
    tree.insert_file("25", 0o644, noise(99, 100_000)).unwrap();
    let options = PackOptions {
        bases: vec![old.clone()],
        ..PackOptions::default()
    };
    let packed = pack(&tree, &store, &options).unwrap();
    let needed = transfer(&old, &parsed(&packed));
    assert_eq!((needed.chunk_bytes, needed.frames, needed.blobs), (100_000, 1, 1));
    assert_eq!(needed.chunks, packed.stats.new_chunks);
    assert_eq!(needed.blob_bytes, packed.stats.put_bytes);
    assert!((90_000..110_000).contains(&needed.frame_bytes), "{needed:?}");
}

#[test]
fn a_clone_copies_what_is_missing_and_nothing_that_is_damaged() {
    let (from, to) = (Memory::new(), Memory::new());
    let mut tree = large();
    tree.insert_file("big", 0o644, noise(1, 40 << 20)).unwrap();
    let flist = parsed(&packed(&tree, &from));
    let blobs = flist.blobs().len() as u64;
    assert!(blobs >= 3, "{blobs}");
    // One is there already, one has been cut off.
    let names: Vec<String> = flist.blobs().iter().map(|blob| blob.digest.blob_name()).collect();
    to.put(&names[0], &from.get(&names[0], u64::MAX).unwrap()).unwrap();
    to.put(&names[1], b"cut off").unwrap();
    let counted = std::sync::Mutex::new((0, 0));
    let count = |done: mos_flist::Advance| {
        let mut counted = counted.lock().unwrap();
        *counted = (counted.0 + done.files, counted.1 + done.bytes);
    };
    let done = mos_flist::clone(&flist, &from, &to, Depth::Metadata, &count).unwrap();
    assert_eq!((done.present_blobs, done.copied_blobs), (1, blobs - 1));
    let bytes = done.present_bytes + done.copied_bytes;
    assert_eq!(*counted.lock().unwrap(), (blobs, bytes));
    assert_eq!(reader(&flist, &to).verify(Depth::Full, &|_| {}).len(), 0);
    let again = mos_flist::clone(&flist, &from, &to, Depth::Metadata, &|_| {}).unwrap();
    assert_eq!((again.present_bytes, again.copied_blobs), (bytes, 0));

    let mut bad = from.get(&names[2], u64::MAX).unwrap();
    bad[1000] ^= 1;
    from.put(&names[2], &bad).unwrap();
    to.delete(&names[2]).unwrap();
    let error = mos_flist::clone(&flist, &from, &to, Depth::Metadata, &|_| {}).unwrap_err();
    assert!(matches!(error, CloneError::Tampered { blob, .. } if blob == flist.blobs()[2]));
    assert_eq!(to.length(&names[2]).unwrap(), None);
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn only_old_blobs_that_nobody_names_are_collected() {
    let store = Memory::new();
    let kept = parsed(&packed(&large(), &store));
    let other = parsed(&packed(&distribution(), &store));
    store.put("flists/x.fl", b"").unwrap();
    store.put("blobs/readme", b"").unwrap();
    let now = SystemTime::now() + HOUR;
    let plan = |grace, kept: &[Arc<Flist>]| gc::plan(&store.list_entries("").unwrap(), kept, &[], now, grace);
    let young = plan(gc::GRACE, std::slice::from_ref(&kept));
    assert_eq!(young.dead().count(), 0);
    assert!(young.objects.iter().any(|judged| judged.verdict == Verdict::Young));

    let old = plan(HOUR / 2, std::slice::from_ref(&kept));
    let dead: Vec<&str> = old.dead().map(|object| object.name.as_str()).collect();
    let mut expected: Vec<String> = other.blobs().iter().map(|blob| blob.digest.blob_name()).collect();
    expected.sort();
    assert_eq!(dead, expected);
    let done = gc::collect(&old, &store, &|_| {}).unwrap();
    assert_eq!(done.blobs, dead.len() as u64);
    assert_eq!(reader(&kept, &store).verify(Depth::Full, &|_| {}).len(), 0);
    assert!(store.list("").unwrap().contains(&"blobs/readme".to_owned()));

    // Now the store lacks what the other one needs, and says so.
    let both = plan(HOUR / 2, &[kept, other.clone()]);
    assert_eq!(
        both.missing,
        other.blobs().iter().map(|blob| blob.digest).collect::<Vec<_>>()
    );
}

fn distribution() -> Tree {
    let mut tree = Tree::default();
    for n in 0..100 {
        tree.insert_file(format!("{n:03}"), 0o644, text(n + 1000, 100_000))
            .unwrap();
    }
    tree
}

#[test]
fn a_blob_that_was_put_again_after_the_plan_stays() {
    let root = tempfile::tempdir().unwrap();
    let store = mos_store::Dir::new(root.path());
    let flist = parsed(&packed(&small(), &store));
    let name = flist.blobs()[0].digest.blob_name();
    let now = SystemTime::now() + HOUR;
    let plan = gc::plan(
        &store.list_entries(gc::BLOBS).unwrap(),
        &[] as &[Arc<Flist>],
        &[],
        now,
        HOUR / 2,
    );
    assert_eq!(plan.dead().count(), 1);
    std::thread::sleep(Duration::from_millis(20));
    store.put(&name, &store.get(&name, u64::MAX).unwrap()).unwrap();
    let done = gc::collect(&plan, &store, &|_| {}).unwrap();
    assert_eq!((done.blobs, done.changed), (0, 1));
    assert!(store.length(&name).unwrap().is_some());
}

#[test]
fn mostly_dead_blobs_are_reported() {
    let store = Memory::new();
    let old = parsed(&packed(&distribution(), &store));
    let mut tree = Tree::default();
    tree.insert_file("one", 0o644, text(1050, 100_000)).unwrap();
    let options = PackOptions {
        bases: vec![old],
        ..PackOptions::default()
    };
    let kept = parsed(&pack(&tree, &store, &options).unwrap());
    let plan = gc::plan(
        &store.list_entries("").unwrap(),
        &[kept],
        &[],
        SystemTime::now(),
        gc::GRACE,
    );
    let (blob, live) = plan.mostly_dead().next().unwrap();
    assert!(live < blob.length / 4, "{live} of {}", blob.length);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn nothing_young_named_or_foreign_is_ever_dead(
        blobs in proptest::collection::vec((any::<[u8; 32]>(), 0..100_000_u64, proptest::option::of(-50..50_i64), any::<bool>()), 0..40),
        grace in 0..48_u64,
    ) {
        let flist = parsed(&packed(&small(), &Memory::new()));
        let now = SystemTime::UNIX_EPOCH + HOUR * 1_000_000;
        let mut listing: Vec<Listed> = blobs.iter().map(|(digest, length, age, foreign)| {
            let name = Digest::from(*digest).blob_name();
            let age = age.map(|hours| if hours < 0 { now + HOUR * hours.unsigned_abs() as u32 } else { now - HOUR * hours as u32 });
            let name = if *foreign { name.replace("blobs/", "blobs/x") } else { name };
            Listed { name, length: *length, modified: age }
        }).collect();
        listing.extend(flist.blobs().iter().map(|blob| Listed {
            name: blob.digest.blob_name(), length: blob.length, modified: Some(SystemTime::UNIX_EPOCH),
        }));
        let plan = gc::plan(&listing, std::slice::from_ref(&flist), &[], now, HOUR * grace as u32);
        prop_assert_eq!(plan.objects.len(), listing.len());
        prop_assert_eq!(plan.missing.len(), 0);
        for object in plan.dead() {
            prop_assert!(now.duration_since(object.modified.unwrap()).unwrap() >= HOUR * grace as u32);
            prop_assert!(flist.blobs().iter().all(|blob| blob.digest.blob_name() != object.name));
            prop_assert!(!object.name.starts_with("blobs/x"));
        }
        for judged in &plan.objects {
            let old = judged.object.modified.is_some_and(|then| now.duration_since(then).is_ok_and(|age| age >= HOUR * grace as u32));
            if old && judged.verdict != Verdict::Dead {
                let stays = matches!(judged.verdict, Verdict::Needed { .. } | Verdict::Foreign);
                prop_assert!(stays, "{judged}");
            }
        }
    }
}

#[test]
fn a_prefetch_list_is_kept_in_order_and_changes_nothing_else() {
    let store = Memory::new();
    let mut tree = large();
    let inode = Inode {
        metadata: metadata(0o644, 1),
        kind: Kind::File(text(4, 9000).into()),
    };
    tree.insert("many/outside", inode).unwrap();
    let plain = packed(&tree, &store).flist;
    let bytes = with_prefetch(
        plain.clone(),
        &["sizes/noise", "bin/link", "many", "bin/tool", "etc/host"],
    )
    .unwrap();
    let flist = Arc::new(Flist::parse(bytes.clone()).unwrap());
    let inode = |path: &str| flist.find(path).unwrap().inode;
    let expected = [inode("sizes/noise"), inode("bin/tool"), inode("many/outside")];
    assert_eq!(flist.prefetch(), expected);
    assert_eq!(reader(&flist, &store).prefetch(), expected);
    assert!(mos_flist::to_tree(&reader(&flist, &store)).unwrap() == tree);
    // An empty list brings the first flist back, byte for byte.
    assert_eq!(with_prefetch(bytes, &[] as &[&str]).unwrap(), plain);
    let error = with_prefetch(plain, &["no/such"]).unwrap_err();
    assert!(matches!(error, PrefetchError::NotFound(path) if path == "no/such"));
    let error = with_prefetch(b"nothing".to_vec(), &["x"]).unwrap_err();
    assert!(matches!(error, PrefetchError::Flist(FlistError::NotAnFlist)));
}
