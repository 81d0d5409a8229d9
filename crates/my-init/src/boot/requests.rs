//! Modules that the kernel asks for by itself, because a program wants a file system, a protocol or a cipher that is not
//! there yet: it executes the program that [`SETTING`] names. Where an image has none, that is this one.

use std::fs;
use std::io;
use std::path::Path;

use super::modules::Library;
use super::plug;

/// What the kernel executes (admin-guide/sysctl/kernel.rst, `modprobe`).
const SETTING: &str = "/proc/sys/kernel/modprobe";
/// What it executes when nobody has said anything else (`CONFIG_MODPROBE_PATH`).
const USUAL: &str = "/sbin/modprobe";

/// The module that the kernel wants, if these are the arguments that it gives: `-q -- NAME` (kernel/module/kmod.c). Nobody
/// else says it like that.
pub fn wanted(arguments: &[String]) -> Option<&str> {
    match arguments {
        [quiet, end, name] if quiet == "-q" && end == "--" => Some(name),
        _ => None,
    }
}

/// Loads what the kernel wants; true when it is there.
pub fn load(name: &str) -> bool {
    let command_line = crate::lossy::read("/proc/cmdline").unwrap_or_default();
    let library = Library::read(&plug::library_directory(), Path::new("/"), &command_line);
    library.is_ok_and(|library| library.load(name).is_ok())
}

/// Has the kernel ask us, unless the program is there that it would ask.
///
/// # Errors
/// Whatever the system says. A kernel without modules asks nobody, which is no error.
pub fn answer() -> io::Result<()> {
    let asked = match fs::read_to_string(SETTING) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    // Empty: nobody is to be asked, says the command line.
    if asked.trim_end().is_empty() || Path::new(asked.trim_end()).exists() {
        return Ok(());
    }
    fs::write(SETTING, std::env::current_exe()?.as_os_str().as_encoded_bytes())
}

/// Has the kernel ask as if we had never been: our program will not be where it was.
pub fn leave() {
    let own = std::env::current_exe().unwrap_or_default();
    if fs::read_to_string(SETTING).is_ok_and(|asked| Path::new(asked.trim_end()) == own) {
        // The init that follows may say what it wants itself.
        let _ = fs::write(SETTING, USUAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_words_are_a_request() {
        let asked = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            wanted(&words).map(str::to_owned)
        };
        assert_eq!(asked(&["-q", "--", "fs-ext4"]), Some("fs-ext4".to_owned()));
        for words in [
            &["-q", "--"][..],
            &["-q", "fs-ext4"],
            &["--", "-q", "x"],
            &["-q", "--", "a", "b"],
        ] {
            assert_eq!(asked(words), None, "{words:?}");
        }
    }

    #[test]
    fn a_module_that_nobody_has_is_not_there() {
        assert!(!load("no-such-module-anywhere"));
    }
}
