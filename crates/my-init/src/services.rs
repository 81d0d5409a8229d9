//! Reading the service directories.

use std::ffi::CString;
use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mos_service::{Command, Service, is_service_file};
use mos_toml::{Problem, Severity};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The largest service file, in bytes.
const FILE_MAX: u64 = 256 * 1024;
/// The most files in one directory.
const FILES_MAX: usize = 20_000;
/// Where programs named without a slash are looked for when neither the service nor our environment says.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/var/cache/bin";

/// What directories of service files hold.
#[derive(Debug, Default)]
pub struct Files {
    /// Path and text.
    pub files: Vec<(String, String)>,
    /// Paths of those that cannot be used, and of directories that cannot be read.
    pub unusable: Vec<String>,
    /// What is wrong with them, and with directories.
    pub problems: Vec<Problem>,
}

impl Files {
    fn cannot_be_used(&mut self, path: &Path, error: &dyn std::fmt::Display) {
        self.problems.push(problem(path, error));
        self.unusable.push(path.display().to_string());
    }
}

/// Reads the files of the directories in order, those of one directory by name. A directory that is not there has none.
/// Each is read as it was when it was opened: if a link names another one meanwhile, nothing of that one gets in between.
pub fn read(directories: &[PathBuf]) -> Files {
    let mut found = Files::default();
    for path in directories {
        match rustix::fs::open(
            path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(directory) => read_directory(path, &directory, &mut found),
            Err(Errno::NOENT) => {}
            Err(error) => found.cannot_be_used(path, &std::io::Error::from(error)),
        }
    }
    found
}

fn read_directory(path: &Path, directory: &OwnedFd, found: &mut Files) {
    for name in list(path, directory, found) {
        let file = path.join(&name);
        match read_file(directory, &name) {
            Ok(text) => found.files.push((file.display().to_string(), text)),
            // It was removed since the directory was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => found.cannot_be_used(&file, &error),
        }
    }
}

/// Reads and understands all service files; what is wrong with one leaves the others alone.
pub fn load(directories: &[PathBuf]) -> mos_service::Loaded {
    let Files {
        files,
        mut unusable,
        mut problems,
    } = read(directories);
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let mut loaded = mos_service::load(&files);
    problems.append(&mut loaded.problems);
    unusable.append(&mut loaded.unusable);
    mos_service::Loaded {
        problems,
        unusable,
        ..loaded
    }
}

/// Something that people should know about all services.
pub fn warning(message: String) -> Problem {
    Problem {
        position: None,
        severity: Severity::Warning,
        message,
        hint: None,
    }
}

fn problem(path: &Path, error: &dyn std::fmt::Display) -> Problem {
    Problem {
        position: None,
        severity: Severity::Error,
        message: format!("{}: {error}", path.display()),
        hint: None,
    }
}

fn list(path: &Path, directory: &OwnedFd, found: &mut Files) -> Vec<String> {
    let entries = match rustix::fs::Dir::read_from(directory) {
        Ok(entries) => entries,
        Err(error) => {
            found.cannot_be_used(path, &std::io::Error::from(error));
            return Vec::new();
        }
    };
    let names = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned()));
    let mut names: Vec<String> = names.filter(|name| is_service_file(name)).take(FILES_MAX).collect();
    names.sort();
    if names.len() == FILES_MAX {
        let problem = problem(
            path,
            &format!("holds {FILES_MAX} service files or more; the rest is left out"),
        );
        found.problems.push(problem);
    }
    names
}

fn read_file(directory: &OwnedFd, name: &str) -> std::io::Result<String> {
    // A pipe must not make us wait for somebody who writes to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = fs::File::from(rustix::fs::openat(directory, name, flags, Mode::empty())?);
    let kind = file.metadata()?;
    if !kind.is_file() || kind.len() > FILE_MAX {
        return Err(std::io::Error::other(format!(
            "not a regular file of at most {FILE_MAX} bytes"
        )));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The file that a command executes: its first word, looked for in `path` when it has no slash.
pub fn program(command: &Command, path: &str) -> PathBuf {
    let word = command.argv().first().copied().unwrap_or_default();
    if word.contains('/') {
        return PathBuf::from(word);
    }
    let places = path.split(':').map(|directory| Path::new(directory).join(word));
    places
        .into_iter()
        .find(|place| place.is_file())
        .unwrap_or_else(|| PathBuf::from(word))
}

/// Identifies the files that a service runs: the program and every file that its command names by absolute path. A new
/// generation links other files there, so the value changes; writing to one of them in place does not change it.
pub fn stamp(service: &Service, path: &str) -> u64 {
    let Some(command) = &service.command else { return 0 };
    let program = program(command, path);
    let words = command
        .argv()
        .into_iter()
        .flat_map(|word| word.split_whitespace())
        .filter(|word| word.starts_with('/'));
    let identity = |file: &Path| {
        let file = fs::metadata(file).ok().filter(fs::Metadata::is_file);
        file.map_or((0, 0), |file| (file.dev(), file.ino()))
    };
    // The program is mostly the first word.
    let files = words.map(Path::new).filter(|file| *file != program);
    let bytes = files.chain([program.as_path()]).map(identity);
    let bytes = bytes.flat_map(|(device, number)| [device, number]);
    mos_service::fnv1a(&bytes.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
}

/// A string for the kernel. The service's parser has refused NUL; if one came all the same the text ends there.
pub fn c_string(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or("");
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_in_order_and_a_missing_one_is_empty() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a/b.toml", "2"),
            ("a/a.service.toml", "1"),
            ("a/x.conf", "-"),
            ("b/c.toml", "3"),
        ] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir(root.path().join("b/d.toml")).unwrap();
        let directories = ["a", "missing", "b"].map(|name| root.path().join(name));
        let Files {
            files,
            unusable,
            problems,
        } = read(&directories);
        let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["1", "2", "3"]);
        assert!(
            problems[0].to_string().contains("d.toml: not a regular file"),
            "{problems:?}"
        );
        assert!(unusable.len() == 1 && unusable[0].ends_with("b/d.toml"), "{unusable:?}");
    }

    #[test]
    fn the_stamp_changes_when_a_file_is_replaced_but_not_when_it_is_written_to() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("web");
        fs::write(&file, "1").unwrap();
        let text = format!("[service]\nexec = \"{} --fast\"\n", file.display());
        let service = mos_service::parse("web.toml", &text).service.unwrap();
        let first = stamp(&service, PATH);
        fs::write(&file, "22").unwrap();
        assert_eq!(stamp(&service, PATH), first);
        fs::write(root.path().join("new"), "3").unwrap();
        fs::rename(root.path().join("new"), &file).unwrap();
        assert_ne!(stamp(&service, PATH), first);
    }
}
