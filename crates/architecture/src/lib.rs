//! The processors that nodes have, and what everybody calls them.
//!
//! Debian, Alpine, Rust, the kernel, firmware and QEMU have names of their own for the same thing. All that differs
//! between the architectures of nodes by name or number is in this table; what differs by more than that is beside what it
//! is about, chosen by a `match` on [`Architecture`].

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A processor that nodes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

use Architecture::{Aarch64, X86_64};

impl Architecture {
    /// Every one with its name, as a configuration writes it.
    pub const ALL: [(&'static str, Self); 2] = [("x86_64", X86_64), ("aarch64", Aarch64)];

    /// That of the machine which this program was compiled for; on any other than those of nodes, x86-64 is what nodes
    /// have unless they are said to have another.
    pub const HOST: Self = if cfg!(target_arch = "aarch64") { Aarch64 } else { X86_64 };

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            X86_64 => Aarch64,
            Aarch64 => X86_64,
        }
    }

    /// As `uname -m`, Rust and Alpine say it.
    pub const fn name(self) -> &'static str {
        match self {
            X86_64 => "x86_64",
            Aarch64 => "aarch64",
        }
    }

    /// As Debian and container images say it.
    pub const fn debian(self) -> &'static str {
        match self {
            X86_64 => "amd64",
            Aarch64 => "arm64",
        }
    }

    /// As people write it in a sentence.
    pub const fn title(self) -> &'static str {
        match self {
            X86_64 => "x86-64",
            Aarch64 => "64-bit Arm",
        }
    }

    /// What firmware starts from `EFI/BOOT` of a disk without boot entries (UEFI specification 2.10, section 3.5.1.1).
    pub const fn boot_file(self) -> &'static str {
        match self {
            X86_64 => "BOOTX64.EFI",
            Aarch64 => "BOOTAA64.EFI",
        }
    }

    /// `Machine` of a PE file (Microsoft PE/COFF specification, "Machine Types").
    pub const fn pe_machine(self) -> u16 {
        match self {
            X86_64 => 0x8664,
            Aarch64 => 0xaa64,
        }
    }

    /// `e_machine` of an ELF file (elf(5), `EM_X86_64`, `EM_AARCH64`).
    pub const fn elf_machine(self) -> u16 {
        match self {
            X86_64 => 62,
            Aarch64 => 183,
        }
    }

    /// The first serial port of common machines, as the kernel calls it: a 16550, and a PL011.
    pub const fn serial_port(self) -> &'static str {
        match self {
            X86_64 => "ttyS0",
            Aarch64 => "ttyAMA0",
        }
    }

    /// That of a program that firmware starts; `None` for one that no node has.
    pub fn of_pe(machine: u16) -> Option<Self> {
        Self::find(|one| one.pe_machine() == machine)
    }

    /// That of a program for Linux; `None` for one that no node has.
    pub fn of_elf(machine: u16) -> Option<Self> {
        Self::find(|one| one.elf_machine() == machine)
    }

    fn find(is: impl Fn(Self) -> bool) -> Option<Self> {
        Self::ALL.into_iter().map(|(_, one)| one).find(|one| is(*one))
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        let names = Self::ALL.map(|(known, _)| known).join(", ");
        Ok(found.ok_or(format!("nodes are no `{name}`; they are: {names}"))?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back() {
        for (name, one) in Architecture::ALL {
            assert_eq!((one.name(), one.to_string().as_str()), (name, name));
            assert_eq!(Architecture::of_pe(one.pe_machine()), Some(one));
            assert_eq!(Architecture::of_elf(one.elf_machine()), Some(one));
            assert_ne!(one.other(), one);
            assert_eq!(name.parse(), Ok(one));
        }
        assert!("arm".parse::<Architecture>().unwrap_err().ends_with("x86_64, aarch64"));
        assert_eq!((Architecture::of_pe(0), Architecture::of_elf(0)), (None, None));
    }

    #[test]
    fn this_test_runs_on_the_host() {
        let known = Architecture::ALL
            .iter()
            .any(|(name, _)| *name == std::env::consts::ARCH);
        assert!(!known || Architecture::HOST.name() == std::env::consts::ARCH);
    }
}
