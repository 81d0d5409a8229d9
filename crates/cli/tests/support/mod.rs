//! A small system of its own for each test: a config repository whose components are shell scripts, and a channel.

pub(crate) mod alpine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a test's component is: a shell script and its service file.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) script: &'static str,
    pub(crate) service: &'static str,
}

/// A config repository with a channel.
pub(crate) struct System {
    directory: tempfile::TempDir,
}

impl System {
    /// A system whose only components are these, with a key; nothing is built yet.
    pub(crate) fn new(components: &[Script]) -> Self {
        let system = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let repository = system.repository();
        run(mos(system.folder()).args(["new", "--name", "test"]).arg(&repository));
        for folder in ["components", "services"] {
            for entry in fs::read_dir(repository.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if folder == "components" || name.starts_with("web") || name.starts_with("node-metrics") {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        let mut environment = "channel = \"http://10.0.2.2:8480\"\n".to_owned();
        for component in components {
            system.add(component);
            environment.push_str(&format!("[components.{}]\n", component.name));
        }
        for name in ["dev", "production"] {
            fs::remove_file(repository.join(format!("environments/{name}.toml"))).unwrap();
        }
        system.write("environments/dev.toml", &environment);
        system.mos(&["keys", "new", "--env", "dev"]);
        system
    }

    /// Writes or replaces a component.
    pub(crate) fn add(&self, component: &Script) {
        let Script { name, script, service } = component;
        self.write(&format!("programs/{name}/{name}"), script);
        self.write(&format!("services/{name}.service.toml"), service);
        self.write(
            &format!("components/{name}.toml"),
            &format!(
                "description = \"a test\"\n[source]\nkind = \"path\"\npath = \"programs/{name}\"\n[build]\nkind = \"none\"\n\
                 [install]\nbinaries = [\"{name}\"]\nservice = \"services/{name}.service.toml\"\n"
            ),
        );
    }

    /// Writes a file of the config repository.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.repository().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The folder of everything here.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.folder().join("repository")
    }

    /// The channel's folder.
    pub(crate) fn channel(&self) -> PathBuf {
        self.folder().join("channel")
    }

    /// `mos` in the repository.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = mos(&self.repository());
        command.args(arguments);
        command
    }

    /// Runs `mos` in the repository; it must succeed.
    pub(crate) fn mos(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(arguments))
    }

    /// How a release gets into the channel.
    pub(crate) fn publish_command(&self) -> Command {
        let mut command = self.command(&["release", "publish", "--env", "dev", "--to"]);
        command.arg(self.channel());
        command
    }

    /// Publishes a release, now.
    pub(crate) fn publish(&self) {
        run(&mut self.publish_command());
    }
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{said}");
    output
}

/// The program under test, with the cache that all tests share.
pub(crate) fn mos(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mos"));
    command
        .current_dir(folder)
        .env("MOS_CACHE", cache())
        .env("MOS_NODE_PROGRAMS", node_programs())
        .env_remove("MOS_CONFIG")
        .env_remove("SOURCE_DATE_EPOCH");
    command
}

/// Shared, so that packages are downloaded once.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("mos-cache")
}

/// `make build` puts them into `dist/node`; `mos` itself says so when they are missing.
pub(crate) fn node_programs() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/node");
    let folder = std::env::var_os("MOS_NODE_PROGRAMS").map_or_else(default, PathBuf::from);
    std::path::absolute(folder).unwrap()
}
