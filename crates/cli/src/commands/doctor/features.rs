//! What each feature of MOS needs of the host.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use mos_architecture::Architecture;
use mos_vm::tools;

use crate::commands::doctor::host::Packages;

/// Something that MOS does with the help of others.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// What it is, and how it is asked for.
    pub(crate) what: &'static str,
    pub(crate) needs: &'static [Need],
}

/// One thing that it needs.
pub(crate) struct Need {
    pub(crate) name: &'static str,
    thing: Thing,
    pub(crate) packages: Packages,
    /// What is lost without it; `None` when nothing works without it.
    pub(crate) optional: Option<&'static str>,
}

enum Thing {
    /// A program in the search path, or among the system's.
    Program,
    /// A file or device that can be opened, in one of these places.
    File(&'static [&'static str]),
    /// Firmware for virtual machines of an architecture, wherever the distribution keeps it.
    Firmware(Architecture),
    /// The same with Secure Boot, for x86-64.
    SecureFirmware,
}

const fn packages(debian: &'static str, arch: &'static str, alpine: &'static str) -> Packages {
    Packages { debian, arch, alpine }
}

const fn program(name: &'static str, packages: Packages) -> Need {
    need(name, Thing::Program, packages)
}

const fn need(name: &'static str, thing: Thing, packages: Packages) -> Need {
    Need {
        name,
        thing,
        packages,
        optional: None,
    }
}

impl Need {
    const fn or(self, lost: &'static str) -> Self {
        Self {
            optional: Some(lost),
            ..self
        }
    }

    /// Where it is.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        match self.thing {
            Thing::Program => tools::program((self.name, self.packages.debian)).ok(),
            Thing::File(places) => {
                let opens = |path: &&&str| std::fs::File::open(path).is_ok();
                places.iter().find(opens).map(PathBuf::from)
            }
            Thing::Firmware(architecture) => tools::firmware(architecture).ok().map(|firmware| firmware.code),
            Thing::SecureFirmware => tools::secure_firmware().ok().map(|firmware| firmware.code),
        }
    }
}

const CC: Need = program("cc", packages("gcc", "gcc", "gcc"));
/// The architecture of nodes that this machine is not.
const OTHER: Architecture = Architecture::HOST.other();

/// What is for the other architecture, by name: the first when that is x86-64.
const fn for_other(x86: &'static str, arm: &'static str) -> &'static str {
    match OTHER {
        Architecture::X86_64 => x86,
        Architecture::Aarch64 => arm,
    }
}

const fn qemu(architecture: Architecture) -> Need {
    let (name, debian) = tools::qemu(architecture);
    program(
        name,
        match architecture {
            Architecture::X86_64 => packages(debian, "qemu-system-x86", "qemu-system-x86_64"),
            Architecture::Aarch64 => packages(debian, "qemu-system-aarch64", "qemu-system-aarch64"),
        },
    )
}

const fn firmware(architecture: Architecture) -> Need {
    let (name, packages) = match architecture {
        Architecture::X86_64 => ("OVMF", packages("ovmf", "edk2-ovmf", "ovmf")),
        Architecture::Aarch64 => ("AAVMF", packages("qemu-efi-aarch64", "edk2-aarch64", "aavmf")),
    };
    need(name, Thing::Firmware(architecture), packages)
}

const QEMU: Need = qemu(Architecture::HOST);
const QEMU_IMG: Need = program(tools::QEMU_IMG.0, packages(tools::QEMU_IMG.1, "qemu-img", "qemu-img"));
const MKFS: Need = program(
    tools::MKFS_EXT4.0,
    packages(tools::MKFS_EXT4.1, "e2fsprogs", "e2fsprogs"),
);
const KVM: Need = need("/dev/kvm", Thing::File(&["/dev/kvm"]), packages("", "", ""));

/// Every feature, in the order in which a system is made.
pub(crate) const FEATURES: [Feature; 13] = [
    Feature {
        name: "build",
        what: "components from source: mos build, mos runtime build",
        needs: &[
            program("cargo", packages("cargo", "rust", "cargo")),
            program("rustc", packages("rustc", "rust", "rust")),
            CC,
            need(
                "libc.a",
                Thing::File(&[
                    "/usr/lib/x86_64-linux-gnu/libc.a",
                    "/usr/lib/aarch64-linux-gnu/libc.a",
                    "/usr/lib/libc.a",
                ]),
                packages("libc6-dev", "glibc", "musl-dev"),
            )
            .or("static programs need Rust's target with musl"),
            program("musl-gcc", packages("musl-tools", "musl", ""))
                .or("programs are static with glibc, and twice as large"),
            need(
                "source of Rust's standard library",
                Thing::File(&["/usr/lib/rustlib/src/rust/library/std/src/lib.rs"]),
                packages("rust-src", "rust-src", "rust-src"),
            )
            .or("it comes from rustup with musl, or programs are static with glibc, and twice as large"),
            program("git", packages("git", "git", "git")),
        ],
    },
    Feature {
        name: for_other("build-x86_64", "build-aarch64"),
        what: for_other(
            "the same for nodes that are x86_64, with build: [image] architecture",
            "the same for nodes that are aarch64, with build: [image] architecture",
        ),
        needs: &[
            program(
                for_other("x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc"),
                packages(
                    for_other("gcc-x86-64-linux-gnu", "gcc-aarch64-linux-gnu"),
                    for_other("", "aarch64-linux-gnu-gcc"),
                    "",
                ),
            ),
            need(
                for_other("libc.a for x86_64", "libc.a for aarch64"),
                Thing::File(&[for_other(
                    "/usr/x86_64-linux-gnu/lib/libc.a",
                    "/usr/aarch64-linux-gnu/lib/libc.a",
                )]),
                packages(
                    for_other("libc6-dev-amd64-cross", "libc6-dev-arm64-cross"),
                    for_other("", "aarch64-linux-gnu-glibc"),
                    "",
                ),
            )
            .or("static programs need Rust's target with musl"),
            need(
                "/usr/bin/rustc",
                Thing::File(&["/usr/bin/rustc"]),
                packages("rustc", "", ""),
            )
            .or("Rust's target with musl must come from rustup"),
        ],
    },
    Feature {
        name: "debian",
        what: "Debian as the base, and its packaged kernels",
        needs: &[
            program("apt-get", packages("apt", "", "")),
            program("apt-cache", packages("apt", "", "")),
        ],
    },
    Feature {
        name: "alpine",
        what: "Alpine as the base: nothing, mos reads its repositories itself",
        needs: &[],
    },
    Feature {
        name: "kernel",
        what: "a kernel built from source",
        needs: &[
            program("make", packages("make", "make", "make")),
            CC,
            program("ld", packages("binutils", "binutils", "binutils")),
            program("flex", packages("flex", "flex", "flex")),
            program("bison", packages("bison", "bison", "bison")),
            program("bc", packages("bc", "bc", "bc")),
            program("perl", packages("perl", "perl", "perl")),
            need(
                "libelf.h",
                Thing::File(&["/usr/include/libelf.h"]),
                packages("libelf-dev", "libelf", "elfutils-dev"),
            )
            .or("no kernel with stack validation (CONFIG_OBJTOOL)"),
        ],
    },
    Feature {
        name: "run",
        what: "a node in a virtual machine: mos run",
        needs: &[
            QEMU,
            firmware(Architecture::HOST),
            MKFS.or("no state disk is made"),
            QEMU_IMG.or("no further disks are made"),
            KVM.or("QEMU runs in software, slowly"),
        ],
    },
    Feature {
        name: for_other("run-x86_64", "run-aarch64"),
        what: for_other(
            "the same for a node that is x86_64, in software",
            "the same for a node that is aarch64, in software",
        ),
        needs: &[
            qemu(OTHER),
            firmware(OTHER),
            MKFS.or("no state disk is made"),
            QEMU_IMG.or("no further disks are made"),
        ],
    },
    Feature {
        name: "cloud-hypervisor",
        what: "a node in another machine: mos run --hypervisor ch",
        needs: &[
            program("cloud-hypervisor", packages("", "cloud-hypervisor", "cloud-hypervisor")),
            KVM,
            QEMU_IMG.or("no further disks are made"),
            program("ip", packages("iproute2", "iproute2", "iproute2")).or("no bridge: --bridge"),
        ],
    },
    Feature {
        name: "secure-boot",
        what: "firmware that checks signatures: mos run --secure-boot",
        needs: &[
            QEMU,
            need(
                "OVMF with Secure Boot",
                Thing::SecureFirmware,
                packages("ovmf", "edk2-ovmf", "ovmf"),
            ),
        ],
    },
    Feature {
        name: "tpm",
        what: "a TPM in software: mos run --tpm",
        needs: &[
            QEMU,
            program(tools::SWTPM.0, packages(tools::SWTPM.1, "swtpm", "swtpm")),
        ],
    },
    Feature {
        name: "tokens",
        what: "signing with keys in a token: mos image sign --key pkcs11:…",
        needs: &[program("pkcs11-tool", packages("opensc", "opensc", "opensc"))],
    },
    Feature {
        name: "encrypted-keys",
        what: "signing with a key that has a passphrase: mos image sign",
        needs: &[program("openssl", packages("openssl", "openssl", "openssl"))],
    },
    Feature {
        name: "flist-mount",
        what: "mounting flists as an ordinary user: mos flist mount",
        needs: &[
            need("/dev/fuse", Thing::File(&["/dev/fuse"]), packages("", "", "")),
            program("fusermount3", packages("fuse3", "fuse3", "fuse3")),
        ],
    },
];

/// The features by name, for the command line.
pub(crate) fn names() -> Vec<PossibleValue> {
    let value = |feature: &Feature| PossibleValue::new(feature.name).help(feature.what);
    FEATURES.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_the_default_ones_exist() {
        let names: BTreeSet<&str> = FEATURES.iter().map(|feature| feature.name).collect();
        assert_eq!(names.len(), FEATURES.len());
        for name in super::super::DEFAULT {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn whatever_a_package_can_bring_has_one_on_debian() {
        for need in FEATURES.iter().flat_map(|feature| feature.needs) {
            let device = need.name.starts_with("/dev/");
            // Debian 12 has no cloud-hypervisor.
            let none = device || need.name == "cloud-hypervisor";
            assert_eq!(need.packages.debian.is_empty(), none, "{}", need.name);
        }
    }

    #[test]
    fn what_is_there_is_found() {
        let shell = program("sh", packages("dash", "dash", "busybox"));
        assert!(shell.find().is_some_and(|path| path.ends_with("sh")));
        assert_eq!(program("no-such-program", packages("x", "", "")).find(), None);
        let absent = need("absent", Thing::File(&["/no/such/file"]), packages("", "", ""));
        assert_eq!(absent.find(), None);
    }
}
