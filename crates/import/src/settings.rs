//! `config/build.conf`: what of it still says something; and what is odd about `my_init.conf`.

use std::collections::BTreeMap;

use mos_architecture::Architecture;
use mos_toml::{Position, Problem, Problems};

use crate::checkout::Checkout;
use mos_service::yaml::Conf;

/// What a build is told besides its lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Alpine's release as a folder of a mirror: `v3.22`.
    pub(crate) release: Option<String>,
    pub(crate) mirror: Option<String>,
    /// What nodes are.
    pub(crate) architecture: Option<Architecture>,
    /// The kernel's version, such as 6.12.44.
    pub(crate) kernel: Option<String>,
}

/// Variables of `build.conf` that need no counterpart: folders, caches and switches of the scripts.
const PASSED_OVER: [&str; 11] = [
    "INSTALL_DIR",
    "COMPONENTS_DIR",
    "KERNEL_DIR",
    "DIST_DIR",
    "OPTIMIZATION_LEVEL",
    "DEBUG",
    "FIRMWARE_TAG",
    "UPLOAD_KERNEL",
    "UPLOAD_MANIFESTS",
    "KERNEL_SUBPATH",
    "MANIFESTS_SUBPATH",
];
/// Where `my_init.conf` may be.
const MY_INIT: [&str; 2] = ["config/my_init/my_init.conf", "configs/my_init/my_init.conf"];
impl Settings {
    pub(crate) fn read(checkout: &Checkout, problems: &Problems) -> Self {
        let text = checkout.text(crate::BUILD).unwrap_or_default();
        let mut settings = Self::default();
        for (line, (name, value)) in assignments(&text) {
            let warn = |message: String| {
                let position = place(crate::BUILD, line);
                problems.push(Problem::warning(Some(position), message));
            };
            match name {
                "ALPINE_VERSION" => settings.release = Some(release(&value)),
                "ALPINE_MIRROR" => settings.mirror = Some(value),
                // Both say it, and must say the same: programs and packages are for one machine.
                "ALPINE_ARCH" | "RUST_TARGET" => match value.split('-').next().unwrap_or_default().parse() {
                    Ok(architecture) => settings.architecture = Some(architecture),
                    Err(error) => warn(format!("`{name}` is left out: {error}")),
                },
                "KERNEL_VERSION" => {
                    warn(format!(
                        "the kernel {value} is compiled from the Debian package of its series; [kernel] `source` takes the URL of an \
                         archive too"
                    ));
                    settings.kernel = Some(value);
                }
                name if PASSED_OVER.contains(&name) => {}
                name => warn(format!("`{name}` has no counterpart and is left out")),
            }
        }
        my_init(checkout, problems);
        settings
    }
}

/// `3.22` and `3.22.1` are in `v3.22`; `edge` is in `edge`.
fn release(version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => format!("v{major}.{minor}"),
        _ => version.to_owned(),
    }
}

/// `NAME=VALUE` of a shell file by line. `${NAME:-VALUE}` is its default, since nothing is set here.
fn assignments(text: &str) -> Vec<(usize, (&str, String))> {
    let assignment = |line: &'_ str| -> Option<(usize, usize)> {
        let name = line.strip_prefix("export ").unwrap_or(line);
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let (name, _) = name.split_once('=')?;
        let start = line.len() - line.strip_prefix("export ").unwrap_or(line).len();
        (!name.is_empty() && name.chars().all(plain)).then_some((start, start + name.len()))
    };
    let lines = (1..).zip(text.lines().map(str::trim));
    let found = lines.filter_map(|(number, line)| {
        let (start, end) = assignment(line)?;
        Some((number, (&line[start..end], value(&line[end + 1..]))))
    });
    // As in a shell, the last assignment counts.
    let mut by_name: BTreeMap<&str, (usize, (&str, String))> = BTreeMap::new();
    for entry in found {
        by_name.insert(entry.1.0, entry);
    }
    by_name.into_values().collect()
}

fn value(text: &str) -> String {
    let text = text.trim();
    let inner = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text[1..].split(quote).next().unwrap_or_default(),
        _ => text.split_whitespace().next().unwrap_or_default(),
    };
    let default = inner.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let default = default.and_then(|rest| rest.split_once(":-"));
    default.map_or(inner, |(_, default)| default).to_owned()
}

/// `my_init.conf` goes into the image as it is: what my_init would say of it is said now.
fn my_init(checkout: &Checkout, problems: &Problems) {
    let found = MY_INIT.iter().find_map(|path| Some((*path, checkout.text(path)?)));
    let Some((path, text)) = found else { return };
    let (_, found) = Conf::parse(path, &text);
    found.into_iter().for_each(|problem| problems.push(problem));
}

fn place(file: &str, line: usize) -> Position {
    Position {
        file: file.to_owned(),
        line,
        column: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::File;

    fn read(files: &[(&str, &str)]) -> (Settings, String) {
        let file = |text: &str| File {
            bytes: text.as_bytes().to_vec(),
            executable: false,
        };
        let checkout = Checkout {
            name: "x".to_owned(),
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), file(text)))
                .collect(),
        };
        let problems = Problems::default();
        let settings = Settings::read(&checkout, &problems);
        (settings, problems.to_string())
    }

    #[test]
    fn programs_and_packages_are_for_what_either_says() {
        for line in [
            "export RUST_TARGET=\"aarch64-unknown-linux-musl\"\n",
            "export ALPINE_ARCH=\"aarch64\"\n",
        ] {
            let (settings, problems) = read(&[(crate::BUILD, line)]);
            assert_eq!(
                (settings.architecture, problems.as_str()),
                (Some(Architecture::Aarch64), "")
            );
        }
        let (settings, problems) = read(&[(crate::BUILD, "ALPINE_ARCH=riscv64\n")]);
        assert_eq!(settings.architecture, None);
        assert!(
            problems.contains("`ALPINE_ARCH` is left out: nodes are no `riscv64`"),
            "{problems}"
        );
    }

    #[test]
    fn versions_are_taken_from_build_conf() {
        let text = "# versions\nALPINE_VERSION=\"${ALPINE_VERSION:-3.22}\"\nexport KERNEL_VERSION='6.12.44' # long term\n\
                    INSTALL_DIR=\"initramfs\"\nZEROOS_BRANDING=true\nif true; then\nfi\n";
        let (settings, problems) = read(&[(crate::BUILD, text)]);
        assert_eq!(settings.release.as_deref(), Some("v3.22"));
        assert_eq!(settings.kernel.as_deref(), Some("6.12.44"));
        assert!(
            problems.contains("warning: config/build.conf:3:1: the kernel 6.12.44 is compiled"),
            "{problems}"
        );
        assert!(
            problems.contains("warning: config/build.conf:5:1: `ZEROOS_BRANDING` has no counterpart"),
            "{problems}"
        );
        assert_eq!(problems.lines().count(), 2, "{problems}");
        assert_eq!(settings.architecture, None);
        assert_eq!(release("3.20.3"), "v3.20");
        assert_eq!(release("edge"), "edge");
    }

    #[test]
    fn my_init_conf_is_checked() {
        let text = "log_level: debug\ninit:\n  - load-modules\n  - networking\n  - services\n";
        assert_eq!(read(&[(MY_INIT[0], text)]).1, "");
        let (_, problems) = read(&[(MY_INIT[0], "init: [services, dance]\ncolour: red\n")]);
        assert!(
            problems.contains("my_init.conf:1:18: unknown stage `dance`"),
            "{problems}"
        );
        assert!(
            problems.contains("my_init.conf:2:1: unknown key `colour`"),
            "{problems}"
        );
    }
}
