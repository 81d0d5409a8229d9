//! Whether the settings that were wanted are in what came out, and why not.

use std::fmt;
use std::path::Path;

use mos_config::KernelSetting;
use mos_toml::nearest;

use crate::dotconfig::Values;
use crate::kconfig::{Definition, Kconfig, Tristate, conjuncts, evaluate};

/// What a node cannot do without, and what for.
const NEEDED: [(&str, &str); 13] = [
    ("BINFMT_ELF", "programs"),
    ("BLK_DEV_INITRD", "the initramfs"),
    ("DEVTMPFS", "/dev"),
    ("EPOLL", "my_init"),
    ("FUTEX", "programs with threads"),
    ("INET", "the network"),
    ("MULTIUSER", "users"),
    ("PRINTK", "messages on the console"),
    ("PROC_FS", "/proc"),
    ("SIGNALFD", "my_init"),
    ("SYSFS", "/sys"),
    ("TMPFS", "/run"),
    ("UNIX", "my_init's socket"),
];

/// Settings that did not take, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Each with its explanation.
    pub settings: Vec<RefusedSetting>,
}

/// A setting that did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSetting {
    /// Who asks for it: file and line.
    pub place: String,
    /// Without `CONFIG_`.
    pub name: String,
    /// What is asked for.
    pub wanted: String,
    /// What it is; nothing when it is off.
    pub got: Option<String>,
    /// Why, one line each; empty when the kernel's files do not tell.
    pub why: Vec<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.settings.len();
        let plural = if count == 1 { "setting is" } else { "settings are" };
        write!(f, "{count} {plural} not in the kernel's configuration:")?;
        self.settings.iter().try_for_each(|setting| write!(f, "\n{setting}"))
    }
}

impl fmt::Display for RefusedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place, name, wanted, ..
        } = self;
        write!(f, "{place}: CONFIG_{name}: wanted {wanted}, got ")?;
        match &self.got {
            Some(got) => write!(f, "{got}")?,
            None => write!(f, "nothing: it is not set")?,
        }
        self.why.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Compares what was wanted with what came out. `source` is where the kernel's files say why: its folder, and that of the
/// architecture in `arch/`.
///
/// # Errors
/// [`Refused`], with every setting that did not take.
pub(crate) fn check(wanted: &[KernelSetting], got: &Values, source: Option<(&Path, &str)>) -> Result<(), Refused> {
    let took = |setting: &KernelSetting| match got.get(&setting.name) {
        Some(value) => *value == setting.value,
        None => setting.value == "n",
    };
    let missed: Vec<&KernelSetting> = wanted.iter().filter(|setting| !took(setting)).collect();
    if missed.is_empty() {
        return Ok(());
    }
    let kconfig = source.map(|(tree, architecture)| Kconfig::read(tree, architecture));
    let explained = missed.into_iter().map(|setting| RefusedSetting {
        place: setting.place.clone(),
        name: setting.name.clone(),
        wanted: setting.value.clone(),
        got: got.get(&setting.name).cloned(),
        why: kconfig
            .as_ref()
            .map_or(Vec::new(), |kconfig| explain(setting, got, kconfig)),
    });
    Err(Refused {
        settings: explained.collect(),
    })
}

/// What a node needs, as settings; `extra` are those that this image needs, and what for.
pub(crate) fn needed(extra: &[(&str, &str)]) -> Vec<KernelSetting> {
    let all = NEEDED.iter().chain(extra);
    all.map(|(name, what)| KernelSetting {
        name: (*name).to_owned(),
        value: "y".to_owned(),
        place: format!("a node needs it for {what}"),
    })
    .collect()
}

fn explain(setting: &KernelSetting, got: &Values, kconfig: &Kconfig) -> Vec<String> {
    let definitions = kconfig.definitions(&setting.name);
    if definitions.is_empty() {
        return vec![match nearest(&setting.name, kconfig.names()) {
            Some(near) => format!("this kernel has no such setting; did you mean CONFIG_{near}?"),
            None => "this kernel has no such setting".to_owned(),
        }];
    }
    if setting.value == "n" {
        return vec!["another setting turns it on: look for `select` and `default` in its Kconfig file".to_owned()];
    }
    if setting.value == "m" && !got.contains_key("MODULES") {
        return vec!["modules are off: CONFIG_MODULES is not set".to_owned()];
    }
    let mut lines = Vec::new();
    for definition in definitions {
        lines.extend(unmet(definition, Tristate::of(Some(&setting.value)), got));
    }
    lines
}

/// What keeps one definition of a symbol from that value.
fn unmet(definition: &Definition, wanted: Tristate, got: &Values) -> Option<String> {
    let all: Vec<String> = definition.depends.iter().flat_map(|text| conjuncts(text)).collect();
    let short = all.iter().filter(|condition| evaluate(condition, got) < wanted);
    let short: Vec<&str> = short.map(String::as_str).collect();
    if !short.is_empty() {
        return Some(format!(
            "it depends on {}; not met: {}",
            all.join(" && "),
            short.join(", ")
        ));
    }
    match &definition.prompt {
        None => Some("it cannot be asked for: other settings turn it on (`select`, `default`)".to_owned()),
        Some(Some(condition)) if evaluate(condition, got) < wanted => {
            Some(format!("it can only be chosen with {condition}, which is not met"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = "config BLOCK\n\tbool \"block\"\nif MISC\nconfig EROFS_FS\n\ttristate \"EROFS\"\n\tdepends on BLOCK\nendif\n\
                         config SECRET\n\tbool\nconfig TUNED\n\tbool \"t\" if EXPERT\nconfig FORCED\n\tbool \"f\"\n";

    fn refused(wanted: &[(&str, &str)], got: &[(&str, &str)]) -> String {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("Kconfig"), FILES).unwrap();
        let wanted: Vec<KernelSetting> = wanted
            .iter()
            .zip(1..)
            .map(|((name, value), line)| KernelSetting {
                name: (*name).into(),
                value: (*value).into(),
                place: format!("k:{line}"),
            })
            .collect();
        let got: Values = got
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        match check(&wanted, &got, Some((tree.path(), "x86"))) {
            Ok(()) => String::new(),
            Err(refused) => refused.to_string(),
        }
    }

    #[test]
    fn every_setting_that_did_not_take_is_told_with_its_reason() {
        let wanted = [
            ("BLOCK", "y"),
            ("EROFS_FS", "m"),
            ("EROFS_FZ", "y"),
            ("SECRET", "y"),
            ("TUNED", "y"),
            ("FORCED", "n"),
            ("GONE", "n"),
        ];
        let got = [("BLOCK", "y"), ("FORCED", "y"), ("MODULES", "y")];
        assert_eq!(
            refused(&wanted, &got),
            "5 settings are not in the kernel's configuration:\n\
             k:2: CONFIG_EROFS_FS: wanted m, got nothing: it is not set\n    it depends on MISC && BLOCK; not met: MISC\n\
             k:3: CONFIG_EROFS_FZ: wanted y, got nothing: it is not set\n    this kernel has no such setting; did you mean CONFIG_EROFS_FS?\n\
             k:4: CONFIG_SECRET: wanted y, got nothing: it is not set\n    it cannot be asked for: other settings turn it on (`select`, `default`)\n\
             k:5: CONFIG_TUNED: wanted y, got nothing: it is not set\n    it can only be chosen with EXPERT, which is not met\n\
             k:6: CONFIG_FORCED: wanted n, got y\n    another setting turns it on: look for `select` and `default` in its Kconfig file"
        );
    }

    #[test]
    fn a_module_without_modules_and_a_module_dependency_are_told() {
        assert!(refused(&[("EROFS_FS", "m")], &[]).contains("CONFIG_MODULES is not set"));
        let text = refused(
            &[("EROFS_FS", "y")],
            &[("EROFS_FS", "m"), ("BLOCK", "m"), ("MISC", "y")],
        );
        assert!(
            text.contains("1 setting is not") && text.contains("wanted y, got m"),
            "{text}"
        );
        assert!(text.ends_with("not met: BLOCK"), "{text}");
    }

    #[test]
    fn what_took_is_no_problem() {
        let got = [("BLOCK", "y"), ("HZ", "250")];
        assert_eq!(refused(&[("BLOCK", "y"), ("HZ", "250"), ("SECRET", "n")], &got), "");
        assert!(needed(&[("EFI_STUB", "x")]).iter().any(|it| it.name == "EFI_STUB"));
    }
}
