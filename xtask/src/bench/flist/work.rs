//! What is done with a tree once it is there: the same for every way in which it is mounted.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::corpus::walk;

/// Where the choices begin: the same files and places in every run.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Files that a start reads: a few programs with their libraries, which lie side by side.
const START: usize = 300;
/// Files of a start that are neighbours.
const NEIGHBOURS: usize = 30;
/// Larger files are mapped by a program, and only parts of them are read.
const STARTED: u64 = 4 << 20;
/// Reads at random places.
const READS: usize = 2000;
/// Bytes of one such read: a page, which is what a page fault asks for.
const PAGE: usize = 4096;
/// Bytes of one read of a whole file.
const PIECE: usize = 256 << 10;

/// A read at a random place.
pub(super) struct Place {
    path: PathBuf,
    offset: u64,
}

/// The regular files of a tree with content, as paths below it, and their sizes; in the order of their paths.
pub(super) fn files(tree: &Path) -> Result<Vec<(PathBuf, u64)>, String> {
    let mut files = Vec::new();
    walk(tree, &mut |path| {
        let metadata = fs::symlink_metadata(path).map_err(|error| at(path, &error))?;
        if metadata.is_file() && metadata.len() > 0 {
            let below = path.strip_prefix(tree).map_err(|error| error.to_string())?;
            files.push((below.to_owned(), metadata.len()));
        }
        Ok(())
    })?;
    files.sort();
    Ok(files)
}

/// The files of a start, in the order in which they are read.
pub(super) fn start(files: &[(PathBuf, u64)]) -> Vec<PathBuf> {
    let small: Vec<&PathBuf> = files
        .iter()
        .filter(|file| file.1 <= STARTED)
        .map(|file| &file.0)
        .collect();
    let mut random = Random(SEED);
    let places = small.len().saturating_sub(NEIGHBOURS).max(1) as u64;
    let first = (0..START / NEIGHBOURS).map(|_| random.below(places) as usize);
    first
        .flat_map(|first| small.iter().skip(first).take(NEIGHBOURS))
        .map(|path| (*path).clone())
        .collect()
}

/// Random places, every byte of the content as likely as any other.
pub(super) fn places(files: &[(PathBuf, u64)]) -> Vec<Place> {
    let mut ends = Vec::with_capacity(files.len());
    let mut all = 0;
    for (_, size) in files {
        all += size;
        ends.push(all);
    }
    let mut random = Random(SEED);
    let place = |_| {
        let byte = random.below(all.max(1));
        let file = ends.partition_point(|end| *end <= byte);
        let (path, size) = files.get(file)?;
        let offset = (byte + size - ends[file]) / PAGE as u64 * PAGE as u64;
        Some(Place {
            path: path.clone(),
            offset,
        })
    };
    (0..READS).filter_map(place).collect()
}

/// Lists every directory and asks for the attributes of everything.
pub(super) fn stat_all(tree: &Path) -> Result<(), String> {
    walk(tree, &mut |path| {
        fs::symlink_metadata(path).map_err(|error| at(path, &error))?;
        Ok(())
    })
}

/// Reads whole files, one after the other.
pub(super) fn read<'p>(tree: &Path, paths: impl IntoIterator<Item = &'p PathBuf>) -> Result<(), String> {
    let mut buffer = vec![0; PIECE];
    for path in paths {
        let path = tree.join(path);
        let mut file = File::open(&path).map_err(|error| at(&path, &error))?;
        while file.read(&mut buffer).map_err(|error| at(&path, &error))? > 0 {}
    }
    Ok(())
}

/// Reads a page at each place.
pub(super) fn read_places(tree: &Path, places: &[Place]) -> Result<(), String> {
    let mut buffer = [0; PAGE];
    for place in places {
        let path = tree.join(&place.path);
        let file = File::open(&path).map_err(|error| at(&path, &error))?;
        file.read_at(&mut buffer, place.offset)
            .map_err(|error| at(&path, &error))?;
    }
    Ok(())
}

/// xorshift64 (Marsaglia, Xorshift RNGs, 2003): the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_the_same_each_time_and_inside_the_files() {
        let files: Vec<(PathBuf, u64)> = (0..1000u64).map(|n| (format!("{n:04}").into(), n * 700 + 1)).collect();
        assert_eq!(start(&files), start(&files));
        assert_eq!(start(&files).len(), START);
        let places = places(&files);
        assert_eq!(places.len(), READS);
        for place in places {
            let (_, size) = files.iter().find(|file| file.0 == place.path).unwrap();
            assert!(place.offset < *size && place.offset % PAGE as u64 == 0);
        }
    }
}
