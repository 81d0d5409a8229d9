//! A supervisor for one user of a workstation: where its files are (XDG Base Directory Specification 0.8).

use std::path::{Path, PathBuf};

/// Below `$XDG_CONFIG_HOME`, or `~/.config`.
const SERVICES: &str = "my_init/services";
/// Below `$XDG_RUNTIME_DIR`.
const SOCKET: &str = "my_init.sock";

/// Where a user's own service files are.
///
/// # Errors
/// A sentence when neither variable is set.
pub fn services(variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    let given = absolute(variable("XDG_CONFIG_HOME"));
    let home = || absolute(variable("HOME")).map(|home| home.join(".config"));
    let directory = given.or_else(home);
    directory
        .map(|directory| directory.join(SERVICES))
        .ok_or_else(|| "--user: neither XDG_CONFIG_HOME nor HOME is set, so give --services DIR".to_owned())
}

/// Where a user's control socket is.
///
/// # Errors
/// A sentence when the variable is not set: there is no other directory that is nobody else's.
pub fn socket(variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    absolute(variable("XDG_RUNTIME_DIR"))
        .map(|directory| directory.join(SOCKET))
        .ok_or_else(|| "--user: XDG_RUNTIME_DIR is not set, so give --socket PATH".to_owned())
}

/// The specification has relative paths ignored.
fn absolute(value: Option<String>) -> Option<PathBuf> {
    value.filter(|value| Path::new(value).is_absolute()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_those_of_the_specification() {
        let of = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                set.iter()
                    .find(|(one, _)| *one == name)
                    .map(|(_, value)| (*value).to_owned())
            }
        };
        let home = [("HOME", "/home/a"), ("XDG_RUNTIME_DIR", "/run/user/7")].as_slice();
        assert_eq!(
            services(of(home)),
            Ok(PathBuf::from("/home/a/.config/my_init/services"))
        );
        assert_eq!(socket(of(home)), Ok(PathBuf::from("/run/user/7/my_init.sock")));
        let own = [("HOME", "/home/a"), ("XDG_CONFIG_HOME", "/c")].as_slice();
        assert_eq!(services(of(own)), Ok(PathBuf::from("/c/my_init/services")));
        assert!(socket(of(own)).is_err_and(|error| error.contains("XDG_RUNTIME_DIR")));
        let relative = [("XDG_CONFIG_HOME", "c"), ("XDG_RUNTIME_DIR", "r")].as_slice();
        assert!(services(of(relative)).is_err() && socket(of(relative)).is_err());
    }
}
