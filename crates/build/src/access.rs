//! The people who may use a node: accounts, keys and sudo rules laid into the root filesystem. Pure.

use std::collections::BTreeMap;

use mos_config::PlannedUser;
use mos_tree::{Inode, Kind, Metadata, Tree};

use crate::BuildError;

/// The first id given to a user that names none, as adduser(8) does.
const FIRST_UID: u32 = 1000;
/// A password field that no password matches (shadow(5)).
const NO_PASSWORD: &str = "!";

/// Adds the users to `etc/passwd`, `etc/group` and `etc/shadow`, and makes their homes, keys and sudo rules.
///
/// # Errors
/// When a unix group does not exist, or an id is taken twice.
pub(crate) fn add_users(tree: &mut Tree, users: &[PlannedUser]) -> Result<(), BuildError> {
    if users.is_empty() {
        return Ok(());
    }
    let mut accounts = Accounts::read(tree)?;
    for user in users {
        let uid = accounts.add(user)?;
        add_home(tree, user, uid)?;
        add_sudo(tree, user)?;
    }
    accounts.write(tree)
}

/// The three account files, as lines.
struct Accounts {
    passwd: String,
    group: Vec<String>,
    shadow: String,
    taken: BTreeMap<u32, String>,
}

impl Accounts {
    fn read(tree: &Tree) -> Result<Self, BuildError> {
        let passwd = text(tree, "etc/passwd")?;
        let taken = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((fields.nth(1)?.parse().ok()?, name))
        });
        Ok(Self {
            taken: taken.collect(),
            group: text(tree, "etc/group")?.lines().map(str::to_owned).collect(),
            shadow: text(tree, "etc/shadow")?,
            passwd,
        })
    }

    fn add(&mut self, user: &PlannedUser) -> Result<u32, BuildError> {
        let name = &user.name;
        let uid = match user.uid {
            Some(uid) => uid,
            None => (FIRST_UID..)
                .find(|uid| !self.taken.contains_key(uid))
                .unwrap_or(FIRST_UID),
        };
        if let Some(other) = self.taken.insert(uid, name.clone()) {
            return Err(BuildError::Access(format!(
                "`{name}` and `{other}` have the same user id {uid}"
            )));
        }
        self.passwd
            .push_str(&format!("{name}:x:{uid}:{uid}:{name}:/home/{name}:{}\n", user.shell));
        let password = user.password_hash.as_ref().map_or(NO_PASSWORD, |hash| hash.reveal());
        self.shadow.push_str(&format!("{name}:{password}::0:99999:7:::\n"));
        self.group.push(format!("{name}:x:{uid}:"));
        user.groups.iter().try_for_each(|group| self.join(group, name))?;
        Ok(uid)
    }

    fn join(&mut self, group: &str, user: &str) -> Result<(), BuildError> {
        let prefix = format!("{group}:");
        let Some(line) = self.group.iter_mut().find(|line| line.starts_with(&prefix)) else {
            let names: Vec<&str> = self.group.iter().filter_map(|line| line.split(':').next()).collect();
            let message = format!("`{user}` is to be in the group `{group}`, which the image does not have");
            return Err(BuildError::Access(format!("{message}; it has: {}", names.join(", "))));
        };
        if !line.ends_with(':') {
            line.push(',');
        }
        line.push_str(user);
        Ok(())
    }

    fn write(self, tree: &mut Tree) -> Result<(), BuildError> {
        tree.insert_file("etc/passwd", 0o644, self.passwd.as_str())?;
        let group: String = self.group.iter().map(|line| format!("{line}\n")).collect();
        tree.insert_file("etc/group", 0o644, group.as_str())?;
        tree.insert_file("etc/shadow", 0o600, self.shadow.as_str())?;
        Ok(())
    }
}

fn add_home(tree: &mut Tree, user: &PlannedUser, uid: u32) -> Result<(), BuildError> {
    let home = format!("home/{}", user.name);
    let owned = |mode| Metadata {
        uid,
        gid: uid,
        ..Metadata::root(mode)
    };
    let directory = |mode| Inode {
        metadata: owned(mode),
        kind: Kind::Directory(BTreeMap::new()),
    };
    tree.insert(&home, directory(0o750))?;
    if user.keys.is_empty() {
        return Ok(());
    }
    // sshd(8), StrictModes: nobody else may be able to write these.
    tree.insert(format!("{home}/.ssh"), directory(0o700))?;
    let keys: String = user.keys.iter().map(|key| format!("{key}\n")).collect();
    let file = Inode {
        metadata: owned(0o600),
        kind: Kind::File(keys.as_str().into()),
    };
    tree.insert(format!("{home}/.ssh/authorized_keys"), file)?;
    Ok(())
}

fn add_sudo(tree: &mut Tree, user: &PlannedUser) -> Result<(), BuildError> {
    if !user.sudo.is_empty() {
        let rules: String = user.sudo.iter().map(|rule| format!("{} {rule}\n", user.name)).collect();
        tree.insert_file(format!("etc/sudoers.d/{}", user.name), 0o440, rules.as_str())?;
    }
    Ok(())
}

fn text(tree: &Tree, path: &str) -> Result<String, BuildError> {
    let missing = || BuildError::Access(format!("the base system has no /{path}"));
    let Some(Inode {
        kind: Kind::File(content),
        ..
    }) = tree.get(path)
    else {
        return Err(missing());
    };
    let bytes = content.read().map_err(|_| missing())?;
    String::from_utf8(bytes).map_err(|_| BuildError::Access(format!("/{path} of the base system is not text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Tree {
        let mut tree = Tree::default();
        tree.insert_file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n")
            .unwrap();
        tree.insert_file("etc/group", 0o644, "root:x:0:\nadm:x:4:\n").unwrap();
        tree.insert_file("etc/shadow", 0o600, "root:!:::::::\n").unwrap();
        tree
    }

    fn user(name: &str, groups: &[&str]) -> PlannedUser {
        PlannedUser {
            name: name.into(),
            access_group: "operators".into(),
            uid: None,
            shell: "/bin/sh".into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            keys: vec!["ssh-ed25519 AAAA x".into()],
            password_hash: None,
            sudo: vec!["ALL=(ALL) /sbin/reboot".into()],
        }
    }

    #[test]
    fn users_get_ids_homes_keys_and_rules() {
        let mut tree = base();
        add_users(&mut tree, &[user("ann", &["adm"]), user("bob", &["adm"])]).unwrap();
        assert!(
            text(&tree, "etc/passwd")
                .unwrap()
                .ends_with("bob:x:1001:1001:bob:/home/bob:/bin/sh\n")
        );
        assert!(text(&tree, "etc/group").unwrap().contains("adm:x:4:ann,bob\n"));
        assert!(text(&tree, "etc/shadow").unwrap().contains("ann:!:"));
        let keys = tree.get("home/ann/.ssh/authorized_keys").unwrap();
        assert_eq!((keys.metadata.mode, keys.metadata.uid), (0o600, 1000));
        assert_eq!(
            text(&tree, "etc/sudoers.d/bob").unwrap(),
            "bob ALL=(ALL) /sbin/reboot\n"
        );
    }

    #[test]
    fn unknown_groups_and_doubled_ids_are_refused() {
        let error = add_users(&mut base(), &[user("ann", &["wheel"])])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the group `wheel`, which the image does not have; it has: root, adm, ann"),
            "{error}"
        );
        let twice = PlannedUser {
            uid: Some(0),
            ..user("toor", &[])
        };
        let error = add_users(&mut base(), &[twice]).unwrap_err().to_string();
        assert!(error.contains("`toor` and `root` have the same user id 0"), "{error}");
    }
}
