//! Writing a planned repository.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::plan::Import;

/// Why a repository was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Something is there already.
    #[error("{0}: not empty")]
    NotEmpty(PathBuf),
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Import {
    /// Writes the repository into a directory that is empty or missing. A crash half-way leaves the files written so far.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn write(&self, directory: &Path) -> Result<(), WriteError> {
        match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                if entries.map_err(at(directory))?.next().is_some() {
                    return Err(WriteError::NotEmpty(directory.to_owned()));
                }
            }
        }
        for (path, planned) in &self.files {
            let target = directory.join(path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(at(parent))?;
            }
            let file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(planned.mode)
                .open(&target);
            file.and_then(|mut file| file.write_all(&planned.bytes))
                .map_err(at(&target))?;
        }
        Ok(())
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |source| WriteError::Io { path, source }
}
