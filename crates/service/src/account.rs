//! Users and groups, by name or by number.

use mos_toml::{Table, Value};

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// By number.
    Id(u32),
    /// By the name in `/etc/passwd` or `/etc/group` of the node.
    Name(String),
}

/// The longest name, in bytes (`useradd` of shadow has the same).
const NAME_MAX: usize = 32;

impl Account {
    fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        match text.parse::<u32>() {
            // The largest value means "unchanged" to the kernel (setuid(2)).
            Ok(number) => (number != u32::MAX).then_some(Self::Id(number)),
            Err(_) => {
                let named = !text.is_empty() && text.len() <= NAME_MAX && text.bytes().all(plain);
                (named && !text.starts_with('-')).then(|| Self::Name(text.to_owned()))
            }
        }
    }

    /// A user or group, if the key is there.
    pub(crate) fn read(table: &Table<'_>, key: &'static str) -> Option<Self> {
        let text = match &table.value(key)?.value {
            Value::Integer(number) => number.to_string(),
            _ => table.string(key)?,
        };
        let account = Self::parse(&text);
        if account.is_none() {
            table.complain(key, format!("`{text}` is neither a name nor a number of a {key}"));
        }
        account
    }

    /// Several, if the key is there.
    pub(crate) fn read_list(table: &Table<'_>, key: &'static str) -> Vec<Self> {
        let Some(node) = table.value(key) else {
            return Vec::new();
        };
        let Value::Array(items) = &node.value else {
            table.complain(
                key,
                format!("`{key}` is {}, expected a list of names and numbers", node.value.kind()),
            );
            return Vec::new();
        };
        let text = |value: &Value| match value {
            Value::Integer(number) => number.to_string(),
            Value::String(text) => text.clone(),
            other => other.kind().to_owned(),
        };
        let mut accounts = Vec::new();
        for text in items.iter().map(|item| text(&item.value)) {
            match Self::parse(&text) {
                Some(account) => accounts.push(account),
                None => table.complain(key, format!("`{text}` is neither a name nor a number of a group")),
            }
        }
        accounts
    }

    /// The number of an account in the text of `/etc/passwd` or `/etc/group` (passwd(5), group(5)), and for a user that of
    /// its group.
    pub fn find(&self, database: &str) -> Option<(u32, Option<u32>)> {
        database.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?.parse().ok()?);
            let matches = match self {
                Self::Id(number) => *number == id,
                Self::Name(wanted) => wanted == name,
            };
            matches.then(|| (id, fields.next().and_then(|group| group.parse().ok())))
        })
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34::/srv:\n";
        assert_eq!(Account::Name("www".into()).find(passwd), Some((33, Some(34))));
        assert_eq!(Account::Id(33).find(passwd), Some((33, Some(34))));
        assert_eq!(Account::Name("ww".into()).find(passwd), None);
        assert_eq!(Account::Name("video".into()).find("video:x:44:www\n"), Some((44, None)));
    }

    #[test]
    fn what_cannot_be_an_account_is_none() {
        assert_eq!(Account::parse("33"), Some(Account::Id(33)));
        assert_eq!(Account::parse("www-data"), Some(Account::Name("www-data".into())));
        for text in ["", "-1", "4294967295", "a:b", "a b"] {
            assert_eq!(Account::parse(text), None, "{text}");
        }
    }
}
