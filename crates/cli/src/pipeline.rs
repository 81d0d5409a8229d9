//! The way of one environment, for the verbs that walk a stretch of it: plan, runtime, image, release.

use std::fs::File;
use std::path::{Path, PathBuf};

use mos_architecture::Architecture;
use mos_boot::secure_boot::{Identity, SecureBootError};
use mos_build::{
    Asked, Builder, BuiltFlist, BuiltImage, Document, Made, NodePrograms, PackMode, Report, Signers, plan_release,
};
use mos_channel::KeyPair;
use mos_channel::publish::{Progress, PublishPlan};
use mos_config::{Listed, Lock, Plan, RootSettings};
use mos_tree::Tree;

use crate::context::{Context, now};
use crate::error::{CliError, Kind, Result, io, problems};
use crate::turn::wait_for_turn;
use crate::ui::{self, Work};

/// The variable that names another place for the private key of Secure Boot: a file, or a `pkcs11:` address.
const SECURE_BOOT_KEY: &str = "MOS_SECURE_BOOT_KEY";
/// The same for the private key of the policy for PCR 11.
const PCR_POLICY_KEY: &str = "MOS_PCR_POLICY_KEY";

/// An environment being built.
pub(crate) struct Pipeline<'c> {
    context: &'c Context,
    repository: PathBuf,
    cache: PathBuf,
    pub(crate) plan: Plan,
    lock: Lock,
    /// Keeps other builds of this config repository waiting: two would write one lock.
    _guard: File,
}

impl<'c> Pipeline<'c> {
    /// Reads and checks the config repository, and plans.
    pub(crate) fn open(context: &'c Context, environment: &str) -> Result<Self> {
        let repository = context.config()?;
        let guard = wait_for_turn(context, &repository)?;
        let lock = Lock::read(&repository).map_err(|error| CliError::problem(error.to_string()))?;
        let plan = context.plan(environment)?;
        Ok(Self {
            context,
            repository,
            cache: context.cache()?,
            plan,
            lock,
            _guard: guard,
        })
    }

    /// The same with nothing locked, to find out what is newest now.
    pub(crate) fn open_unlocked(context: &'c Context, environment: &str, keep: impl FnOnce(&mut Lock)) -> Result<Self> {
        let mut pipeline = Self::open(context, environment)?;
        keep(&mut pipeline.lock);
        pipeline.plan = context.plan_with(environment, &pipeline.lock)?;
        Ok(pipeline)
    }

    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Takes over what a lock has and this one has not.
    pub(crate) fn keep_in_lock(&mut self, before: &Lock) {
        self.lock.adopt(before);
    }

    /// The same, but only what one of these plans, of other environments, asks for.
    pub(crate) fn keep_in_lock_for(&mut self, mut before: Lock, others: &[Plan]) -> Result<()> {
        let asked = self.with_builder("reading", |builder, _, _| Asked::by(builder, others))?;
        before.retain_requests(|request| asked.contains(request));
        let mut components = Lock::default();
        for component in others.iter().flat_map(|plan| &plan.components) {
            let entry = before.component(&component.name, &component.source).cloned();
            entry.into_iter().for_each(|entry| components.set_component(entry));
        }
        before.retain_components(|entry| components.components().any(|kept| kept == entry));
        self.lock.adopt(&before);
        Ok(())
    }

    /// Finds out the exact state of everything, without building.
    pub(crate) fn resolve(&mut self) -> Result<()> {
        self.with_builder("resolving", |builder, plan, lock| {
            mos_build::lock_components(builder, plan, lock)?;
            mos_build::lock_packages(builder, plan, lock)
        })
    }

    /// Builds the flists.
    pub(crate) fn runtime(&mut self, only: &[String], mode: PackMode) -> Result<Vec<BuiltFlist>> {
        let flists = self.with_builder("building the runtime", |b, plan, lock| {
            b.runtime(plan, lock, only, mode)
        })?;
        self.write_lock()?;
        Ok(flists)
    }

    /// Builds the boot image; one that is larger than the environment allows is an error.
    pub(crate) fn image(&mut self) -> Result<BuiltImage> {
        let image = self.image_of_any_size()?;
        let reporter = self.reporter("checking the boot image's size");
        let within = self.builder(&reporter).check_budget(&self.plan, &image);
        within.map_err(|error| match error {
            mos_build::BuildError::OverBudget(_) => build_error(error).with_hint(format!(
                "`mos image size --env {}` shows where its bytes are",
                self.plan.environment
            )),
            other => build_error(other),
        })?;
        Ok(image)
    }

    /// Builds the boot image, whatever its budget is.
    pub(crate) fn image_of_any_size(&mut self) -> Result<BuiltImage> {
        let programs = node_programs(self.plan.image.architecture)?;
        let files = self.context.key_files(&self.plan)?;
        // Read as a key first, so that rubbish in the file is found now and not by the nodes.
        let trust = mos_channel::PublicKey::read(&files.public).map_err(|error| {
            CliError::new(Kind::Trust, error.to_string())
                .with_hint(format!("`mos keys new --env {}` makes the keys", self.plan.environment))
        })?;
        let trust = trust.to_pem();
        let image = self.with_builder("building the boot image", |b, plan, lock| {
            b.image(plan, lock, &programs, &trust)
        })?;
        let image = self.signed(image)?;
        self.write_lock()?;
        Ok(image)
    }

    /// The bills of materials and the provenance of an image.
    pub(crate) fn documents(&self, image: &BuiltImage) -> Result<Vec<Document>> {
        let reporter = self.reporter("writing the bills of materials");
        let documents =
            self.builder(&reporter)
                .documents(&self.plan, image, &node_programs(self.plan.image.architecture)?);
        documents.map_err(build_error)
    }

    /// The image with the signatures that the environment wants.
    fn signed(&self, image: BuiltImage) -> Result<BuiltImage> {
        let settings = &self.plan.image;
        let signers = Signers {
            secure_boot: self.identity(settings.secure_boot.as_deref(), SECURE_BOOT_KEY)?,
            pcr_policy: self.identity(settings.pcr_policy.as_deref(), PCR_POLICY_KEY)?,
        };
        if signers.is_empty() {
            return Ok(image);
        }
        let reporter = self.reporter("signing the boot image");
        self.builder(&reporter).sign_image(image, &signers).map_err(build_error)
    }

    /// PATH.key, or the key that a variable names, and PATH.crt.
    fn identity(&self, path: Option<&str>, variable: &str) -> Result<Option<Identity>> {
        let Some(path) = path.map(|path| self.repository.join(path)) else {
            return Ok(None);
        };
        let named = std::env::var_os(variable).map(PathBuf::from);
        let key = named.unwrap_or_else(|| path.with_added_extension("key"));
        let identity = Identity::open(&key, &path.with_added_extension("crt")).map_err(|error| {
            let told = CliError::new(Kind::Trust, error.to_string());
            match is_missing(&error) {
                true => told.with_hint("`mos keys new --secure-boot` makes keys"),
                false => told,
            }
        })?;
        Ok(Some(identity))
    }

    /// The key that signs the environment's releases, where it is at hand.
    pub(crate) fn release_key(&self) -> Result<Option<KeyPair>> {
        let is_there = self.context.key_files(&self.plan)?.private.exists();
        is_there.then(|| self.read_release_key()).transpose()
    }

    fn read_release_key(&self) -> Result<KeyPair> {
        let files = self.context.key_files(&self.plan)?;
        KeyPair::read(&files.private).map_err(|error| CliError::new(Kind::Trust, error.to_string()))
    }

    /// Plans a release of what was built, and publishes it unless `dry_run`.
    pub(crate) fn publish(
        &self,
        to: &str,
        image: &BuiltImage,
        flists: &[BuiltFlist],
        dry_run: bool,
    ) -> Result<PublishPlan> {
        let pair = self.read_release_key()?;
        let channel = mos_store::open_write(to)?;
        let made = Made { image, flists };
        let plan = plan_release(&self.plan, made, &pair, channel.as_ref(), now()?).map_err(publish_error)?;
        if !dry_run {
            let reporter = self.reporter(&format!("publishing to {}", channel.address()));
            let mut tell = |progress: Progress<'_>| {
                let bytes = format!("{} of {}", ui::bytes(progress.bytes_done), ui::bytes(progress.bytes));
                reporter.work.update(format!(
                    "publishing {} of {} objects, {bytes}",
                    progress.done, progress.steps
                ));
            };
            let builder = self.builder(&reporter);
            builder
                .publish(&plan, channel.as_ref(), &mut tell)
                .map_err(publish_error)?;
        }
        Ok(plan)
    }

    fn reporter(&self, what: &str) -> Reporter {
        Reporter {
            work: self.context.ui.work(what),
        }
    }

    fn builder<'r>(&self, reporter: &'r Reporter) -> Builder<'r> {
        let architecture = self.plan.image.architecture;
        Builder::new(&self.repository, &self.cache, programs_folder(architecture), reporter)
            .for_architecture(architecture)
            .with_alpine_mirror(alpine_mirror())
    }

    fn with_builder<T>(
        &mut self,
        what: &str,
        run: impl FnOnce(&Builder<'_>, &Plan, &mut Lock) -> std::result::Result<T, mos_build::BuildError>,
    ) -> Result<T> {
        let reporter = self.reporter(what);
        let builder = self.builder(&reporter);
        let result = run(&builder, &self.plan, &mut self.lock);
        result.map_err(|error| self.with_places(build_error(error)))
    }

    /// Puts before each line about a package, a module or firmware where that is listed.
    fn with_places(&self, error: CliError) -> CliError {
        let Some(repository) = self.context.load().ok().and_then(|loaded| loaded.repository) else {
            return error;
        };
        let root = RootSettings::of(&repository, repository.environments.get(&self.plan.environment));
        error.map_lines(
            |line| match subject(line).and_then(|(listed, name)| root.position_of(listed, name)) {
                Some(position) => {
                    let (indent, text) = line.split_at(line.len() - line.trim_start().len());
                    format!("{indent}{position}: {text}")
                }
                None => line.to_owned(),
            },
        )
    }

    /// Keeps what was found out.
    pub(crate) fn write_lock(&self) -> Result<()> {
        let written = self
            .lock
            .write(&self.repository)
            .map_err(|error| CliError::problem(error.to_string()))?;
        if written {
            self.context.ui.line(format!(
                "Wrote {}.",
                self.repository.join(mos_config::LOCK_FILE).display()
            ));
        }
        Ok(())
    }
}

/// What a line of an error is about: "module `ext5`: …", or "  ext5: …" for packages of Alpine.
fn subject(line: &str) -> Option<(Listed, &str)> {
    const WORDS: [(&str, Listed); 3] = [
        ("package `", Listed::Package),
        ("module `", Listed::Module),
        ("firmware `", Listed::Firmware),
    ];
    let quoted = WORDS.iter().find_map(|(word, listed)| {
        let (name, _) = line.strip_prefix(word)?.split_once("`: ")?;
        Some((*listed, name))
    });
    quoted.or_else(|| {
        let (name, _) = line.strip_prefix("  ")?.split_once(": ")?;
        Some((Listed::Package, name))
    })
}

/// The files of the kernel package that the config repository names, as the lock has it.
pub(crate) fn kernel_tree(context: &Context) -> Result<Tree> {
    let folder = context.config()?;
    let _guard = wait_for_turn(context, &folder)?;
    let repository = context.load()?.valid(None).map_err(|found| problems(&found))?;
    let mut lock = Lock::read(&folder).map_err(|error| CliError::problem(error.to_string()))?;
    let reporter = Reporter {
        work: context.ui.work("reading the kernel package"),
    };
    let root = RootSettings::of(&repository, None);
    let programs = programs_folder(root.architecture);
    let builder = Builder::new(&folder, context.cache()?, programs, &reporter)
        .for_architecture(root.architecture)
        .with_alpine_mirror(alpine_mirror());
    let (package, alpine) = (root.kernel_package(), root.alpine_plan());
    let source = repository.kernel_source();
    let tree = mos_build::kernel_tree(&builder, &package, source.as_ref(), alpine.as_ref(), &mut lock);
    let tree = tree.map_err(build_error)?;
    let written = lock.write(&folder);
    written.map_err(|error| CliError::problem(error.to_string()))?;
    Ok(tree)
}

/// True when there is no such file: new keys help with nothing else, since firmware knows the old ones.
fn is_missing(error: &SecureBootError) -> bool {
    match error {
        SecureBootError::InFile { source, .. } => is_missing(source),
        SecureBootError::Io { source } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

struct Reporter {
    work: Work,
}

impl Report for Reporter {
    fn line(&self, text: &str) {
        self.work.line(text);
    }

    fn detail(&self, text: &str) {
        self.work.update(text);
    }
}

pub(crate) fn build_error(error: mos_build::BuildError) -> CliError {
    CliError::new(kind_of(&error), error.to_string())
}

fn kind_of(error: &mos_build::BuildError) -> Kind {
    use mos_build::BuildError as E;
    match error {
        E::NoComponent { .. }
        | E::Component(
            mos_components::ComponentError::MissingTool { .. } | mos_components::ComponentError::NoProgram { .. },
        )
        | E::Package(
            mos_packages::PackageError::NoApt { .. }
            | mos_packages::PackageError::Unsatisfiable(_)
            | mos_packages::PackageError::VersionGone { .. },
        ) => Kind::NotFound,
        E::Component(
            mos_components::ComponentError::WrongDigest { .. } | mos_components::ComponentError::MovedTag { .. },
        )
        | E::Package(mos_packages::PackageError::Digest { .. }) => Kind::Trust,
        E::Alpine(error) if error.is_about_trust() => Kind::Trust,
        E::Alpine(mos_alpine::AlpineError::Unsatisfiable(_) | mos_alpine::AlpineError::Gone { .. }) => Kind::NotFound,
        E::Several(errors) => {
            let kinds: Vec<Kind> = errors.iter().map(kind_of).collect();
            match kinds[..] {
                _ if kinds.contains(&Kind::Trust) => Kind::Trust,
                [first, ..] if kinds.iter().all(|kind| *kind == first) => first,
                _ => Kind::Problem,
            }
        }
        _ => Kind::Problem,
    }
}

/// The variable that names another mirror of Alpine than mos.toml: a URL or an absolute path.
const ALPINE_MIRROR: &str = "MOS_ALPINE_MIRROR";

fn alpine_mirror() -> Option<String> {
    let named = std::env::var(ALPINE_MIRROR).ok();
    named.filter(|mirror| !mirror.is_empty())
}

fn publish_error(error: mos_channel::publish::PublishError) -> CliError {
    use mos_channel::publish::PublishError as E;
    match error {
        E::Store(error) => error.into(),
        E::NotOurs(_) | E::NoTrustedKey { .. } => CliError::new(Kind::Trust, error.to_string()),
        E::Conflict { .. } => CliError::new(Kind::Conflict, error.to_string()),
        other => CliError::problem(other.to_string()),
    }
}

/// Where the node's programs are: `MOS_NODE_PROGRAMS`, or `node` beside the folder that `mos` is in. Those for another
/// architecture than this machine's are in a folder beside that one: `node-aarch64`.
fn programs_folder(architecture: Architecture) -> PathBuf {
    let beside = || {
        let program = std::env::current_exe().ok()?.canonicalize().ok()?;
        Some(program.parent()?.parent()?.join("node"))
    };
    let named = std::env::var_os("MOS_NODE_PROGRAMS").map(PathBuf::from);
    folder_for(architecture, named.or_else(beside).unwrap_or_default())
}

fn folder_for(architecture: Architecture, native: PathBuf) -> PathBuf {
    match (architecture, native.file_name()) {
        (Architecture::HOST, _) | (_, None) => native,
        (other, Some(name)) => native.with_file_name(format!("{}-{other}", name.to_string_lossy())),
    }
}

/// Those of every image.
fn node_programs(architecture: Architecture) -> Result<NodePrograms> {
    let folder = programs_folder(architecture);
    let programs = NodePrograms {
        my_init: folder.join("my_init"),
        mos_node: folder.join("mos-node"),
    };
    for program in [&programs.my_init, &programs.mos_node] {
        if !program.is_file() {
            let hint = match architecture {
                Architecture::HOST => {
                    "`make build` makes both; MOS_NODE_PROGRAMS names the folder that has them".to_owned()
                }
                other => format!(
                    "`cargo xtask build node --architecture {other}` makes both; MOS_NODE_PROGRAMS names the folder of those \
                     for this machine, and they are beside it"
                ),
            };
            let message = format!("the node's program {} is missing", program.display());
            return Err(CliError::not_found(message).with_hint(hint));
        }
    }
    Ok(programs)
}

/// Copies an output to where the user wants it, unless the same bytes are there already.
pub(crate) fn deliver(from: &Path, to: &Path) -> Result<()> {
    place(&std::fs::read(from).map_err(io(from))?, to)
}

/// Puts a file where the user wants it, unless the same bytes are there already.
pub(crate) fn place(content: &[u8], to: &Path) -> Result<()> {
    if std::fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let folder = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    mos_sys::durable::write(to, content, 0o644).map_err(io(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_for_another_machine_are_beside_those_for_this_one() {
        let other = Architecture::HOST.other();
        let folder = |architecture| folder_for(architecture, "dist/node".into());
        assert_eq!(folder(Architecture::HOST), Path::new("dist/node"));
        assert_eq!(folder(other), PathBuf::from(format!("dist/node-{other}")));
    }
}
