//! The kernel of Debian's package as one of Alpine's.

use std::io::Write as _;

use mos_architecture::Architecture;
use mos_kernel::Kernel;
use mos_packages::{Apt, deb};
use mos_testkit::apk::PackageBuilder;
use mos_tree::{Kind, Tree};

use crate::support::cache;

/// The kernel that the examples boot.
const DEBIAN_KERNEL: &str = "linux-image-6.12-cloud-amd64";
/// The modules that a node of the tests asks for, and what they need.
const MODULES: [&str; 7] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_rng",
    "ext4",
    "button",
    "evdev",
];

/// A kernel package as Alpine makes them: named by its flavour, its modules compressed with gzip.
pub(crate) fn linux_virt() -> PackageBuilder {
    let tree = debian_kernel();
    let kernel = Kernel::open(&tree).unwrap();
    let version = kernel.version();
    let flavour = version.rsplit('-').next().unwrap();
    let modules = kernel.select(&MODULES).unwrap();
    let folder = format!("lib/modules/{version}");
    let mut package = PackageBuilder::new("linux-virt", "6.12.50-r0")
        .info("size", "67108864")
        .depend("initramfs-generator kmod")
        .file(&format!("boot/vmlinuz-{flavour}"), kernel.image().read().unwrap());
    for list in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        package = package.file(&format!("{folder}/{list}"), file(&tree, list, &folder));
    }
    for module in &modules.modules {
        let plain = module.content.read().unwrap();
        package = package.file(&format!("{folder}/{}.gz", module.path), gzip(&plain));
    }
    package
}

fn debian_kernel() -> Tree {
    let apt = Apt::new(cache().join("apt"), Architecture::X86_64);
    let locked = apt.resolve_kernel(DEBIAN_KERNEL, &mut |_| {}).unwrap();
    deb::read(&apt.fetch(&locked, &mut |_| {}).unwrap().path).unwrap().tree
}

fn file(tree: &Tree, name: &str, folder: &str) -> Vec<u8> {
    let path = [folder.to_owned(), format!("usr/{folder}")]
        .into_iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| tree.get(path).is_some());
    match &tree.get(path.unwrap()).unwrap().kind {
        Kind::File(content) => content.read().unwrap(),
        other => panic!("{name} is {other:?}"),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
