//! Texts that others had a part in: the kernel shows their names as they made them, and account databases hold whatever
//! somebody typed. What is not UTF-8 in them is replaced, so that one odd name does not hide all the others.

use std::fs;
use std::io;
use std::path::Path;

/// The text of a file.
///
/// # Errors
/// Whatever the system says; never that it is not UTF-8.
pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = fs::read(path)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The arguments of this process after its name: the kernel hands PID 1 whatever the boot loader was given.
pub fn arguments() -> Vec<String> {
    let words = std::env::args_os().skip(1);
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// One line that a terminal only shows, whatever is in it: whoever may name a process, or print, is not to have it obey.
pub fn printable(text: &str) -> String {
    let shown = |one: char| {
        if one.is_control() && one != '\t' {
            '\u{fffd}'
        } else {
            one
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_byte_hides_nothing_else() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), b"J\xf6rg:x:1\nweb:x:2\n").expect("room");
        assert_eq!(read(file.path()).expect("text"), "J\u{fffd}rg:x:1\nweb:x:2\n");
    }
}
