//! Whether the conditions of a service hold, asked right before it is started.

use std::fs;
use std::path::Path;

use mos_service::Condition;

use crate::boot::command_line::words;

/// The first condition that does not hold, in words.
pub(super) fn unmet(conditions: &[Condition]) -> Option<String> {
    let first = conditions.iter().find(|condition| !holds(condition, "/proc/cmdline"));
    first.map(Condition::unmet)
}

/// `command_line` is the file with the arguments of the kernel.
fn holds(condition: &Condition, command_line: &str) -> bool {
    // A link to nowhere is no file, as with systemd's conditions.
    let exists = |path: &str| Path::new(path).exists();
    let given = |is: &dyn Fn(&str) -> bool| {
        let text = crate::lossy::read(command_line).unwrap_or_default();
        words(&text).iter().any(|word| is(word))
    };
    match condition {
        Condition::PathExists(path) => exists(path),
        Condition::PathNotExists(path) => !exists(path),
        Condition::DirectoryNotEmpty(path) => fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()),
        Condition::KernelArgument(argument) => given(&|word| argument.is(word)),
        Condition::NoKernelArgument(argument) => !given(&|word| argument.is(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_holds_when_it_says() {
        let root = tempfile::tempdir().unwrap();
        let place = |name: &str| root.path().join(name).display().to_string();
        fs::create_dir_all(place("full/thing")).unwrap();
        fs::create_dir(place("empty")).unwrap();
        fs::write(place("file"), "quiet runmode=dev \"a b\"=c\n").unwrap();
        std::os::unix::fs::symlink(place("nowhere"), place("link")).unwrap();
        let check = |key: &str, value: &str| {
            let text = format!("[service]\nexec = \"x\"\n[conditions]\n{key} = ['{value}']\n");
            let parsed = mos_service::parse("a.toml", &text);
            assert_eq!(parsed.problems, []);
            holds(&parsed.service.unwrap().conditions[0], &place("file"))
        };
        for (name, exists) in [("file", true), ("empty", true), ("link", false), ("nowhere", false)] {
            assert_eq!(check("path_exists", &place(name)), exists, "{name}");
            assert_eq!(check("path_not_exists", &place(name)), !exists, "{name}");
        }
        for (name, full) in [("full", true), ("empty", false), ("file", false), ("nowhere", false)] {
            assert_eq!(check("directory_not_empty", &place(name)), full, "{name}");
        }
        for (argument, given) in [
            ("quiet", true),
            ("runmode", true),
            ("runmode=dev", true),
            ("runmode=prod", false),
        ] {
            assert_eq!(check("kernel_argument", argument), given, "{argument}");
            assert_eq!(check("no_kernel_argument", argument), !given, "{argument}");
        }
    }
}
