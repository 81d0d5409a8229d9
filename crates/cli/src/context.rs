//! What every verb needs to know: where the config repository, the cache and the output are.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{CliError, Kind, Result, problems};
use crate::ui::Ui;

/// Options that every verb takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArgs {
    /// Config repository [default: the nearest folder upwards that has a mos.toml]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        alias = "config-repo",
        env = "MOS_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,

    /// Where downloads and build outputs are kept [default: ~/.cache/mos]
    #[arg(long, global = true, value_name = "DIR", env = "MOS_CACHE", hide_env_values = true)]
    cache: Option<PathBuf>,

    /// Print results and errors only
    #[arg(long, short, global = true)]
    quiet: bool,
}

/// The same, found out.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    config: Option<PathBuf>,
    cache: Option<PathBuf>,
}

impl Context {
    pub(crate) fn new(args: GlobalArgs) -> Self {
        Self {
            ui: Ui::new(args.quiet),
            config: args.config,
            cache: args.cache,
        }
    }

    /// The config repository's folder.
    pub(crate) fn config(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.config {
            return if folder.join("mos.toml").is_file() {
                Ok(folder.clone())
            } else {
                Err(CliError::not_found(format!("{} has no mos.toml", folder.display())).with_hint(NEW_HINT))
            };
        }
        let here = std::env::current_dir().map_err(|error| CliError::problem(format!("current folder: {error}")))?;
        let found = here.ancestors().find(|folder| folder.join("mos.toml").is_file());
        found.map(Path::to_owned).ok_or_else(|| {
            let message = format!("no mos.toml in {} or any folder above it", here.display());
            CliError::not_found(message)
                .with_hint("name the config repository with --config DIR")
                .with_hint(NEW_HINT)
        })
    }

    /// The cache's folder.
    pub(crate) fn cache(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.cache {
            return std::path::absolute(folder).map_err(crate::error::io(folder));
        }
        let base = std::env::var_os("XDG_CACHE_HOME")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let Some(base) = base.or(home) else {
            return Err(
                CliError::usage("neither HOME nor XDG_CACHE_HOME is set").with_hint("name a folder with --cache")
            );
        };
        Ok(base.join("mos"))
    }
}

const NEW_HINT: &str = "`mos new DIR` writes a new config repository";

/// Where the two halves of an environment's key are.
#[derive(Debug)]
pub(crate) struct KeyFiles {
    pub(crate) private: PathBuf,
    pub(crate) public: PathBuf,
}

impl Context {
    /// Reads and checks the config repository.
    pub(crate) fn load(&self) -> Result<mos_config::Loaded> {
        let folder = self.config()?;
        mos_config::load(&folder).map_err(|error| CliError::new(Kind::Problem, error.to_string()))
    }

    /// The name of the project, of a valid repository.
    pub(crate) fn project(&self) -> Result<String> {
        let repository = self.load()?.valid(None).map_err(|found| problems(&found))?;
        Ok(repository.project.name.value)
    }

    /// What has to be made for an environment of a valid repository.
    pub(crate) fn plan(&self, environment: &str) -> Result<mos_config::Plan> {
        let repository = self.valid(environment)?;
        resolve(&repository, environment, &repository.lock)
    }

    /// The same with another lock than the repository's.
    pub(crate) fn plan_with(&self, environment: &str, lock: &mos_config::Lock) -> Result<mos_config::Plan> {
        resolve(&self.valid(environment)?, environment, lock)
    }

    /// `stores.default` of the config repository; what else is wrong with the repository does not matter here.
    pub(crate) fn default_store(&self) -> Result<Option<String>> {
        let loaded = self.load()?;
        match &loaded.repository {
            Some(repository) => Ok(repository.project.default_store.as_ref().map(|url| url.value.clone())),
            None => Err(problems(&loaded.problems(None))),
        }
    }

    fn valid(&self, environment: &str) -> Result<mos_config::Repository> {
        self.load()?.valid(Some(environment)).map_err(|found| problems(&found))
    }

    /// Where the environment's key is: `keys/dev.pub`, and `keys/dev.key` beside it.
    pub(crate) fn key_files(&self, plan: &mos_config::Plan) -> Result<KeyFiles> {
        let public = self.config()?.join(&plan.trust);
        Ok(KeyFiles {
            private: public.with_extension("key"),
            public,
        })
    }
}

fn resolve(
    repository: &mos_config::Repository,
    environment: &str,
    lock: &mos_config::Lock,
) -> Result<mos_config::Plan> {
    mos_config::resolve(repository, environment, lock).map_err(|error| CliError::not_found(error.to_string()))
}

/// The time of this run: `SOURCE_DATE_EPOCH` (seconds since 1970) when it is set, so that builds can be repeated.
pub(crate) fn now() -> Result<jiff::Timestamp> {
    let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") else {
        return Ok(jiff::Timestamp::now());
    };
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    seconds.ok_or_else(|| CliError::usage(format!("SOURCE_DATE_EPOCH is `{text}`, which is no number of seconds")))
}
