//! What reads bytes from outside, fed with bytes that a fuzzer finds: nothing may panic, hang, or take memory beyond
//! measure. `make fuzz` makes seeds (`examples/seeds.rs`) and runs each target for `FUZZ_SECONDS` (60 when not said).
//!
//! | target | fed with | does |
//! |---|---|---|
//! | `flist` | an flist, digests made right | parses it and uses all, against a store of wrong bytes |
//! | `header` | the start of an flist, digests as they are and made right | parses |
//! | `blob_index` | a blob, its digest made right | parses |
//! | `prefetch_list` | paths, one a line | puts the list into an flist, twice |
//! | `apk_index` | the text of an index of Alpine | parses it, solves it twice |
//! | `apk_package` | a package's two archives, plain | installs it, reads the database of what is installed again |
//! | `control_request` | lines on my_init's control socket | parses and answers them; configurations to TOML and back |
//! | `service_file` | service files, NUL between them | checks and loads them, and runs a supervisor with them, and its successor |
//! | `rfs` | a database | parses it, writes it, uses all, against a store of wrong bytes |
//!
//! A crash becomes a named test of the crate that crashed.

mod alpine;
mod init;

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use mos_flist::{Depth, Flist, Image, PackOptions, Packed};
use mos_store::{Memory, Read, StoreError};
use mos_tree::{Inode, Kind, Metadata, Tree};

pub use alpine::{apk_index, apk_package};
pub use init::{control_request, service_file};

/// Files are read from here to there at most: a hostile size takes time, not memory, and libFuzzer counts time as hanging.
const SLICE: Range<u64> = 3..70_000;

/// A store that has every object, and the same bytes in each.
struct Liar(Vec<u8>);

impl Read for Liar {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.get_range(name, 0..limit.min(self.0.len() as u64))
    }

    fn get_range(&self, _: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        // As many as were asked for, as all stores give, and not more than the largest blob.
        let length = range.end.saturating_sub(range.start).min(mos_flist::BLOB_LIMIT);
        Ok(self.0.iter().copied().cycle().take(length as usize).collect())
    }

    fn length(&self, _: &str) -> Result<Option<u64>, StoreError> {
        Ok(Some(self.0.len() as u64))
    }

    fn address(&self) -> String {
        "memory:".to_owned()
    }
}

/// The bytes at the end of a file, as what a store gives.
fn liar(bytes: &[u8]) -> Arc<Liar> {
    let end = &bytes[bytes.len().saturating_sub(4096)..];
    Arc::new(Liar([&[0x28, 0xb5, 0x2f, 0xfd], end].concat()))
}

fn use_all(image: &dyn Image) {
    for entry in image.entries() {
        let _ = image.read_at(entry.inode, SLICE);
        assert_eq!(image.find(&entry.path).map(|found| found.inode), Some(entry.inode));
        assert!(
            !entry
                .path
                .split(|byte| *byte == b'/')
                .any(|name| name == b".." || name == b".")
        );
    }
    let _ = image.verify(Depth::Metadata, &|_| ());
}

/// An flist behind its digests.
pub fn flist(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    mos_flist::fuzzing::reseal(&mut bytes);
    let store = liar(&bytes);
    let Ok(flist) = Flist::parse(bytes) else { return };
    let paths: Vec<Vec<u8>> = flist.entries().map(|entry| entry.path).collect();
    assert!(paths.len() <= flist.as_bytes().len());
    if let Ok(bytes) = mos_flist::with_prefetch(flist.as_bytes().to_vec(), &[b""]) {
        assert!(Flist::parse(bytes).is_ok(), "a prefetch list that we wrote");
    }
    use_all(&mos_flist::Reader::new(Arc::new(flist), store));
}

/// The first bytes of an flist.
pub fn header(bytes: &[u8]) {
    mos_flist::fuzzing::header(bytes);
    let mut bytes = bytes.to_vec();
    mos_flist::fuzzing::reseal(&mut bytes);
    mos_flist::fuzzing::header(&bytes);
}

/// The end of a blob: its footer says where the index begins (offset 16 of 64), and ends with the index's digest.
pub fn blob_index(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if let Some(footer) = bytes.len().checked_sub(mos_flist::FOOTER_LENGTH as usize) {
        let start = bytes[footer + 16..]
            .first_chunk()
            .map_or(0, |start| u64::from_le_bytes(*start));
        let index = usize::try_from(start).ok().and_then(|start| bytes.get(start..footer));
        if let Some(digest) = index.map(blake3::hash) {
            bytes[footer + 32..].copy_from_slice(digest.as_bytes());
        }
    }
    mos_flist::fuzzing::blob_index(&bytes);
}

/// A list of paths to fetch first.
pub fn prefetch_list(bytes: &[u8]) {
    static PACKED: LazyLock<Vec<u8>> = LazyLock::new(|| sample().0.flist);
    let list = mos_mount::parse_list(bytes);
    let Ok(with) = mos_flist::with_prefetch(PACKED.clone(), &list) else {
        return;
    };
    let flist = Flist::parse(with).expect("an flist that we wrote");
    let again = mos_flist::with_prefetch(flist.as_bytes().to_vec(), &list).expect("what was found once");
    assert!(again == flist.as_bytes(), "the same list gives the same flist");
}

/// A database.
pub fn rfs(bytes: &[u8]) {
    let Ok(rfs) = mos_rfs::Rfs::parse(bytes) else { return };
    let written = rfs.to_bytes();
    let again = mos_rfs::Rfs::parse(&written).expect("an flist that we wrote");
    assert!(again.to_bytes() == written, "the same flist gives the same bytes");
    let mut stores = mos_rfs::Stores::default();
    stores.add(
        mos_rfs::Route::everywhere("dir:///lies"),
        mos_rfs::Layout::Folders,
        liar(bytes),
    );
    use_all(&mos_rfs::Reader::new(Arc::new(rfs), stores));
}

/// One of everything, small, packed.
fn sample() -> (Packed, Memory) {
    let (store, tree) = (Memory::new(), tree());
    let packed = mos_flist::pack(&tree, &store, &PackOptions::default()).expect("a tree that can be packed");
    (packed, store)
}

fn tree() -> Tree {
    let mut tree = Tree::default();
    let content: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
    let put = |tree: &mut Tree, path: &str, kind| {
        let metadata = Metadata::root(0o640);
        tree.insert(path, Inode { metadata, kind }).expect("a new path")
    };
    let id = put(&mut tree, "bin/tool", Kind::File(content.into()));
    tree.link("bin/again", id).expect("a new path");
    let xattrs = &mut tree.inode_mut(id).metadata.xattrs;
    xattrs.insert(b"user.a".to_vec(), b"b".to_vec());
    xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    put(&mut tree, "small", Kind::File("small".into()));
    put(&mut tree, "empty", Kind::File("".into()));
    put(&mut tree, "lib", Kind::Symlink(b"usr/lib".to_vec()));
    put(&mut tree, "null", Kind::CharacterDevice { major: 1, minor: 3 });
    put(
        &mut tree,
        "disk",
        Kind::BlockDevice {
            major: 259,
            minor: 70_000,
        },
    );
    put(&mut tree, "a/b/c/pipe", Kind::Fifo);
    put(&mut tree, "socket", Kind::Socket);
    tree
}

/// For each target, what it starts from.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let (packed, store) = sample();
    let flist = packed.flist;
    let listed = mos_flist::with_prefetch(flist.clone(), &[b"bin"]).expect("a path that is there");
    let blobs = Flist::parse(flist.clone())
        .expect("an flist that we wrote")
        .blobs()
        .to_vec();
    let blob = |blob: &mos_flist::BlobRef| {
        let bytes = store
            .get(&blob.digest.blob_name(), blob.length)
            .expect("a blob that we put");
        ("blob_index", bytes)
    };
    let mut seeds: Vec<_> = blobs.iter().map(blob).collect();
    seeds.push(("header", flist[..1024].to_vec()));
    seeds.push(("flist", flist.clone()));
    seeds.push(("header", flist));
    seeds.push(("flist", listed));
    seeds.push(("prefetch_list", b"bin\nsmall\nlib\n".to_vec()));
    seeds.push(("prefetch_list", b"/bin/tool/\nbin/again".to_vec()));
    let mut targets = mos_rfs::Targets::default();
    targets.add(
        mos_rfs::Route::everywhere("dir:///srv"),
        mos_rfs::Layout::Folders,
        Arc::new(Memory::new()),
    );
    let rfs = mos_rfs::pack(&tree(), &targets, &mos_rfs::PackOptions::default()).expect("a tree that can be packed");
    seeds.push(("rfs", rfs.rfs.to_bytes()));
    seeds.extend(alpine::seeds());
    seeds.extend(init::seeds());
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_takes_its_seeds() {
        for (target, seed) in seeds() {
            match target {
                "flist" => flist(&seed),
                "header" => header(&seed),
                "blob_index" => blob_index(&seed),
                "prefetch_list" => prefetch_list(&seed),
                "rfs" => rfs(&seed),
                "control_request" => control_request(&seed),
                "service_file" => service_file(&seed),
                "apk_index" => apk_index(&seed),
                "apk_package" => apk_package(&seed),
                other => panic!("{other} is no target"),
            }
        }
    }
}
