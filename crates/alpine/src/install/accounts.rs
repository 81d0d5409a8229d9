//! Users and groups in a tree, as `addgroup` and `adduser` of BusyBox make them.
//!
//! Numbers are given out in the order in which accounts are asked for, so the same packages give the same numbers.

use mos_tree::{Inode, InodeId, Kind, Metadata, Tree};

use super::database::file;
use crate::AlpineError;

/// First and last number of accounts of the system (`adduser -S`), and of people, as BusyBox has them.
const SYSTEM: (u32, u32) = (100, 999);
/// As [`SYSTEM`].
const PEOPLE: (u32, u32) = (1000, 59_999);
/// Group of system accounts that name none.
const NO_GROUP: u32 = 65_533;
/// Mode of a home directory that `adduser` makes: files in it belong to its group.
const HOME_MODE: u32 = 0o2755;

/// One call of `addgroup` or `adduser`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// `addgroup [-S] [-g GID] NAME`
    Group {
        name: String,
        gid: Option<u32>,
        system: bool,
    },
    /// `addgroup USER GROUP`
    Member { user: String, group: String },
    /// `adduser [-S] [-D] [-H] [-u UID] [-h HOME] [-s SHELL] [-G GROUP] [-g GECOS] NAME`
    User(User),
}

/// What `adduser` is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: Option<u32>,
    pub(crate) system: bool,
    /// A password is asked for; there is nobody who could be.
    pub(crate) asks: bool,
    pub(crate) home: Option<String>,
    pub(crate) makes_home: bool,
    pub(crate) shell: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) comment: Option<String>,
}

/// `/etc/passwd`, `/etc/group` and `/etc/shadow` of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Accounts {
    passwd: Table,
    group: Table,
    shadow: Table,
    homes: Vec<(String, u32, u32)>,
}

/// Lines of words with colons between.
#[derive(Debug, Clone)]
struct Table {
    path: &'static str,
    mode: u32,
    lines: Vec<Vec<String>>,
    changed: bool,
}

impl Account {
    /// Parses a call of `addgroup` or `adduser`; `None` when it is none, or one with options that are not known.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        match words.split_first()? {
            (&"addgroup", rest) => parse_group(rest),
            (&"adduser", rest) => parse_user(rest),
            _ => None,
        }
    }
}

/// Letters with their values, and the other words.
type Options<'w> = (Vec<(char, &'w str)>, Vec<&'w str>);

/// Takes options apart: letters that stand alone, and letters with a value.
fn options<'w>(words: &[&'w str], alone: &str, valued: &str) -> Option<Options<'w>> {
    let (mut found, mut names) = (Vec::new(), Vec::new());
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            names.push(word);
            continue;
        };
        for (place, letter) in letters.char_indices() {
            if alone.contains(letter) {
                found.push((letter, ""));
            } else if valued.contains(letter) {
                let rest = &letters[place + letter.len_utf8()..];
                let value = if rest.is_empty() { words.next()? } else { rest };
                found.push((letter, value));
                break;
            } else {
                return None;
            }
        }
    }
    Some((found, names))
}

fn parse_group(words: &[&str]) -> Option<Account> {
    let (options, names) = options(words, "S", "g")?;
    let value = |wanted: char| {
        options
            .iter()
            .find(|(letter, _)| *letter == wanted)
            .map(|(_, value)| *value)
    };
    match names.as_slice() {
        [name] if is_name(name) => Some(Account::Group {
            name: (*name).to_owned(),
            gid: value('g').map(str::parse).transpose().ok()?,
            system: value('S').is_some(),
        }),
        [user, group] if options.is_empty() && is_name(user) && is_name(group) => Some(Account::Member {
            user: (*user).to_owned(),
            group: (*group).to_owned(),
        }),
        _ => None,
    }
}

fn parse_user(words: &[&str]) -> Option<Account> {
    let (options, names) = options(words, "SDH", "ughsGk")?;
    let value = |wanted: char| {
        options
            .iter()
            .find(|(letter, _)| *letter == wanted)
            .map(|(_, value)| *value)
    };
    let text = |wanted: char| value(wanted).map(str::to_owned);
    let [name] = names.as_slice() else { return None };
    let plain = options.iter().all(|(_, value)| !value.contains([':', '\n']));
    (plain && is_name(name)).then_some(())?;
    Some(Account::User(User {
        name: (*name).to_owned(),
        uid: value('u').map(str::parse).transpose().ok()?,
        system: value('S').is_some(),
        asks: value('D').is_none() && value('S').is_none(),
        home: text('h'),
        makes_home: value('H').is_none(),
        shell: text('s'),
        group: text('G'),
        comment: text('g'),
    }))
}

fn is_name(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(sound)
}

impl Table {
    fn read(tree: &Tree, path: &'static str, mode: u32) -> Result<Self, AlpineError> {
        let bytes = file(tree, path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = text.lines().map(|line| line.split(':').map(str::to_owned).collect());
        Ok(Self {
            path,
            mode,
            lines: lines.collect(),
            changed: false,
        })
    }

    fn find(&self, name: &str) -> Option<&Vec<String>> {
        self.lines
            .iter()
            .find(|line| line.first().is_some_and(|first| first == name))
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.find(name)?.get(2)?.parse().ok()
    }

    fn is_free(&self, number: u32) -> bool {
        let number = number.to_string();
        !self.lines.iter().any(|line| line.get(2) == Some(&number))
    }

    fn free(&self, (first, last): (u32, u32)) -> Option<u32> {
        (first..=last).find(|number| self.is_free(*number))
    }

    fn add(&mut self, words: &[&str]) {
        self.lines.push(words.iter().map(|word| (*word).to_owned()).collect());
        self.changed = true;
    }

    fn write(&self, tree: &mut Tree) -> Result<(), AlpineError> {
        if !self.changed {
            return Ok(());
        }
        let text: String = self.lines.iter().map(|line| line.join(":") + "\n").collect();
        let path = tree.resolve(self.path)?;
        match tree.find(&path) {
            Some(id) if matches!(tree.inode(id).kind, Kind::File(_)) => {
                tree.inode_mut(id).kind = Kind::File(text.into_bytes().into());
            }
            _ => {
                tree.insert_file(&path, self.mode, text.into_bytes())?;
            }
        }
        Ok(())
    }
}

impl Accounts {
    pub(crate) fn read(tree: &Tree) -> Result<Self, AlpineError> {
        Ok(Self {
            passwd: Table::read(tree, "etc/passwd", 0o644)?,
            group: Table::read(tree, "etc/group", 0o644)?,
            shadow: Table::read(tree, "etc/shadow", 0o640)?,
            homes: Vec::new(),
        })
    }

    pub(crate) fn uid(&self, user: &str) -> Option<u32> {
        self.passwd.number(user)
    }

    pub(crate) fn gid(&self, group: &str) -> Option<u32> {
        self.group.number(group)
    }

    /// Does what the command would do. One that is there already stays as it is.
    pub(crate) fn apply(&mut self, account: &Account) {
        match account {
            Account::Group { name, gid, system } => self.add_group(name, *gid, *system),
            Account::Member { user, group } => self.add_member(user, group),
            Account::User(user) => self.add_user(user),
        }
    }

    fn add_group(&mut self, name: &str, gid: Option<u32>, system: bool) {
        let range = if system { SYSTEM } else { PEOPLE };
        let gid = match gid {
            Some(gid) => self.group.is_free(gid).then_some(gid),
            None => self.group.free(range),
        };
        if let (None, Some(gid)) = (self.group.find(name), gid) {
            self.group.add(&[name, "x", &gid.to_string(), ""]);
        }
    }

    fn add_member(&mut self, user: &str, group: &str) {
        let known = self.passwd.find(user).is_some();
        let line = self
            .group
            .lines
            .iter_mut()
            .find(|line| line.first().is_some_and(|first| first == group));
        let Some(members) = line.filter(|_| known).and_then(|line| line.get_mut(3)) else {
            return;
        };
        if members.split(',').any(|member| member == user) {
            return;
        }
        if !members.is_empty() {
            members.push(',');
        }
        members.push_str(user);
        self.group.changed = true;
    }

    fn add_user(&mut self, user: &User) {
        let range = if user.system { SYSTEM } else { PEOPLE };
        let uid = match user.uid {
            Some(uid) => self.passwd.is_free(uid).then_some(uid),
            None => self.passwd.free(range),
        };
        let (None, Some(uid)) = (self.passwd.find(&user.name), uid) else {
            return;
        };
        let Some(gid) = self.group_of(user, uid) else { return };
        let home = user.home.clone().unwrap_or_else(|| format!("/home/{}", user.name));
        let usual = if user.system { "/bin/false" } else { "/bin/sh" };
        let shell = user.shell.as_deref().unwrap_or(usual);
        let comment = user.comment.clone().unwrap_or_else(|| format!("{},,,", user.name));
        let (uid_text, gid_text) = (uid.to_string(), gid.to_string());
        self.passwd
            .add(&[&user.name, "x", &uid_text, &gid_text, &comment, &home, shell]);
        // No day of the last change: the image would depend on the day of its build.
        self.shadow.add(&[&user.name, "!", "", "0", "99999", "7", "", "", ""]);
        if user.makes_home && home.starts_with('/') && home != "/dev/null" {
            self.homes.push((home, uid, gid));
        }
    }

    fn group_of(&mut self, user: &User, uid: u32) -> Option<u32> {
        match &user.group {
            Some(group) => self.gid(group),
            None if user.system => Some(NO_GROUP),
            None => {
                let gid = self.group.is_free(uid).then_some(uid);
                self.add_group(&user.name, gid, false);
                self.gid(&user.name)
            }
        }
    }

    /// Writes what has changed, and makes home directories.
    pub(crate) fn write(&self, tree: &mut Tree) -> Result<(), AlpineError> {
        [&self.passwd, &self.group, &self.shadow]
            .into_iter()
            .try_for_each(|table| table.write(tree))?;
        for (home, uid, gid) in &self.homes {
            let path = tree.resolve(home)?;
            let id = match tree.find(&path) {
                Some(id) => id,
                None => tree.insert_directory(&path, HOME_MODE)?,
            };
            own_home(tree, id, *uid, *gid);
        }
        Ok(())
    }
}

fn own_home(tree: &mut Tree, id: InodeId, uid: u32, gid: u32) {
    let inode: &mut Inode = tree.inode_mut(id);
    if matches!(inode.kind, Kind::Directory(_)) {
        let metadata: &mut Metadata = &mut inode.metadata;
        (metadata.uid, metadata.gid, metadata.mode) = (uid, gid, HOME_MODE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.insert_file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\nx:x:100:101::/:/bin/false\n",
        )
        .unwrap();
        tree.insert_file("etc/group", 0o644, "root:x:0:root\nshadow:x:42:\nx:x:101:\n")
            .unwrap();
        tree.insert_file("etc/shadow", 0o640, "root:*::0:::::\n").unwrap();
        tree
    }

    fn text(tree: &Tree, path: &str) -> String {
        String::from_utf8(file(tree, path).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn accounts_get_the_first_free_numbers() {
        let mut tree = tree();
        let mut accounts = Accounts::read(&tree).unwrap();
        for line in [
            "addgroup -S klogd",
            "adduser -S -D -H -h /dev/null -s /sbin/nologin -G klogd -g klogd klogd",
            "addgroup -S -g 22 sshd",
            "adduser -S -D -u 22 -h /var/empty -G sshd sshd",
            "addgroup klogd shadow",
            "addgroup klogd shadow",
            "adduser -D -h /home/me me",
            "adduser -S plain",
            "addgroup -g 42 taken",
            "adduser -S -D -G absent nobody",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            accounts.apply(&Account::parse(&words).unwrap());
        }
        accounts.write(&mut tree).unwrap();
        assert_eq!(
            text(&tree, "etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nx:x:100:101::/:/bin/false\nklogd:x:101:100:klogd:/dev/null:/sbin/nologin\n\
             sshd:x:22:22:sshd,,,:/var/empty:/bin/false\nme:x:1000:1000:me,,,:/home/me:/bin/sh\n\
             plain:x:102:65533:plain,,,:/home/plain:/bin/false\n"
        );
        assert_eq!(
            text(&tree, "etc/group"),
            "root:x:0:root\nshadow:x:42:klogd\nx:x:101:\nklogd:x:100:\nsshd:x:22:\nme:x:1000:\n"
        );
        assert!(text(&tree, "etc/shadow").contains("klogd:!::0:99999:7:::\n"));
        let home = &tree.get("var/empty").unwrap().metadata;
        assert_eq!((home.uid, home.gid, home.mode), (22, 22, 0o2755));
        assert!(tree.get("dev/null").is_none());
    }

    #[test]
    fn calls_that_are_not_known() {
        for line in [
            "adduser",
            "adduser -x a",
            "adduser a b",
            "addgroup -g x a",
            "addgroup $user",
            "useradd a",
            "adduser -h /a:b a",
        ] {
            assert_eq!(Account::parse(&line.split(' ').collect::<Vec<_>>()), None, "{line}");
        }
    }
}
