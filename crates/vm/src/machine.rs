//! What to run: a plain description, without anything found or opened yet.

use crate::accel::Accelerator;
use mos_architecture::Architecture;
use std::ffi::OsString;
use std::path::PathBuf;

/// Memory that a node with a packaged kernel and a full initramfs is comfortable with, in MiB.
pub const DEFAULT_MEMORY: u32 = 1024;

/// What runs the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hypervisor {
    /// QEMU: everything here, with or without KVM.
    #[default]
    Qemu,
    /// Cloud Hypervisor: needs KVM; no user network, no Secure Boot.
    CloudHypervisor,
}

/// How the machine boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// As a real node does: UEFI firmware finds this EFI program (a unified kernel image) on a disk and starts it.
    Firmware {
        /// The image.
        image: PathBuf,
    },
    /// UEFI firmware starts what it finds on a medium, with nothing of the host beside it.
    Media(Medium),
    /// Without firmware: QEMU loads the kernel itself. A second or more faster, and less like a node.
    Direct {
        /// The kernel.
        kernel: PathBuf,
        /// The initramfs.
        initrd: Option<PathBuf>,
        /// The kernel command line.
        command_line: OsString,
    },
}

/// What firmware boots from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Medium {
    /// A disk (virtio-blk), which the guest may write to.
    Disk(Disk),
    /// An ISO image in a CD drive.
    Disc(PathBuf),
    /// The same image, or a raw disk, on a USB stick, read-only.
    Stick(PathBuf),
    /// The network: QEMU serves a folder by TFTP, and DHCP names the file in it. The machine needs
    /// [`Network::User`].
    Network {
        /// The folder.
        folder: PathBuf,
        /// The EFI program.
        file: String,
    },
}

/// How a disk's content is stored in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// Byte for byte, usually with holes.
    Raw,
    /// QEMU's own, which grows.
    Qcow2,
}

impl DiskFormat {
    /// QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// One disk (virtio-blk), which must exist; [`disk`](crate::disk) makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its file.
    pub path: PathBuf,
    /// The file's format.
    pub format: DiskFormat,
}

/// A TCP port of the host (127.0.0.1 only) that leads to one of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The host's port; 0 for any that is free, which [`Vm::forwards`](crate::Vm::forwards) then tells.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
}

/// What the machine's network card is connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Network {
    /// There is none.
    None,
    /// QEMU's user network: the host is 10.0.2.2, DHCP gives 10.0.2.15.
    #[default]
    User,
    /// This bridge of the host, through a TAP interface that lives as long as the machine.
    Bridge(String),
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What runs it.
    pub hypervisor: Hypervisor,
    /// Its processor: what the image is for.
    pub architecture: Architecture,
    /// How it boots.
    pub boot: Boot,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub processors: u32,
    /// Disks in order: `vda`, `vdb` ... with [`Boot::Direct`]; the firmware's boot medium comes after them.
    pub disks: Vec<Disk>,
    /// Its network card.
    pub network: Network,
    /// Ports that lead into the guest; they need [`Network::User`].
    pub forwards: Vec<Forward>,
    /// Further devices, each as QEMU's `-device` takes it.
    pub devices: Vec<String>,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// With [`Boot::Firmware`]: variables in which keys are enrolled. The firmware then starts only what they signed.
    pub secure_boot: Option<PathBuf>,
    /// When the guest restarts, the machine does; otherwise it then ends.
    pub restarts: bool,
    /// A TPM 2.0, with the directory where it keeps its state between runs.
    pub tpm: Option<PathBuf>,
}

impl Machine {
    /// A machine like the host with one processor, 1 GiB of memory, a network, no disk, in software.
    pub fn new(boot: Boot) -> Self {
        Self {
            hypervisor: Hypervisor::Qemu,
            architecture: Architecture::HOST,
            boot,
            memory: DEFAULT_MEMORY,
            processors: 1,
            disks: Vec::new(),
            network: Network::User,
            forwards: Vec::new(),
            devices: Vec::new(),
            accelerator: Accelerator::Tcg,
            secure_boot: None,
            restarts: false,
            tpm: None,
        }
    }
}
