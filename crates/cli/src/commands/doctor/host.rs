//! Which distribution this is, as far as its packages are concerned.

/// A family of distributions with the same package names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    Debian,
    Arch,
    Alpine,
    Other,
}

/// The name of one thing's package in each; empty where there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packages {
    pub(crate) debian: &'static str,
    pub(crate) arch: &'static str,
    pub(crate) alpine: &'static str,
}

impl Host {
    /// By the text of `/etc/os-release` (os-release(5)): `ID`, then `ID_LIKE`.
    pub(crate) fn of(os_release: &str) -> Self {
        let value = |key: &str| {
            let line = os_release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let names = format!("{} {}", value("ID"), value("ID_LIKE"));
        let known = |name: &str| match name {
            "debian" | "ubuntu" => Some(Self::Debian),
            "arch" => Some(Self::Arch),
            "alpine" => Some(Self::Alpine),
            _ => None,
        };
        names.split_whitespace().find_map(known).unwrap_or(Self::Other)
    }

    /// How these packages are installed.
    pub(crate) fn install(self, packages: &[&str]) -> String {
        let packages = packages.join(" ");
        match self {
            Self::Debian => format!("sudo apt-get install {packages}"),
            Self::Arch => format!("sudo pacman -S {packages}"),
            Self::Alpine => format!("sudo apk add {packages}"),
            Self::Other => format!("on Debian they are in the packages {packages}"),
        }
    }
}

impl Packages {
    pub(crate) fn of(&self, host: Host) -> &'static str {
        match host {
            Host::Debian | Host::Other => self.debian,
            Host::Arch => self.arch,
            Host::Alpine => self.alpine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Host;

    #[test]
    fn distributions_are_known_by_name_and_by_likeness() {
        assert_eq!(Host::of("NAME=x\nID=debian\n"), Host::Debian);
        assert_eq!(Host::of("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Host::Debian);
        assert_eq!(Host::of("ID=\"manjaro\"\nID_LIKE=arch\n"), Host::Arch);
        assert_eq!(Host::of("ID=alpine\nVERSION_ID=3.22.0\n"), Host::Alpine);
        assert_eq!(Host::of("ID=nixos\n"), Host::Other);
        assert_eq!(Host::of(""), Host::Other);
    }

    #[test]
    fn each_installs_its_own_way() {
        assert_eq!(Host::Debian.install(&["a", "b"]), "sudo apt-get install a b");
        assert_eq!(Host::Arch.install(&["a"]), "sudo pacman -S a");
        assert_eq!(Host::Alpine.install(&["a"]), "sudo apk add a");
        assert_eq!(Host::Other.install(&["a"]), "on Debian they are in the packages a");
    }
}
