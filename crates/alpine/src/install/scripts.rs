//! What the scripts of packages would do, as far as it is known. None is run.
//!
//! A script that consists of nothing but calls of `addgroup`, `adduser` and of BusyBox that makes its links is done
//! here; some are known by the name of their package. All others are told to the caller, who knows whether they matter.

use mos_tree::Tree;

use super::accounts::{Account, Accounts};
use super::database::InstalledPackage;
use crate::apk::ScriptKind;
use crate::{AlpineError, Package};

/// Where packages of BusyBox list their commands.
const BUSYBOX_PATHS: &str = "etc/busybox-paths.d";

/// Something that a script does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Makes an account.
    Account(Account),
    /// Links to BusyBox, one for each of its commands.
    LinkBusybox,
    /// `/etc/shadow` belongs to the group `shadow`.
    ShadowGroup,
}

/// A script that was not run, and whose work was not done otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScriptNotRun {
    /// Name and version of its package.
    pub package: String,
    /// When it would have been run.
    pub kind: ScriptKind,
}

/// What a script would do; `None` when that is not known.
pub(crate) fn actions(package: &Package, kind: ScriptKind, script: &[u8]) -> Option<Vec<Action>> {
    match (package.name.as_str(), kind) {
        ("alpine-baselayout", ScriptKind::PostInstall | ScriptKind::PostUpgrade) => Some(vec![Action::ShadowGroup]),
        // Makes links when commands have come or gone, and calls depmod: the modules of an image bring their own tables.
        ("busybox", ScriptKind::Trigger) => Some(vec![Action::LinkBusybox]),
        ("busybox", ScriptKind::PostUpgrade) => Some(vec![Action::LinkBusybox]),
        _ => parse(std::str::from_utf8(script).ok()?),
    }
}

fn parse(script: &str) -> Option<Vec<Action>> {
    let mut actions = Vec::new();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let words = words(line)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["exit", "0"] => break,
            ["true" | ":"] => {}
            ["/bin/busybox", "mkdir", "-p", directories @ ..]
                if directories
                    .iter()
                    .all(|one| matches!(*one, "/bin" | "/sbin" | "/usr/bin" | "/usr/sbin")) => {}
            ["/bin/busybox", "--install", "-s"] => actions.push(Action::LinkBusybox),
            words => actions.push(Action::Account(Account::parse(words)?)),
        }
    }
    Some(actions)
}

/// The words of a command, without what becomes of its output and of its failure; `None` for anything that a shell
/// would expand, connect or redirect.
fn words(line: &str) -> Option<Vec<String>> {
    let (command, fallback) = line.split_once("||").unwrap_or((line, ":"));
    if !matches!(fallback.trim(), ":" | "true" | "exit 0" | "exit 1") {
        return None;
    }
    let mut words = Vec::new();
    let mut letters = command.trim().chars().peekable();
    while let Some(first) = letters.peek().copied() {
        if first.is_whitespace() {
            letters.next();
            continue;
        }
        words.push(word(&mut letters)?);
    }
    let is_redirection = |word: &str| {
        matches!(
            word,
            "2>/dev/null" | ">/dev/null" | "1>/dev/null" | "&>/dev/null" | "2>&1"
        )
    };
    words.retain(|word| !is_redirection(word));
    let expands = |word: &String| word.contains(['$', '`', '\\', '<', '>', '&', '|', ';', '*', '?', '(', ')', '{']);
    (!words.iter().any(expands)).then_some(words)
}

fn word(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut word = String::new();
    while let Some(letter) = letters.peek().copied().filter(|letter| !letter.is_whitespace()) {
        letters.next();
        if letter != '"' && letter != '\'' {
            word.push(letter);
            continue;
        }
        loop {
            match letters.next()? {
                end if end == letter => break,
                inner => word.push(inner),
            }
        }
    }
    Some(word)
}

/// Does it.
pub(crate) fn apply(tree: &mut Tree, accounts: &mut Accounts, action: &Action) -> Result<(), AlpineError> {
    match action {
        Action::Account(account) => accounts.apply(account),
        Action::LinkBusybox => link_busybox(tree)?,
        Action::ShadowGroup => {
            if let (Some(id), Some(gid)) = (tree.follow("etc/shadow"), accounts.gid("shadow")) {
                tree.inode_mut(id).metadata.gid = gid;
            }
        }
    }
    Ok(())
}

/// Links where nothing stands, as `busybox --install -s` does, from the lists that the packages bring along: the
/// program itself may be for another machine.
fn link_busybox(tree: &mut Tree) -> Result<(), AlpineError> {
    for (list, program) in [("busybox", "/bin/busybox"), ("busybox-extras", "/bin/busybox-extras")] {
        let Some(paths) = super::database::file(tree, &format!("{BUSYBOX_PATHS}/{list}"))? else {
            continue;
        };
        for path in String::from_utf8_lossy(&paths).lines().filter(|path| !path.is_empty()) {
            let place = tree.resolve_parent(path)?;
            if tree.find(&place).is_none() {
                tree.insert_symlink(&place, program)?;
            }
        }
    }
    Ok(())
}

/// True when installing these packages would have run a package's trigger: they bring a directory that it watches.
pub(crate) fn is_triggered(triggers: &[String], installed: &[InstalledPackage]) -> bool {
    let directories = || installed.iter().flat_map(|one| &one.directories);
    triggers.iter().any(|pattern| {
        let pattern = pattern.trim_start_matches(['+', '/']);
        directories().any(|directory| matches_glob(pattern.as_bytes(), directory.path.as_bytes()))
    })
}

/// `*` stands for any letters but a slash, `?` for one of them (fnmatch(3) with `FNM_PATHNAME`).
fn matches_glob(pattern: &[u8], path: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < path.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') if path[t] != b'/' => (p, t) = (p + 1, t + 1),
            Some(letter) if *letter == path[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) if path[from] != b'/' => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_known_commands_are_understood() {
        let script = "#!/bin/busybox sh\n\n# early\n/bin/busybox mkdir -p \"/bin\" \"/usr/sbin\"\n\
             /bin/busybox --install -s || exit 1\naddgroup -S klogd 2>/dev/null\n\
             adduser -S -g 'kernel log' -G klogd klogd >/dev/null 2>&1 || true\nexit 0\nrm -rf /\n";
        let actions = parse(script).unwrap();
        assert_eq!(actions.len(), 3);
        assert_eq!(actions[0], Action::LinkBusybox);
        let Action::Account(Account::User(user)) = &actions[2] else {
            panic!("{:?}", actions[2])
        };
        assert_eq!(user.comment.as_deref(), Some("kernel log"));
    }

    #[test]
    fn anything_else_is_not() {
        for line in [
            "rm x",
            "addgroup -S a; rm x",
            "addgroup $name",
            "addgroup -S a && rm x",
            "addgroup -S a || rm x",
            "addgroup -S a > /etc/passwd",
            "adduser 'open",
            "exit 1",
            "if true; then",
            "/bin/busybox mkdir -p /etc",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(actions(&Package::default(), ScriptKind::PostInstall, b"\xff"), None);
    }

    #[test]
    fn triggers_watch_directories() {
        for (pattern, path, expected) in [
            ("usr/lib/*", "usr/lib/x", true),
            ("usr/lib/*", "usr/lib", false),
            ("usr/lib/*", "usr/lib/x/y", false),
            ("lib/modules/*", "lib/modules/6.1", true),
            ("bin", "bin", true),
            ("b?n", "bin", true),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xaxxbx", false),
            ("", "", true),
        ] {
            assert_eq!(
                matches_glob(pattern.as_bytes(), path.as_bytes()),
                expected,
                "{pattern} {path}"
            );
        }
    }
}
