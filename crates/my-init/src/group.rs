//! The group whose members may use the control socket as root may.

/// Groups by name (group(5)).
const DATABASE: &str = "/etc/group";

/// The number of a group that is given by number or name.
///
/// # Errors
/// When there is no group of this name.
pub fn number(group: &str) -> Result<u32, String> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let database = crate::lossy::read(DATABASE).unwrap_or_default();
    find(&database, group).ok_or_else(|| format!("there is no group `{group}` in {DATABASE}"))
}

fn find(database: &str, group: &str) -> Option<u32> {
    let mut lines = database.lines().map(|line| line.split(':'));
    let mut line = lines.find_map(|mut fields| (fields.next() == Some(group)).then_some(fields))?;
    line.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names_and_numbers() {
        assert_eq!(find("root:x:0:\nadm:x:4:a,b\n", "adm"), Some(4));
        assert_eq!(find("adm:x\nadmin:x:5:\n", "adm"), None);
        assert_eq!(number("17"), Ok(17));
        assert!(number("no such group").unwrap_err().contains("no such group"));
    }
}
