//! Building: with nothing changed, with one file changed, and from nothing but downloads and compiled components.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Row, alternate, timed};

/// A copy of the quickstart, with the user's own cache for downloads and compiled components.
struct System {
    directory: tempfile::TempDir,
}

impl System {
    fn new() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let system = Self { directory };
        let repository = system.repository();
        system.mos(
            &["new", "--name", "bench", &repository.display().to_string()],
            Path::new("."),
        )?;
        system.mos(&["keys", "new", "--env", "dev"], &repository)?;
        Ok(system)
    }

    fn repository(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    fn build(&self) -> Result<(), String> {
        self.mos(&["build", "--env", "dev"], &self.repository())
    }

    /// Changes a file that is only in the boot image.
    fn touch(&self, run: usize) -> Result<(), String> {
        let path = self.repository().join("image/files/etc/motd");
        fs::write(&path, format!("run {run} {}\n", std::process::id())).map_err(|error| error.to_string())
    }

    /// Changes a file that is only in the runtime of `web`.
    fn edit(&self, run: usize) -> Result<(), String> {
        let path = self.repository().join("files/web/index.html");
        fs::write(&path, format!("<p>{run} {}</p>\n", std::process::id())).map_err(|error| error.to_string())
    }

    fn mos(&self, arguments: &[&str], folder: &Path) -> Result<(), String> {
        let program = std::env::current_dir()
            .map_err(|error| error.to_string())?
            .join("dist/bin/mos");
        let mut command = Command::new(program);
        command
            .arg("--quiet")
            .args(arguments)
            .current_dir(folder)
            .stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("mos {arguments:?} failed ({status})")),
            Err(error) => Err(format!("dist/bin/mos: {error}; run `make build` first")),
        }
    }
}

pub(super) fn rows() -> Result<Vec<Row>, String> {
    let system = System::new()?;
    system.build()?;
    let (mut run, mut edit) = (0, 0);
    let mut changed = || {
        run += 1;
        system.touch(run)?;
        edit += 1;
        system.edit(edit)?;
        timed(|| system.build())
    };
    let (peer, ours) = alternate(&mut changed, || timed(|| system.build()))?;
    Ok(vec![Row {
        name: "build, nothing changed / image and one flist changed".into(),
        peer,
        ours,
        unit: "ms",
        goal: 0.25,
    }])
}
