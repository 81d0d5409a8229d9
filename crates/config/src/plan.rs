//! What has to be made for one environment: a plain value without references to where it came from.
//!
//! A plan can be printed (`Display`), written as JSON (`Serialize`) and compared. It holds no secrets in either form:
//! password hashes are only reachable through [`PasswordHash::reveal`](crate::PasswordHash::reveal).

use std::collections::BTreeMap;

use mos_architecture::Architecture;
use serde::Serialize;

use crate::access::PasswordHash;
use crate::base::{AlpinePlan, Base};
use crate::component::Build;
use crate::environment::{EnvironmentKind, Release};
use crate::image::ImageOutput;
use crate::kernel::KernelSource;
use crate::lock::LockedComponent;
use crate::project::{Compression, InitramfsPlace};
use crate::source::Source;

/// Everything that is made for an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// The environment's kind.
    pub kind: EnvironmentKind,
    /// Where nodes look for releases.
    pub channel: String,
    /// The public key that nodes trust, by its path in the config repository.
    pub trust: String,
    /// The store that releases are published to when no other is asked for.
    pub store: Option<String>,
    /// The enabled components, by name.
    pub components: Vec<PlannedComponent>,
    /// The boot image.
    pub image: ImagePlan,
    /// How releases are made.
    pub release: Release,
    /// What comes out.
    pub outputs: Vec<Output>,
}

/// A component to fetch, build and stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedComponent {
    /// Its name, which is also that of its flist.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Where it comes from.
    pub source: Source,
    /// A label for the version, when the configuration gives one.
    pub version: Option<String>,
    /// The exact state, when the lock has it.
    pub locked: Option<LockedComponent>,
    /// How it is built.
    pub build: Build,
    /// Its programs.
    pub binaries: Vec<String>,
    /// Further files: name in the flist, path in the config repository.
    pub files: BTreeMap<String, String>,
    /// Where files go whose suffix does not say: name in the flist, path in the generation.
    pub routes: BTreeMap<String, String>,
    /// All modules of the image's kernel, as an flist that `myfs kernel-files` mounts.
    pub kernel_modules: bool,
    /// A folder of the config repository with firmware, the same.
    pub firmware: Option<String>,
    /// Its service file.
    pub service: Option<PlannedService>,
}

/// A service file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedService {
    /// File name, `<name>.service.toml`.
    pub file_name: String,
    /// Content.
    pub text: String,
}

/// The boot image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImagePlan {
    /// What nodes are: every program in it, every package and the firmware that starts it are for this.
    pub architecture: Architecture,
    /// The package of the kernel: of Debian, or with `alpine:` before it ([`Distribution::split`](crate::Distribution::split)).
    pub kernel_package: String,
    /// The kernel to be compiled in place of that of a package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_source: Option<KernelSource>,
    /// What the root file system begins with.
    pub base: Base,
    /// Where Alpine's packages come from, when the image has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpine: Option<AlpinePlan>,
    /// Packages of the base, those of the project first, each once.
    pub packages: Vec<String>,
    /// Who may vouch for the channel's server.
    pub authorities: Authorities,
    /// Kernel modules, those of the project first, each once.
    pub modules: Vec<String>,
    /// Where firmware comes from, and what of it is in the image beside what modules name.
    pub firmware: FirmwarePlan,
    /// Patterns for paths that no rule of the clean-up removes.
    pub keep: Vec<String>,
    /// Patterns for paths of packages that are removed beside what the rules say.
    pub remove: Vec<String>,
    /// The most bytes that the EFI file may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// The kernel's command line.
    pub command_line: String,
    /// The nodes' name.
    pub hostname: String,
    /// Who signs it for Secure Boot: a key and its certificate, by their path in the config repository without `.key` and
    /// `.crt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<String>,
    /// Whose signed policy for PCR 11 is in it, in the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcr_policy: Option<String>,
    /// Where the initramfs is.
    pub initramfs: InitramfsPlace,
    /// How the initramfs is compressed.
    pub compression: Compression,
    /// At which level.
    pub compression_level: i32,
    /// The folder that is laid over the root, relative to the config repository; it may be missing.
    pub files: String,
    /// The services of the image.
    pub services: Vec<PlannedService>,
    /// Users on the nodes.
    pub users: Vec<PlannedUser>,
    /// What the image is shipped as, each kind once.
    pub outputs: Vec<ImageOutput>,
    /// MiB of a disk's EFI system partition; by the image's size when absent.
    pub esp_size: Option<u32>,
    /// MiB of a disk's partition for the node's state; none when absent.
    pub state_size: Option<u32>,
}

/// The firmware of a boot image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FirmwarePlan {
    /// Packages that have firmware, named as the kernel's.
    pub packages: Vec<String>,
    /// Folders that have firmware, relative to the config repository.
    pub folders: Vec<String>,
    /// Names and patterns below `lib/firmware`.
    pub patterns: Vec<String>,
}

/// The certificate authorities that a node believes about an `https` channel's server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Authorities {
    /// None: the channel is not `https`.
    None,
    /// Those of Debian's package `ca-certificates`.
    Debian,
    /// Those of PEM files, by their paths in the config repository.
    Files(Vec<String>),
}

/// A user on the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedUser {
    /// Name.
    pub name: String,
    /// The access group that brings the user.
    pub access_group: String,
    /// Numeric id; the image builder chooses when absent.
    pub uid: Option<u32>,
    /// Login shell.
    pub shell: String,
    /// Further unix groups.
    pub groups: Vec<String>,
    /// Lines for `authorized_keys`.
    pub keys: Vec<String>,
    /// The password's hash; not part of the printed plan.
    #[serde(skip)]
    pub password_hash: Option<PasswordHash>,
    /// sudo rules: what follows the user's name in sudoers(5).
    pub sudo: Vec<String>,
}

/// Something that a plan makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Output {
    /// The runtime flist of a component.
    Flist {
        /// The component.
        name: String,
    },
    /// The boot image, one EFI file.
    Boot,
    /// The signed release that names the others.
    Release,
}

impl Plan {
    /// The component with this name.
    pub fn component(&self, name: &str) -> Option<&PlannedComponent> {
        self.components.iter().find(|component| component.name == name)
    }

    /// The components whose exact state is not known yet.
    pub fn unlocked(&self) -> impl Iterator<Item = &PlannedComponent> {
        self.components.iter().filter(|component| component.needs_lock())
    }
}

impl PlannedComponent {
    /// True when fetching has to find out the exact state first. A folder is taken as it is, as are
    /// the programs of MOS, and a commit is exact by itself.
    pub fn needs_lock(&self) -> bool {
        self.locked.is_none()
            && match &self.source {
                Source::Crate { sha256, .. } | Source::Release { sha256, .. } | Source::Oci { sha256, .. } => {
                    sha256.is_none()
                }
                Source::Git { commit, .. } => commit.is_none(),
                Source::Path { .. } | Source::Mos => false,
            }
    }
}
