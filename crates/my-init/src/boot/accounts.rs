//! The users and groups of a tree, by name or number.

use std::path::Path;

use mos_service::Account;

/// The texts of `/etc/passwd` and `/etc/group`.
#[derive(Debug, Default)]
pub struct Accounts {
    users: String,
    groups: String,
}

impl Accounts {
    /// Those of the tree at `root`; none where there are no such files.
    pub fn read(root: &Path) -> Self {
        let read = |name| crate::lossy::read(root.join(name)).unwrap_or_default();
        Self {
            users: read("etc/passwd"),
            groups: read("etc/group"),
        }
    }

    /// A user's number.
    pub fn user(&self, text: &str) -> Option<u32> {
        number(text, &self.users)
    }

    /// A group's number.
    pub fn group(&self, text: &str) -> Option<u32> {
        number(text, &self.groups)
    }
}

/// A number need not be in the database; root is known without one.
fn number(text: &str, database: &str) -> Option<u32> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => Account::Name(text.to_owned())
            .find(database)
            .map(|(id, _)| id)
            .or((text == "root").then_some(0)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_looked_up_and_numbers_are_themselves() {
        let root = tempfile::tempdir().unwrap();
        let accounts = Accounts::read(root.path());
        assert_eq!(
            (accounts.user("root"), accounts.user("www"), accounts.group("7")),
            (Some(0), None, Some(7))
        );
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "www:x:33:34::/srv:\n").unwrap();
        fs::write(root.path().join("etc/group"), "video:x:44:\n").unwrap();
        let accounts = Accounts::read(root.path());
        assert_eq!(
            (accounts.user("www"), accounts.group("video"), accounts.group("www")),
            (Some(33), Some(44), None)
        );
    }
}
