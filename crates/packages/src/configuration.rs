//! The apt configuration of our private state: the host's settings, without its places and hooks.
//!
//! apt reads `apt.conf.d` after the file named by `APT_CONFIG` and cannot be told to forget a hook from there. So our
//! file holds all of the host's settings that we want (as `apt-config dump` prints them) and points `apt.conf.d`
//! at an empty directory.

use std::path::Path;

use mos_architecture::Architecture;

/// The host's settings that stay: reaching the mirrors, and where sources and keys are.
const KEPT: [&str; 7] = [
    "Acquire::http",
    "Acquire::https",
    "Acquire::ftp",
    "Acquire::Retries",
    "Acquire::Check-",
    "Dir::Etc",
    "Dir::Bin",
];

/// The exceptions: they would bring the hooks back.
const DROPPED: [&str; 3] = ["Dir::Etc::parts", "Dir::Etc::main", "Dir::Etc \""];

/// Makes the configuration from the output of `apt-config dump` and the directory of our state. Packages are those of one
/// architecture, whatever the host is and whichever it takes packages of (`dpkg --add-architecture`).
pub(crate) fn private(host: &str, state: &Path, architecture: Architecture) -> String {
    let kept = host.lines().filter(|line| {
        KEPT.iter().any(|prefix| line.starts_with(prefix)) && !DROPPED.iter().any(|prefix| line.starts_with(prefix))
    });
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    let (state, architecture) = (state.display(), architecture.debian());
    text.push_str(&format!(
        r#"Dir::Etc::parts "{state}/none";
Dir::Etc::main "/dev/null";
Dir::State "{state}";
Dir::State::lists "{state}/lists";
Dir::State::status "{state}/status";
Dir::State::extended_states "{state}/extended_states";
Dir::Cache "{state}/cache";
Dir::Log "{state}/log";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
Acquire::Languages {{ "none"; }};
Acquire::ForceHash "SHA256";
"#
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_and_places_of_the_host_go_sources_and_proxies_stay() {
        let host = concat!(
            "APT::Architecture \"arm64\";\n",
            "APT::Update::Post-Invoke:: \"rm -f /var/cache/apt/archives/*.deb\";\n",
            "Acquire::http::Proxy \"http://proxy:3128\";\n",
            "Dir::State \"var/lib/apt\";\n",
            "Dir::Etc \"etc/apt\";\n",
            "Dir::Etc::sourceparts \"sources.list.d\";\n",
            "Dir::Etc::parts \"apt.conf.d\";\n",
        );
        let text = private(host, Path::new("/c/apt"), Architecture::X86_64);
        assert!(text.contains("Acquire::http::Proxy \"http://proxy:3128\";\n"));
        assert!(text.contains("Dir::Etc::sourceparts \"sources.list.d\";\n"));
        assert!(text.contains("Dir::State \"/c/apt\";\n"));
        for gone in ["Post-Invoke", "arm64", "apt.conf.d", "var/lib"] {
            assert!(!text.contains(gone), "{gone}");
        }
    }

    #[test]
    fn packages_are_of_the_nodes_architecture_whatever_the_host_is() {
        let host = "APT::Architecture \"amd64\";\nAPT::Architectures:: \"amd64\";\nAPT::Architectures:: \"i386\";\n";
        let text = private(host, Path::new("/c"), Architecture::Aarch64);
        assert!(
            text.contains("APT::Architecture \"arm64\";\nAPT::Architectures { \"arm64\"; };\n"),
            "{text}"
        );
        assert!(!text.contains("amd64") && !text.contains("i386"), "{text}");
    }
}
