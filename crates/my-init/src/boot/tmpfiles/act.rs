//! Doing what a line says.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, OFlags, Uid, chownat};

use super::line::{Kind, Line, Link, Mode};
use super::walk::{self, Found, Spot};
use crate::boot::glob;

/// Where `L` and `C` without an argument find what they link to or copy.
const FACTORY: &str = "/usr/share/factory";
/// Directories below one another, at most, that are copied or adjusted.
const DEPTH_MAX: usize = 64;

/// What is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Lines that remove.
    Remove,
    /// Lines that make.
    Make,
}

/// Does what a line says in this phase, to the tree at `root`.
///
/// # Errors
/// Whatever the system says.
pub fn act(line: &Line, phase: Phase, root: &Path) -> io::Result<()> {
    let argument = line.argument.as_deref().unwrap_or_default();
    match (phase, line.kind) {
        (Phase::Remove, Kind::Remove { below }) => each(line, root, |spot, _| remove(spot, below)),
        (Phase::Remove, Kind::Directory { emptied: true }) => empty(line, root),
        (Phase::Remove, _) | (Phase::Make, Kind::Remove { .. }) => Ok(()),
        (_, Kind::Directory { .. }) => directory(line, root),
        (_, Kind::Existing) => each(line, root, |_, found| match found.kind() {
            FileType::Directory => adjust(line, found),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }),
        (_, Kind::File { replaced }) => file(line, root, replaced),
        (_, Kind::Write { appended }) => each(line, root, |_, found| write(found, argument, appended)),
        (_, Kind::Pipe) => pipe(line, root),
        (_, Kind::Link(when)) => link(line, root, when),
        (_, Kind::Copy) => copy_in(line, root),
        (_, Kind::Adjust { below }) => each(line, root, |_, found| adjust_tree(line, found, below, 0)),
    }
}

/// Does something with everything that the path, which may be a pattern, is there for.
fn each(line: &Line, root: &Path, act: impl Fn(&Spot, &Found) -> io::Result<()>) -> io::Result<()> {
    for path in glob::expand(root, &line.path) {
        let spot = walk::to(root, &path, false)?;
        if let Some(found) = spot.open()? {
            act(&spot, &found)?;
        }
    }
    Ok(())
}

fn remove(spot: &Spot, below: bool) -> io::Result<()> {
    let path = spot.path();
    match spot.open()?.map(|found| found.kind()) {
        None => Ok(()),
        // The standard library follows no link on the way down.
        Some(FileType::Directory) if below => fs::remove_dir_all(path),
        Some(FileType::Directory) => fs::remove_dir(path),
        Some(_) => fs::remove_file(path),
    }
}

fn empty(line: &Line, root: &Path) -> io::Result<()> {
    let found = match walk::to(root, &line.path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?.open()?,
    };
    match found {
        Some(found) if found.kind() == FileType::Directory => found
            .names()?
            .iter()
            .try_for_each(|name| remove(&found.spot(name)?, true)),
        _ => Ok(()),
    }
}

fn directory(line: &Line, root: &Path) -> io::Result<()> {
    let spot = walk::to(root, &line.path, true)?;
    let there = spot.open()?;
    match there {
        Some(found) if found.kind() == FileType::Directory => adjust_old(line, &found),
        // One that is elsewhere, behind a link, is what it is.
        Some(found) if found.kind() == FileType::Symlink && fs::metadata(spot.path())?.is_dir() => Ok(()),
        Some(_) => Err(io::ErrorKind::NotADirectory.into()),
        None => {
            fs::create_dir(spot.path())?;
            adjust_new(line, &spot, 0o755)
        }
    }
}

fn file(line: &Line, root: &Path, replaced: bool) -> io::Result<()> {
    let spot = walk::to(root, &line.path, true)?;
    let content = line.argument.as_deref().unwrap_or_default();
    match spot.open()? {
        Some(found) if replaced => {
            plain(&found)?;
            truncate_and_write(&found, content)?;
            adjust_old(line, &found)
        }
        Some(found) => adjust_old(line, &found),
        None => {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(spot.path())?;
            file.write_all(content.as_bytes())?;
            adjust_new(line, &spot, 0o644)
        }
    }
}

/// Only files of one name: another name may be in a place that is somebody else's to make links in.
fn plain(found: &Found) -> io::Result<()> {
    match found.kind() {
        FileType::RegularFile if found.stat.st_nlink > 1 => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the file has other names too",
        )),
        FileType::Symlink => Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is a symbolic link")),
        _ => Ok(()),
    }
}

fn truncate_and_write(found: &Found, content: &str) -> io::Result<()> {
    // Whoever may write in its directory could have put a pipe there, and nobody would read from that.
    if found.kind() != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut file = OpenOptions::new().write(true).truncate(true).open(found.path())?;
    file.write_all(content.as_bytes())
}

fn write(found: &Found, content: &str, appended: bool) -> io::Result<()> {
    plain(found)?;
    if found.kind() == FileType::Directory {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // Nobody reads from a pipe that early.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut file = OpenOptions::new()
        .write(true)
        .append(appended)
        .custom_flags(flags)
        .open(found.path())?;
    file.write_all(content.as_bytes())
}

fn pipe(line: &Line, root: &Path) -> io::Result<()> {
    let spot = walk::to(root, &line.path, true)?;
    match spot.open()? {
        Some(found) if found.kind() == FileType::Fifo => adjust_old(line, &found),
        Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        None => {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, spot.path(), FileType::Fifo, mode, 0)?;
            adjust_new(line, &spot, 0o644)
        }
    }
}

fn link(line: &Line, root: &Path, when: Link) -> io::Result<()> {
    let target = line
        .argument
        .clone()
        .unwrap_or_else(|| format!("{FACTORY}{}", line.path));
    let spot = walk::to(root, &line.path, true)?;
    let beside = || match target.strip_prefix('/') {
        Some(absolute) => root.join(absolute),
        None => spot.path().parent().unwrap_or(root).join(&target),
    };
    if when == Link::ToSomething && !beside().exists() {
        return Ok(());
    }
    if spot.open()?.is_some() {
        let same = fs::read_link(spot.path()).is_ok_and(|old| old == Path::new(&target));
        if when != Link::Replacing || same {
            return Ok(());
        }
        remove(&spot, true)?;
    }
    std::os::unix::fs::symlink(target, spot.path())
}

fn copy_in(line: &Line, root: &Path) -> io::Result<()> {
    let from = line
        .argument
        .clone()
        .unwrap_or_else(|| format!("{FACTORY}{}", line.path));
    let from = root.join(from.trim_start_matches('/'));
    let spot = walk::to(root, &line.path, true)?;
    match spot.open()? {
        Some(found) if found.kind() == FileType::Directory && found.names()?.is_empty() => fs::remove_dir(spot.path())?,
        Some(_) => return Ok(()),
        None => {}
    }
    copy(&from, &spot, 0)?;
    match spot.open()? {
        Some(found) => adjust_old(line, &found),
        None => Ok(()),
    }
}

fn copy(from: &Path, to: &Spot, depth: usize) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?;
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to.path());
    }
    if !kind.is_dir() {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to.path())?;
        io::copy(&mut fs::File::open(from)?, &mut file)?;
        return file.set_permissions(kind.permissions());
    }
    fs::create_dir(to.path())?;
    let made = to
        .open()?
        .filter(|_| depth < DEPTH_MAX)
        .ok_or(io::ErrorKind::NotFound)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        copy(&from.join(&name), &made.spot(&name)?, depth + 1)?;
    }
    fs::set_permissions(made.path(), kind.permissions())
}

fn adjust_new(line: &Line, spot: &Spot, usual: u32) -> io::Result<()> {
    let found = spot.open()?.ok_or(io::ErrorKind::NotFound)?;
    let mode = line.mode.unwrap_or(Mode {
        bits: usual,
        masked: false,
    });
    own(line, &found)?;
    fs::set_permissions(found.path(), fs::Permissions::from_mode(mode.bits))
}

fn adjust_old(line: &Line, found: &Found) -> io::Result<()> {
    match line.only_new {
        true => Ok(()),
        false => adjust(line, found),
    }
}

/// Sets mode and owners, as far as the line says some. The owner first: changing it takes bits away (chown(2)).
fn adjust(line: &Line, found: &Found) -> io::Result<()> {
    if line.mode.is_none() && line.user.is_none() && line.group.is_none() {
        return Ok(());
    }
    plain(found)?;
    own(line, found)?;
    match line.mode {
        Some(mode) => fs::set_permissions(found.path(), fs::Permissions::from_mode(bits(mode, found))),
        None => Ok(()),
    }
}

fn bits(mode: Mode, found: &Found) -> u32 {
    if !mode.masked {
        return mode.bits;
    }
    let kept = [0o111, 0o222, 0o444]
        .into_iter()
        .filter(|sort| found.stat.st_mode & sort != 0);
    let special = if found.kind() == FileType::Directory { 0o7000 } else { 0 };
    mode.bits & kept.fold(special, |bits, sort| bits | sort)
}

fn own(line: &Line, found: &Found) -> io::Result<()> {
    if line.user.is_none() && line.group.is_none() {
        return Ok(());
    }
    let (user, group) = (line.user.map(Uid::from_raw), line.group.map(Gid::from_raw));
    Ok(chownat(found, "", user, group, AtFlags::EMPTY_PATH)?)
}

/// Links are left as they are.
fn adjust_tree(line: &Line, found: &Found, below: bool, depth: usize) -> io::Result<()> {
    if found.kind() == FileType::Symlink && depth > 0 {
        return Ok(());
    }
    adjust(line, found)?;
    if !below || found.kind() != FileType::Directory || depth == DEPTH_MAX {
        return Ok(());
    }
    for name in found.names()? {
        if let Some(inner) = found.spot(&name)?.open()? {
            adjust_tree(line, &inner, below, depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn apply(root: &Path, lines: &str) -> Vec<String> {
        fs::create_dir_all(root.join("etc/tmpfiles.d")).unwrap();
        fs::write(root.join("etc/tmpfiles.d/a.conf"), lines).unwrap();
        let problems = crate::boot::tmpfiles::apply(root);
        let file = root.join("etc/tmpfiles.d/a.conf").display().to_string();
        problems.iter().map(|problem| problem.replace(&file, "F")).collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn everything_is_made_and_a_second_time_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("usr/share/factory/etc/x/y")).unwrap();
        fs::write(root.join("usr/share/factory/etc/x/y/z"), "factory").unwrap();
        let lines = "d /run/a/b 2750 - - 10d\nf /run/a/f 0600 - - - hello\nL /run/l - - - - a/f\nL? /run/no - - - - nowhere\n\
                     p /run/p 0622\nC /etc/x\nw /run/a/f - - - - bye\nw+ /run/a/f - - - - !\nz /run/a/? 0640\n";
        for _ in 0..2 {
            let aged = "tmpfiles.d: 1 ages are not applied: nothing is removed because it is old";
            assert_eq!(apply(root, lines), [aged]);
            assert_eq!(fs::read_to_string(root.join("run/l")).unwrap(), "byelo!");
            assert_eq!(
                (mode(&root.join("run/a/b")), mode(&root.join("run/a/f"))),
                (0o640, 0o640)
            );
            assert_eq!(
                (
                    mode(&root.join("run/p")),
                    root.join("run/no").symlink_metadata().is_err()
                ),
                (0o622, true)
            );
            assert_eq!(fs::read_to_string(root.join("etc/x/y/z")).unwrap(), "factory");
            fs::write(root.join("run/a/f"), "hello").unwrap();
        }
    }

    #[test]
    fn removing_comes_first_and_l_plus_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["tmp/d/old", "tmp/keep/deep/file", "tmp/gone/deep/file", "run/target/x"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "old").unwrap();
        }
        let lines = "L+ /run/target - - - - /else\nD /tmp/d 1777\nR /tmp/go*\nr /tmp/keep\n-r /x\nr- /tmp/keep\nF /tmp/d/old 0644 - - - new\n";
        let problems = apply(root, lines);
        assert!(
            problems[0] == "F:5: `r` in the type `-r` is not understood",
            "{problems:?}"
        );
        assert!(
            problems[1].starts_with("F:4: /tmp/keep: Directory not empty"),
            "{problems:?}"
        );
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!(fs::read_link(root.join("run/target")).unwrap(), Path::new("/else"));
        assert_eq!(
            (mode(&root.join("tmp/d")), root.join("tmp/gone").exists()),
            (0o1777, false)
        );
        assert_eq!(fs::read_to_string(root.join("tmp/d/old")).unwrap(), "new");
    }

    #[test]
    fn a_pipe_that_somebody_put_there_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(apply(root, "p /tmp/f 0666\n"), Vec::<String>::new());
        let problems = apply(root, "f+ /tmp/f - - - - x\nw /tmp/f - - - - x\n");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!(problems[0], "F:1: /tmp/f: it is no regular file");
    }

    #[test]
    fn links_of_others_lead_nowhere_and_own_ones_do() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("var")).unwrap();
        fs::create_dir_all(root.join("secret")).unwrap();
        fs::create_dir_all(root.join("home")).unwrap();
        fs::write(root.join("secret/file"), "secret").unwrap();
        symlink("../run", root.join("var/run")).unwrap();
        assert_eq!(apply(root, "d /var/run/mine 0700\n"), Vec::<String>::new());
        assert_eq!(mode(&root.join("run/mine")), 0o700);
        // As above: our tree has a root of its own.
        symlink("/secret", root.join("home/own")).unwrap();
        assert_eq!(apply(root, "f /home/own/made - - - - x\n"), Vec::<String>::new());
        assert!(root.join("secret/made").exists());
        if rustix::process::geteuid().as_raw() != 0 {
            println!("SKIPPED: only root can make links of others");
            return;
        }
        let somebody = rustix::fs::Uid::from_raw(12_345);
        symlink("../secret", root.join("home/trap")).unwrap();
        chownat(
            rustix::fs::CWD,
            root.join("home/trap"),
            Some(somebody),
            None,
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
        symlink("../secret/file", root.join("home/leaf")).unwrap();
        fs::hard_link(root.join("secret/file"), root.join("home/hard")).unwrap();
        let lines = "d /home/trap/x\nf+ /home/trap/file - - - - x\nw /home/leaf - - - - x\nz /home/hard 0777\nZ /home 0777\nR /home/trap/*\n";
        let problems = apply(root, lines);
        assert_eq!(problems.len(), 6, "{problems:?}");
        assert!(
            problems
                .iter()
                .any(|problem| problem == "F:1: /home/trap/x: somebody else's link is in the way"),
            "{problems:?}"
        );
        assert_eq!(fs::read_to_string(root.join("secret/file")).unwrap(), "secret");
        let secret = fs::metadata(root.join("secret/file")).unwrap();
        assert_eq!((secret.permissions().mode() & 0o777, secret.uid()), (0o644, 0));
    }

    #[test]
    fn masked_modes_keep_what_is_no_program_from_becoming_one() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("a/d")).unwrap();
        fs::write(root.join("a/d/f"), "").unwrap();
        fs::set_permissions(root.join("a/d/f"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(apply(root, "Z /a ~0755\n"), Vec::<String>::new());
        assert_eq!((mode(&root.join("a/d")), mode(&root.join("a/d/f"))), (0o755, 0o644));
    }
}
