//! One measured run of a program: time, memory, with a cold or a warm page cache, everything on the disk at the end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::corpus::walk;

/// Entries that are removed at one time.
const REMOVERS: usize = 32;

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) time: Duration,
    /// Peak resident memory of the largest process, in bytes.
    pub(super) memory: u64,
}

/// True when a program can be started.
pub(super) fn present(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

/// Runs a shell line; `$1` and so on are the arguments. The time includes writing everything below `output` to the disk.
pub(super) fn shell(line: &str, arguments: &[&Path], output: &Path) -> Result<Measured, String> {
    let mut command = Command::new("sh");
    command.args(["-c", line, "sh"]).args(arguments);
    program(&command, output)
}

/// Runs a program under `/usr/bin/time`, which is what tells its memory.
pub(super) fn program(command: &Command, output: &Path) -> Result<Measured, String> {
    let report = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M", "-o"]).arg(report.path());
    timed.arg(command.get_program()).args(command.get_args());
    let begin = Instant::now();
    let done = timed.stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let done = done.map_err(|error| format!("/usr/bin/time: {error}; install the package `time`"))?;
    if !done.status.success() {
        // timeout(1) says 124.
        let (status, said) = (done.status, String::from_utf8_lossy(&done.stderr));
        return Err(format!("{command:?}: {status}: {}", said.trim()));
    }
    sync(output)?;
    let time = begin.elapsed();
    let report = fs::read_to_string(report.path()).map_err(|error| error.to_string())?;
    let kilobytes: u64 = report.trim().parse().map_err(|_| format!("time said {report:?}"))?;
    Ok(Measured {
        time,
        memory: kilobytes * 1024,
    })
}

/// Writes the file system of a path to its disk.
fn sync(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    rustix::fs::syncfs(&file).map_err(|error| error.to_string())
}

/// Takes the content of a tree out of the page cache: the next who reads it waits for the disk. Names and inodes stay.
pub(super) fn evict(tree: &Path) -> Result<(), String> {
    sync(tree)?;
    walk(tree, &mut |path| {
        let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
        if metadata.is_file() {
            let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}

/// Removes a tree, many entries at a time: a file system that tells its disk of every block that is freed (ext4 with
/// `discard`) waits milliseconds for each file, which would be most of the bench's time.
pub(super) fn remove(tree: &Path) -> Result<(), String> {
    if !tree.exists() {
        return Ok(());
    }
    let mut levels: Vec<Vec<PathBuf>> = Vec::new();
    walk(tree, &mut |path| {
        let depth = path.components().count();
        levels.resize_with(levels.len().max(depth + 1), Vec::new);
        levels[depth].push(path.to_owned());
        Ok(())
    })?;
    for level in levels.iter().rev().filter(|level| !level.is_empty()) {
        std::thread::scope(|scope| {
            for part in level.chunks(level.len().div_ceil(REMOVERS)) {
                // What stays is told by the end.
                scope.spawn(|| {
                    part.iter()
                        .for_each(|path| drop(fs::remove_file(path).or_else(|_| fs::remove_dir(path))))
                });
            }
        });
    }
    match tree.exists() {
        true => fs::remove_dir_all(tree).map_err(|error| format!("{}: {error}", tree.display())),
        false => Ok(()),
    }
}

/// Bytes and number of the files below a directory, or of one file.
pub(super) fn usage(path: &Path) -> Result<(u64, u64), String> {
    let mut all = (0, 0);
    walk(path, &mut |path| {
        let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
        if metadata.is_file() {
            all.0 += metadata.len();
            all.1 += 1;
        }
        Ok(())
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_takes_everything_and_follows_no_link() {
        let room = tempfile::tempdir().unwrap();
        let (tree, kept) = (room.path().join("tree"), room.path().join("kept"));
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        for number in 0..200 {
            fs::write(tree.join(format!("a/b/{number}")), "x").unwrap();
        }
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("a/link")).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
        assert!(kept.join("file").exists());
        remove(&tree).unwrap();
    }
}
