//! `access/<group>.toml`: users, their SSH keys and what they may do.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mos_toml::{Document, Item, Position, Problem, Problems, Table};

use crate::names::is_name;

/// The shell of users that name none.
const DEFAULT_SHELL: &str = "/bin/sh";
/// The longest name useradd(8) takes.
const MAXIMUM_USER_NAME: usize = 32;
/// The key types of OpenSSH 9 that are worth accepting (sshd_config(5), PubkeyAcceptedAlgorithms).
const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// A group of people who get the same access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessGroup {
    /// Who they are, for people.
    pub description: String,
    /// Whether these are developers, whom canary and production do not let in.
    pub developers: bool,
    /// The users by name.
    pub users: BTreeMap<String, User>,
}

/// A user on the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Numeric id; given by the image builder when absent.
    pub uid: Option<u32>,
    /// Login shell.
    pub shell: String,
    /// Further unix groups.
    pub groups: Vec<String>,
    /// SSH public keys as `authorized_keys` has them, options included.
    pub keys: Vec<Item<String>>,
    /// What crypt(5) made of the password; no password when absent.
    pub password_hash: Option<PasswordHash>,
    /// sudo rules: what follows the user's name in sudoers(5).
    pub sudo: Vec<Item<String>>,
    /// Where the user stands.
    pub position: Position,
}

/// What crypt(5) made of a password. Never shown: neither by `Debug` nor in a printed plan.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The text for `/etc/shadow`.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(hidden)")
    }
}

impl AccessGroup {
    /// Reads a group's file; whatever is wrong goes to `problems`.
    pub(crate) fn read(document: &Document, problems: &Problems) -> Self {
        let root = document.root(problems);
        let description = root.string("description").unwrap_or_default();
        let developers = root.boolean("developers").unwrap_or(false);
        let users = root.table("users").map(|users| read_users(&users, problems));
        root.finish();
        Self {
            description,
            developers,
            users: users.unwrap_or_default(),
        }
    }
}

fn read_users(users: &Table<'_>, problems: &Problems) -> BTreeMap<String, User> {
    let mut read = BTreeMap::new();
    for (name, user) in users.tables() {
        let good = is_name(name) && name.len() <= MAXIMUM_USER_NAME && !name.contains('.');
        if !good {
            user.report(Problem::error(
                Some(user.position()),
                format!("`{name}` is not a valid user name"),
            ));
        }
        read.insert(name.to_owned(), read_user(user, problems));
    }
    read
}

fn read_user(table: Table<'_>, problems: &Problems) -> User {
    let shell = table.string("shell").unwrap_or_else(|| DEFAULT_SHELL.to_owned());
    if !shell.starts_with('/') || shell.contains([':', '\n']) {
        table.complain("shell", "`shell` is not an absolute path");
    }
    let user = User {
        // 65534 is nobody; 65535 and above do not fit every file system.
        uid: table.integer("uid", 0..=65533).and_then(|uid| uid.try_into().ok()),
        shell,
        groups: read_groups(&table),
        keys: table.string_list("keys"),
        password_hash: read_password(&table),
        sudo: table.string_list("sudo"),
        position: table.position(),
    };
    user.keys.iter().for_each(|key| check_key(key, problems));
    for rule in user
        .sudo
        .iter()
        .filter(|rule| !rule.value.contains('=') || rule.value.contains(char::is_control))
    {
        let message = format!("`{}` is not a sudo rule", rule.value);
        let hint = "write what follows the user in sudoers(5), such as ALL=(root) /usr/bin/true";
        problems.push(Problem::error(Some(rule.position.clone()), message).with_hint(hint));
    }
    table.finish();
    user
}

fn read_groups(table: &Table<'_>) -> Vec<String> {
    let groups = table.string_list("groups");
    for group in groups.iter().filter(|group| !is_name(&group.value)) {
        let message = format!("`{}` is not a valid group name", group.value);
        table.report(Problem::error(Some(group.position.clone()), message));
    }
    groups.into_iter().map(|group| group.value).collect()
}

fn read_password(table: &Table<'_>) -> Option<PasswordHash> {
    let hash = table.string("password_hash")?;
    // crypt(5): `$id$…`; a password typed in clear has no such beginning.
    let good = hash.starts_with('$') && hash.matches('$').count() >= 3 && !hash.contains([':', '\n']);
    if !good {
        table.complain(
            "password_hash",
            "`password_hash` is not a crypt(5) hash, as `mkpasswd -m yescrypt` prints it",
        );
    }
    good.then_some(PasswordHash(hash))
}

fn check_key(key: &Item<String>, problems: &Problems) {
    let report = |message: &str, hint: &str| {
        problems.push(Problem::error(Some(key.position.clone()), message).with_hint(hint));
    };
    if key.value.contains("PRIVATE KEY") {
        report(
            "this is a private key",
            "take it out of the repository, replace it, and put the .pub file's line here",
        );
    } else if let Some(user) = key.value.strip_prefix("github:") {
        let hint =
            format!("put the lines of https://github.com/{user}.keys here: what is signed must not change by itself");
        report("keys are not fetched from GitHub", &hint);
    } else if key.value.contains(char::is_control) || !is_public_key(&key.value) {
        report(
            "this is not an SSH public key",
            "use the one line of a .pub file, such as ssh-ed25519 AAAA… name",
        );
    }
}

/// True when one of the words is a known type and the next is base64 of a blob that begins with the same type
/// (RFC 4253, section 6.6). Words before it are options, words after it a comment.
fn is_public_key(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let place = words.iter().position(|word| KEY_TYPES.contains(word));
    let Some((kind, blob)) = place.and_then(|at| Some((words[at], words.get(at + 1)?))) else {
        return false;
    };
    let Ok(bytes) = STANDARD.decode(blob) else { return false };
    let length = u32::try_from(kind.len()).unwrap_or(u32::MAX).to_be_bytes();
    let named = bytes
        .strip_prefix(&length)
        .and_then(|rest| rest.strip_prefix(kind.as_bytes()));
    named.is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIL6eLMa1DFRGU0eNbCzkyn5YFoHFKDIGaJ3m8BoU7vg ada";

    #[test]
    fn keys_must_be_what_they_say() {
        assert!(is_public_key(KEY));
        assert!(is_public_key(&format!("from=\"10.0.0.0/8\",no-pty {KEY}")));
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-dss AAAAB3NzaC1kc3M=",
            &KEY.replacen("ssh-ed25519", "ssh-rsa", 1),
            &KEY.replace("AAAAC3", "AAAAC*"),
        ] {
            assert!(!is_public_key(bad), "{bad}");
        }
    }

    #[test]
    fn a_password_hash_is_never_shown() {
        let text = "[users.ada]\npassword_hash = \"$y$j9T$salt$secret\"\n";
        let document = Document::parse("access/a.toml", text).unwrap();
        let problems = Problems::default();
        let group = AccessGroup::read(&document, &problems);
        assert!(problems.is_empty(), "{problems}");
        assert!(!format!("{group:?}").contains("secret"));
        assert_eq!(
            group.users["ada"].password_hash.as_ref().unwrap().reveal(),
            "$y$j9T$salt$secret"
        );
    }
}
