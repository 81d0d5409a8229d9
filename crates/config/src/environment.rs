//! `environments/<env>.toml`: which nodes, which versions, whose access.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use mos_architecture::Architecture;
use mos_toml::{Document, Item, Position, Problem, Problems, Table};
use serde::Serialize;

use crate::base::{AlpineSettings, Base, read_architecture, read_base};
use crate::image::{ImageOutput, SizeSettings, check_entries};
use crate::names::{check_inner_path, check_name, is_module};
use crate::source::Request;

/// How long a release is valid when nothing else is said, in days.
const DEFAULT_EXPIRES_DAYS: u32 = 30;
/// Ten years: longer is a mistake.
const MAXIMUM_EXPIRES_DAYS: i64 = 3653;
/// Bytes that a kernel keeps of its command line (COMMAND_LINE_SIZE, arch/x86/include/asm/setup.h and
/// arch/arm64/include/uapi/asm/setup.h), less the final NUL.
const MAXIMUM_COMMAND_LINE: usize = 2047;
/// MiB of an EFI system partition: FAT32 has 65525 clusters at least, and firmware reads 32 GiB.
const ESP_SIZES: RangeInclusive<i64> = 34..=32_768;
/// MiB of a state partition: its journal must fit, and 16 TiB are what 32-bit block numbers reach.
const STATE_SIZES: RangeInclusive<i64> = 8..=16_777_215;

/// The four kinds of environment, from the loosest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentKind {
    /// Newest branches, developers' keys, passwordless sudo.
    Development,
    /// Release candidates, the test team's keys.
    Testing,
    /// What production will get next: its versions, restricted access.
    Canary,
    /// Exact versions only, no developer's key, no passwordless sudo.
    Production,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// How strict it is.
    pub kind: EnvironmentKind,
    /// Where nodes look for releases.
    pub channel: Item<String>,
    /// PEM files with the authorities that may vouch for an `https` channel's server, by their paths in the config
    /// repository; Debian's `ca-certificates` when empty.
    pub ca: Vec<Item<String>>,
    /// The public key that releases must be signed with, by its path in the config repository.
    pub trust: Item<String>,
    /// Which components, in which state.
    pub components: BTreeMap<String, Selection>,
    /// The boot image.
    pub image: ImageSettings,
    /// Where Alpine's packages come from, as far as the project says something else.
    pub alpine: AlpineSettings,
    /// The access groups whose users exist on the nodes.
    pub groups: Vec<Item<String>>,
    /// Releases.
    pub release: Release,
}

/// A component as an environment wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Whether it is there at all.
    pub enabled: bool,
    /// Which state; the component's own default when empty.
    pub request: Request,
    /// Where the selection stands.
    pub position: Position,
}

/// What an environment adds to the boot image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageSettings {
    /// What nodes are; as the project says when absent.
    pub architecture: Option<Item<Architecture>>,
    /// What the root file system begins with; as the project says when absent.
    pub base: Option<Item<Base>>,
    /// Packages of the base beside those of `image/packages.list`.
    pub packages: Vec<Item<String>>,
    /// Kernel modules beside those of `image/modules.conf`.
    pub modules: Vec<Item<String>>,
    /// What is left out of the image beside what the project says, and how large it may become.
    pub size: SizeSettings,
    /// The kernel's command line.
    pub command_line: Option<Item<String>>,
    /// The nodes' name; that of the project when absent.
    pub hostname: Option<Item<String>>,
    /// What the image is shipped as; [`ImageOutput::DEFAULT`] when empty.
    pub outputs: Vec<ImageOutput>,
    /// MiB of a disk's EFI system partition; by the image's size when absent.
    pub esp_size: Option<u32>,
    /// MiB of a disk's partition for the node's state; none when absent.
    pub state_size: Option<u32>,
    /// Who signs the image for Secure Boot: the path of a key and its certificate without `.key` and `.crt`.
    pub secure_boot: Option<Item<String>>,
    /// Whose signed policy for PCR 11 is in the image: a key and its certificate, as in `secure_boot`.
    pub pcr_policy: Option<Item<String>>,
}

/// How releases of an environment are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Days after which a node no longer accepts it.
    pub expires_days: u32,
    /// The oldest sequence that a node may go back to.
    pub minimum_sequence: Option<u64>,
}

impl EnvironmentKind {
    /// The kind that a name speaks of.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "dev" | "development" => Some(Self::Development),
            "test" | "testing" | "staging" => Some(Self::Testing),
            "canary" => Some(Self::Canary),
            "prod" | "production" => Some(Self::Production),
            _ => None,
        }
    }
}

impl fmt::Display for EnvironmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Testing => "testing",
            Self::Canary => "canary",
            Self::Production => "production",
        })
    }
}

impl ImageSettings {
    /// The kernel's command line; when the environment names none, the console is the serial port.
    pub fn command_line(&self, architecture: Architecture) -> String {
        let default = || format!("console={}", architecture.serial_port());
        self.command_line
            .as_ref()
            .map_or_else(default, |item| item.value.clone())
    }
}

impl Environment {
    /// Reads an environment's file; whatever is wrong goes to `problems`.
    pub(crate) fn read(name: &str, document: &Document, problems: &Problems) -> Option<Self> {
        let root = document.root(problems);
        let kind = read_kind(name, &root);
        let channel = root.required_string("channel");
        if let Some(url) = &channel {
            check_channel(&root, &url.value);
        }
        let ca = root.string_list("ca");
        let ca = ca.into_iter().filter(|path| check_inner_path(problems, path)).collect();
        let trust = root.string_item("trust").unwrap_or_else(|| Item {
            value: format!("keys/{name}.pub"),
            position: root.position(),
        });
        check_trust(problems, &trust);
        let components = root.table("components").map(|table| read_components(&table, problems));
        let image = root.table("image").map(|table| read_image(table, problems));
        let alpine = root.table("alpine").map(|table| AlpineSettings::read(table, problems));
        let groups = root.table("access").map(read_access);
        let release = read_release(root.table("release"));
        root.finish();
        Some(Self {
            kind: kind?,
            channel: channel?,
            ca,
            trust,
            components: components.unwrap_or_default(),
            image: image.unwrap_or_default(),
            alpine: alpine.unwrap_or_default(),
            groups: groups.unwrap_or_default(),
            release,
        })
    }
}

fn read_kind(name: &str, root: &Table<'_>) -> Option<EnvironmentKind> {
    if !root.has("kind") {
        let kind = EnvironmentKind::from_name(name);
        if kind.is_none() {
            let problem = Problem::error(
                Some(root.position()),
                format!("missing key `kind`: the name `{name}` does not say which it is"),
            );
            root.report(problem.with_hint("use one of: development, testing, canary, production"));
        }
        return kind;
    }
    let kinds = [
        ("development", EnvironmentKind::Development),
        ("testing", EnvironmentKind::Testing),
        ("canary", EnvironmentKind::Canary),
        ("production", EnvironmentKind::Production),
    ];
    root.choice("kind", &kinds)
}

fn check_channel(root: &Table<'_>, url: &str) {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    match host {
        Some(host) if host.contains('@') => {
            root.complain("channel", "`channel` carries a user name: every node would have it");
        }
        Some(host) if !host.is_empty() && !url.contains(char::is_whitespace) => {}
        _ => root.complain("channel", "`channel` is not an http:// or https:// URL"),
    }
}

fn check_trust(problems: &Problems, trust: &Item<String>) {
    if check_inner_path(problems, trust) && !trust.value.ends_with(".pub") {
        let message = format!("`{}` is not a public key", trust.value);
        let hint = "`mos keys new` writes keys/<env>.key, which stays secret, and keys/<env>.pub, which goes here";
        problems.push(Problem::error(Some(trust.position.clone()), message).with_hint(hint));
    }
}

fn read_components(table: &Table<'_>, problems: &Problems) -> BTreeMap<String, Selection> {
    let mut read = BTreeMap::new();
    for (name, selection) in table.tables() {
        let position = selection.position();
        check_name(problems, "a component", name, Some(position.clone()));
        let enabled = selection.boolean("enabled").unwrap_or(true);
        let request = Request::read(&selection);
        selection.finish();
        let selection = Selection {
            enabled,
            request,
            position,
        };
        read.insert(name.to_owned(), selection);
    }
    read
}

fn read_image(image: Table<'_>, problems: &Problems) -> ImageSettings {
    let settings = ImageSettings {
        architecture: read_architecture(&image),
        base: read_base(&image),
        packages: image.string_list("packages"),
        modules: image.string_list("modules"),
        size: SizeSettings::read(&image, problems),
        command_line: image.string_item("command_line"),
        hostname: image.string_item("hostname"),
        outputs: read_outputs(&image, problems),
        esp_size: read_size(&image, "esp_size", ESP_SIZES),
        state_size: read_size(&image, "state_size", STATE_SIZES),
        secure_boot: image.string_item("secure_boot"),
        pcr_policy: image.string_item("pcr_policy"),
    };
    check_entries(&settings.modules, is_module, "the name of a kernel module", problems);
    if let Some(line) = &settings.command_line {
        check_command_line(&image, &line.value);
    }
    if settings.hostname.as_ref().is_some_and(|name| !is_hostname(&name.value)) {
        image.complain("hostname", "`hostname` is not a host name (RFC 1123)");
    }
    image.finish();
    settings
}

fn read_outputs(image: &Table<'_>, problems: &Problems) -> Vec<ImageOutput> {
    let mut outputs = Vec::new();
    for name in image.string_list("outputs") {
        match ImageOutput::from_name(&name.value) {
            Some(kind) => outputs.push(kind),
            None => {
                let names: Vec<&str> = ImageOutput::ALL.iter().map(|(name, _)| *name).collect();
                let problem = Problem::error(Some(name.position), format!("`{}` is no kind of output", name.value));
                problems.push(problem.with_hint(format!("use some of: {}", names.join(", "))));
            }
        }
    }
    outputs
}

fn read_size(image: &Table<'_>, key: &'static str, range: RangeInclusive<i64>) -> Option<u32> {
    image.integer(key, range).and_then(|size| size.try_into().ok())
}

fn check_command_line(image: &Table<'_>, line: &str) {
    if line.trim().is_empty() {
        let message = "`command_line` is empty: firmware would start the kernel blind; leave it out for the default";
        image.complain("command_line", message);
    }
    if line.contains(char::is_control) {
        image.complain("command_line", "`command_line` has a control character in it");
    }
    if line.len() > MAXIMUM_COMMAND_LINE {
        let message = format!("`command_line` is longer than the {MAXIMUM_COMMAND_LINE} bytes a kernel reads");
        image.complain("command_line", message);
    }
}

/// RFC 1123, section 2.1: labels of letters, digits and inner hyphens, 63 at most; Linux keeps 64 in all.
fn is_hostname(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.len() <= 64 && name.split('.').all(label)
}

fn read_access(access: Table<'_>) -> Vec<Item<String>> {
    let groups = access.string_list("groups");
    access.finish();
    groups
}

fn read_release(release: Option<Table<'_>>) -> Release {
    let mut read = Release {
        expires_days: DEFAULT_EXPIRES_DAYS,
        minimum_sequence: None,
    };
    if let Some(release) = release {
        let days = release.integer("expires_days", 1..=MAXIMUM_EXPIRES_DAYS);
        read.expires_days = days
            .and_then(|days| days.try_into().ok())
            .unwrap_or(DEFAULT_EXPIRES_DAYS);
        let sequence = release.integer("minimum_sequence", 1..=i64::MAX);
        read.minimum_sequence = sequence.and_then(|sequence| sequence.try_into().ok());
        release.finish();
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> (Option<Environment>, String) {
        let document = Document::parse("environments/x.toml", text).unwrap();
        let problems = Problems::default();
        let environment = Environment::read(name, &document, &problems);
        (environment, problems.to_string())
    }

    #[test]
    fn the_name_gives_kind_and_key() {
        let (environment, problems) = read("production", "channel = \"https://example.org/mos\"\n");
        assert_eq!(problems, "");
        let environment = environment.unwrap();
        assert_eq!(environment.kind, EnvironmentKind::Production);
        assert_eq!(environment.trust.value, "keys/production.pub");
        assert_eq!(environment.release.expires_days, DEFAULT_EXPIRES_DAYS);
    }

    #[test]
    fn an_image_is_signed_by_the_key_that_is_named() {
        let text = "channel = \"https://example.org/mos\"\n[image]\nsecure_boot = \"keys/secure-boot/db\"\n\
                    pcr_policy = \"keys/secure-boot/pcr\"\n";
        let (environment, problems) = read("production", text);
        assert_eq!(problems, "");
        let image = environment.unwrap().image;
        assert_eq!(image.secure_boot.unwrap().value, "keys/secure-boot/db");
        assert_eq!(image.pcr_policy.unwrap().value, "keys/secure-boot/pcr");
    }

    #[test]
    fn an_unknown_name_must_say_its_kind() {
        let (environment, problems) = read("lab", "channel = \"http://lab\"\n");
        assert_eq!(environment, None);
        assert!(problems.contains("missing key `kind`"), "{problems}");
        let (environment, problems) = read("lab", "kind = \"canary\"\nchannel = \"http://lab\"\n");
        assert_eq!(
            (environment.unwrap().kind, problems.as_str()),
            (EnvironmentKind::Canary, "")
        );
    }

    #[test]
    fn a_kernel_without_command_line_is_refused() {
        let (_, problems) = read("dev", "channel = \"http://lab\"\n[image]\ncommand_line = \" \"\n");
        assert!(problems.contains("x.toml:3"), "{problems}");
        assert!(problems.contains("would start the kernel blind"), "{problems}");
    }

    #[test]
    fn outputs_and_sizes_of_disks() {
        let head = "channel = \"https://example.org\"\n[image]\n";
        let (environment, problems) = read(
            "dev",
            &format!("{head}outputs = [\"iso\", \"raw\"]\nstate_size = 512\n"),
        );
        assert_eq!(problems, "");
        let image = environment.unwrap().image;
        assert_eq!(image.outputs, [ImageOutput::Iso, ImageOutput::Raw]);
        assert_eq!((image.esp_size, image.state_size), (None, Some(512)));
        let (_, problems) = read("dev", &format!("{head}outputs = [\"vhd\"]\nesp_size = 1\n"));
        for expected in [
            "x.toml:3:12: `vhd` is no kind of output",
            "qcow2",
            "x.toml:4",
            "34 to 32768",
        ] {
            assert!(problems.contains(expected), "{problems}");
        }
    }

    #[test]
    fn what_is_kept_and_removed_is_patterns_and_the_budget_has_a_unit() {
        let head = "channel = \"https://example.org\"\n[image]\n";
        let text =
            format!("{head}keep = [\"/usr/share/doc/*/copyright\"]\nremove = [\"usr/games\"]\nbudget = \"16 MB\"\n");
        let (environment, problems) = read("dev", &text);
        assert_eq!(problems, "");
        let size = environment.unwrap().image.size;
        assert_eq!(size.keep[0].value, "usr/share/doc/*/copyright");
        assert_eq!(
            (size.remove[0].value.as_str(), size.budget),
            ("usr/games", Some(16_000_000))
        );
        let (_, problems) = read("dev", &format!("{head}remove = [\"../x\"]\nbudget = \"16\"\n"));
        assert!(
            problems.contains("x.toml:3:11: `../x` is not a path or pattern below the root"),
            "{problems}"
        );
        assert!(
            problems.contains("x.toml:4:10: `16` is no number of bytes"),
            "{problems}"
        );
    }

    #[test]
    fn host_names() {
        for good in ["mos", "node-1.lab.example"] {
            assert!(is_hostname(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "a_b", &"a".repeat(64)] {
            assert!(!is_hostname(bad), "{bad}");
        }
    }
}
