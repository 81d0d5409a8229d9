//! Workflow files with which a server builds, boots and uploads the nodes of a config repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::scaffold::ScaffoldError;

/// A kind of server that runs workflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ci {
    /// GitHub Actions.
    GitHub,
    /// Forgejo Actions.
    Forgejo,
}

impl Ci {
    /// Where the workflow stands in a config repository.
    pub fn path(self) -> &'static str {
        match self {
            Self::GitHub => ".github/workflows/mos.yml",
            Self::Forgejo => ".forgejo/workflows/mos.yml",
        }
    }

    /// What it says.
    pub fn text(self) -> &'static str {
        match self {
            Self::GitHub => include_str!("../ci/github.yml"),
            Self::Forgejo => include_str!("../ci/forgejo.yml"),
        }
    }

    /// Writes it into a config repository, unless something is there. Returns the file.
    ///
    /// # Errors
    /// [`ScaffoldError::Exists`], [`ScaffoldError::Io`].
    pub fn write(self, repository: &Path) -> Result<PathBuf, ScaffoldError> {
        let path = repository.join(self.path());
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => ScaffoldError::Exists(path.clone()),
            _ => ScaffoldError::Io {
                path: path.clone(),
                source,
            },
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = fs::File::create_new(&path).map_err(failed)?;
        io::Write::write_all(&mut file, self.text().as_bytes()).map_err(failed)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = Ci::GitHub.write(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), Ci::GitHub.text());
        fs::write(&path, "mine").unwrap();
        assert!(matches!(
            Ci::GitHub.write(directory.path()),
            Err(ScaffoldError::Exists(_))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        Ci::Forgejo.write(directory.path()).unwrap();
    }

    #[test]
    fn both_do_the_same() {
        let steps = |ci: Ci| -> Vec<&'static str> {
            let lines = ci.text().lines().skip_while(|line| *line != "jobs:");
            lines
                .filter(|line| !line.contains("uses:") && !line.contains("runs-on"))
                .collect()
        };
        let forgejo: Vec<&str> = steps(Ci::Forgejo)
            .into_iter()
            .filter(|line| !line.contains("label of your"))
            .collect();
        assert_eq!(steps(Ci::GitHub), forgejo);
        // Forgejo resolves a bare name at a server of its administrator's choice.
        let bare = Ci::Forgejo.text().lines().filter(|line| line.contains("uses:"));
        assert!(bare.clone().count() >= 3 && bare.clone().all(|line| line.contains("https://code.forgejo.org/")));
    }
}
