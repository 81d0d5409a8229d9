//! Reading a config repository from disk: the only step that touches it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mos_toml::{Problem, Problems, Severity};

use crate::authorities::check_authorities;
use crate::check::check;
use crate::repository::{Repository, parse};

/// The folders whose text files are read, with the suffix that counts.
const FOLDERS: [(&str, &str); 8] = [
    ("environments", ".toml"),
    ("components", ".toml"),
    ("services", ".service.toml"),
    ("access", ".toml"),
    ("image", ".list"),
    ("image", ".conf"),
    ("image", ".config"),
    ("image/kernel.d", ".config"),
];
/// The files beside them.
const FILES: [&str; 2] = ["mos.toml", crate::lock::LOCK_FILE];
/// A text file of a config repository is not larger than this, in bytes; a bigger one is not what it seems.
const MAXIMUM_TEXT: u64 = 4 << 20;

/// What was found in a directory.
#[derive(Debug)]
pub struct Loaded {
    /// The repository; `None` when its `mos.toml` cannot be used.
    pub repository: Option<Repository>,
    /// Everything that is wrong with it, in the order of file, line and column.
    problems: Vec<Problem>,
    directory: PathBuf,
}

/// Why a directory could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no `mos.toml`.
    #[error("{0}: not a config repository, it has no mos.toml\n  hint: `mos new DIR` makes one")]
    NotARepository(PathBuf),
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not text, or too large to be configuration.
    #[error("{path}: {reason}")]
    NotText {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

impl Loaded {
    /// What is wrong, with file names that begin with the directory as it was given. With an environment's name,
    /// problems in the files of other environments are left out: a broken production does not stop work on dev.
    pub fn problems(&self, environment: Option<&str>) -> Vec<Problem> {
        let wanted = |problem: &&Problem| match (environment, &problem.position) {
            (Some(name), Some(position)) => match position.file.strip_prefix("environments/") {
                Some(file) => file.strip_suffix(".toml") == Some(name),
                None => true,
            },
            _ => true,
        };
        self.problems
            .iter()
            .filter(wanted)
            .map(|problem| self.with_directory(problem))
            .collect()
    }

    /// The repository, when nothing is wrong with it as far as this environment (or any, when `None`) is concerned.
    ///
    /// # Errors
    /// Every problem, warnings included, when at least one is an error.
    pub fn valid(self, environment: Option<&str>) -> Result<Repository, Vec<Problem>> {
        let problems = self.problems(environment);
        match self.repository {
            Some(repository) if problems.iter().all(|problem| problem.severity != Severity::Error) => Ok(repository),
            _ => Err(problems),
        }
    }

    fn with_directory(&self, problem: &Problem) -> Problem {
        let mut problem = problem.clone();
        if let Some(position) = &mut problem.position
            && self.directory != Path::new(".")
        {
            position.file = self.directory.join(&position.file).display().to_string();
        }
        problem
    }
}

/// Reads, parses and checks the config repository in a directory.
///
/// # Errors
/// [`LoadError`] when files cannot be read. Problems in what they say are in [`Loaded`].
pub fn load(directory: &Path) -> Result<Loaded, LoadError> {
    let texts = read_texts(directory)?;
    let problems = Problems::default();
    let repository = parse(&texts, &problems);
    if let Some(repository) = &repository {
        check(repository, &|path| directory.join(path).exists(), &problems);
        check_authorities(repository, &|path| fs::read_to_string(directory.join(path)), &problems);
    }
    Ok(Loaded {
        repository,
        problems: problems.into_sorted(),
        directory: directory.to_owned(),
    })
}

fn read_texts(directory: &Path) -> Result<BTreeMap<String, String>, LoadError> {
    if !directory.join("mos.toml").is_file() {
        return Err(LoadError::NotARepository(directory.to_owned()));
    }
    let mut texts = BTreeMap::new();
    for file in FILES.iter().filter(|file| directory.join(file).exists()) {
        texts.insert((*file).to_owned(), read_text(&directory.join(file))?);
    }
    for (folder, suffix) in FOLDERS {
        for name in names(&directory.join(folder))? {
            if name.ends_with(suffix) && !name.starts_with('.') {
                let text = read_text(&directory.join(folder).join(&name))?;
                texts.insert(format!("{folder}/{name}"), text);
            }
        }
    }
    Ok(texts)
}

/// The names in a folder that are UTF-8; a missing folder has none.
fn names(folder: &Path) -> Result<Vec<String>, LoadError> {
    let failed = |source| LoadError::Io {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}

fn read_text(path: &Path) -> Result<String, LoadError> {
    let failed = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let not_text = |reason| LoadError::NotText {
        path: path.to_owned(),
        reason,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAXIMUM_TEXT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAXIMUM_TEXT {
        return Err(not_text("larger than 4 MiB, which no configuration is"));
    }
    String::from_utf8(bytes).map_err(|_| not_text("not UTF-8 text"))
}
