//! Modules that a kept one will want although it does not name them: the kernel asks for them while it runs.
//!
//! No list of hardware is kept here. What a module will cause the kernel to ask for shows in the functions that it imports:
//!
//! | it imports | so the kernel will ask for |
//! |---|---|
//! | `phy_connect`, `phylink_create`, … (a network card that leaves its PHY to a driver) | `mdio:` and an id: see `phy` |
//! | `scsi_add_host_with_dma` (it makes a SCSI host, as libata and USB storage do) | `scsi:t-0x00`, a disk |
//! | `crypto_alloc_*` | `crypto-` and an algorithm: those that stand as string literals in the module |
//! | `load_nls` (a file system with names in a character set) | the sets that the kernel was configured with as defaults |

use std::collections::BTreeSet;

use crate::elf;
use crate::facts::Facts;
use crate::kernel::Kernel;
use crate::phy::{self, Makers};
use crate::selection::Reason;

/// Functions by which a network driver takes a PHY (`include/linux/phy.h`, `phylink.h`).
const PHY: [&str; 5] = [
    "phy_connect",
    "phy_connect_direct",
    "phy_attach",
    "phy_attach_direct",
    "phylink_create",
];
/// The function that makes a SCSI host (`include/scsi/scsi_host.h`).
const SCSI_HOST: &str = "scsi_add_host_with_dma";
/// The alias by which the kernel asks for the driver of a SCSI disk (`scsi_bus_uevent`; type 0 is a disk, SPC-5).
const SCSI_DISK: &str = "scsi:t-0x00";
/// Functions that look up an algorithm by name (`include/crypto/*.h`), and what is put before the name.
const CRYPTO: &str = "crypto_alloc_";
const CRYPTO_ALIAS: &str = "crypto-";
/// The function that looks up a character set by name (`include/linux/nls.h`), and what is put before the name.
const CHARSET: &str = "load_nls";
const CHARSET_MODULE: &str = "nls_";
/// Names of algorithms are shorter (`CRYPTO_MAX_ALG_NAME`).
const ALGORITHM_MAX: usize = 128;

/// What a module will ask for, as far as that shows in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// It leaves its PHY to a driver, and this is who made it.
    phy: Option<Makers>,
    disks: bool,
    charsets: bool,
    algorithms: BTreeSet<String>,
}

impl Wants {
    /// From a plain module.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut wants = Self::default();
        let (mut crypto, mut phy) = (false, false);
        for name in elf::imports(bytes) {
            phy |= PHY.contains(&name);
            wants.disks |= name == SCSI_HOST;
            wants.charsets |= name == CHARSET;
            crypto |= name.starts_with(CRYPTO);
        }
        wants.phy = phy.then(|| Makers::of(bytes));
        if crypto {
            wants.algorithms = elf::literals(bytes).flat_map(algorithms).collect();
        }
        wants
    }

    /// The modules that answer, and why each is wanted by the module `name`.
    pub(crate) fn answers(&self, name: &str, facts: &Facts, kernel: &Kernel<'_>) -> Vec<(String, Reason)> {
        let by = || name.to_owned();
        let mut found = Vec::new();
        let mut add = |module: &str, reason| found.push((module.to_owned(), reason));
        for phy::Wanted { driver, maker } in self.phy.iter().flat_map(|makers| phy::drivers(name, makers, facts)) {
            add(driver, Reason::Phy { by: by(), maker });
        }
        if self.disks {
            facts
                .aliased(SCSI_DISK)
                .into_iter()
                .for_each(|module| add(module, Reason::Disks(by())));
        }
        for algorithm in &self.algorithms {
            for module in facts.aliased(&format!("{CRYPTO_ALIAS}{algorithm}")) {
                let (by, algorithm) = (by(), algorithm.clone());
                add(module, Reason::Algorithm { by, algorithm });
            }
        }
        if self.charsets {
            let modules = default_charsets(kernel)
                .into_iter()
                .map(|charset| format!("{CHARSET_MODULE}{charset}"));
            for module in modules.filter(|module| facts.contains(module)) {
                add(&module, Reason::Charset(by()));
            }
        }
        found.retain(|(module, _)| module != name);
        found
    }
}

/// The algorithms in a literal: `hmac(sha256)` are two. Words that are no algorithm find no module.
fn algorithms(literal: &str) -> Vec<String> {
    let part_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_(),".contains(c);
    if literal.len() >= ALGORITHM_MAX || !literal.chars().all(part_of_name) {
        return Vec::new();
    }
    let parts = literal.split(['(', ')', ',']).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// `437` of `CONFIG_FAT_DEFAULT_CODEPAGE` is `cp437`; `CONFIG_FAT_DEFAULT_IOCHARSET` and `CONFIG_NLS_DEFAULT` are names.
fn default_charsets(kernel: &Kernel<'_>) -> BTreeSet<String> {
    let charset = |(key, value): (&str, &str)| {
        let name = crate::lists::normal(value);
        match key {
            "CONFIG_NLS_DEFAULT" => Some(name),
            _ if key.ends_with("_DEFAULT_CODEPAGE") => Some(format!("cp{name}")),
            _ if key.ends_with("_DEFAULT_IOCHARSET") => Some(name),
            _ => None,
        }
    };
    kernel.settings().filter_map(charset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_that_may_be_algorithms() {
        assert_eq!(algorithms("hmac(sha256)"), ["hmac", "sha256"]);
        assert_eq!(algorithms("blake2b-256"), ["blake2b-256"]);
        assert!(algorithms("failed: %d").is_empty());
        assert!(algorithms(&"a".repeat(200)).is_empty());
        assert_eq!(Wants::of(b"no module"), Wants::default());
    }
}
