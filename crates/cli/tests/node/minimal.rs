//! `examples/minimal`: a kernel that is compiled from Debian's source, and nothing but our own programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::{cache, run};
use crate::system::{System, dead_port};

/// What one file for virtual machines may take, in bytes.
const LARGEST: u64 = 7_000_000;

/// The example as a system of its own, with a channel at a port that nobody else uses.
fn example() -> System {
    let system = System::new(&[]);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal");
    for file in ["image/packages.list", "image/files/etc/motd"] {
        fs::remove_file(system.repository().join(file)).unwrap();
    }
    for file in [
        "mos.toml",
        "image/kernel.config",
        "image/modules.conf",
        "environments/dev.toml",
    ] {
        let text = fs::read_to_string(example.join(file)).unwrap();
        system.write(file, &text.replace(":8480", &format!(":{}", dead_port())));
    }
    system
}

/// The archive of the one kernel that a cache has by this key, or of the only one.
fn kernel(cache: &Path, key: Option<&str>) -> PathBuf {
    let steps = cache.join("steps/kernel");
    let key = key.map(str::to_owned).unwrap_or_else(|| {
        let mut entries = fs::read_dir(&steps).unwrap();
        let entry = entries.next().unwrap().unwrap();
        assert!(entries.next().is_none(), "{}: more than one kernel", steps.display());
        entry.file_name().into_string().unwrap()
    });
    steps.join(key).join("kernel.cpio")
}

/// Boots under firmware until the node is ready; gives what was said, and the size of the file.
fn boot(system: &System) -> (String, u64) {
    let output = system.mos(&["run", "--env", "dev", "--reset", "--until", "ready", "--timeout", "300"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let efi = fs::metadata(system.repository().join("dist/vmlinuz.efi")).unwrap();
    (said, efi.len())
}

/// The file says itself what is in it: nothing is beside it.
fn assert_contents(system: &System) {
    let alone = system.folder().join("alone.efi");
    fs::copy(system.repository().join("dist/vmlinuz.efi"), &alone).unwrap();
    let output = system.mos(&["image", "size", alone.to_str().unwrap(), "--json"]);
    let sizes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| sizes[name].as_u64().unwrap();
    assert!(
        number("initramfs") > 1_000_000 && number("kernel") > number("initramfs"),
        "{sizes}"
    );
    let files = sizes["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["path"] == "sbin/mos-node"), "{sizes}");
}

/// First the kernel with everything in it: where it was compiled is kept, so that it is compiled once for both.
#[test]
#[ignore = "compiles a kernel, for 13 minutes of a processor: make test-long"]
fn a_kernel_from_source_boots_around_its_initramfs_and_beside_it() {
    let system = example();
    let settings = fs::read_to_string(system.repository().join("mos.toml")).unwrap();
    let embedded = settings.replace("# initramfs = \"embedded\"", "initramfs = \"embedded\"");
    assert_ne!(settings, embedded);
    for (text, name) in [(&embedded, "embedded"), (&settings, "uki")] {
        system.write("mos.toml", text);
        let (said, bytes) = boot(&system);
        for expected in [
            "BdsDxe: starting",
            "Linux version 6.12",
            "-mos (mos@mos)",
            "] ready",
            "poweroff",
        ] {
            assert!(said.contains(expected), "{name}: `{expected}` is missing:\n{said}");
        }
        assert!(!said.contains("unable to open an initial console"), "{name}:\n{said}");
        assert!(bytes <= LARGEST, "{name}: {bytes} bytes");
        assert_contents(&system);
        println!("{name}: {bytes} bytes");
    }
    let lock = fs::read_to_string(system.repository().join("mos.lock")).unwrap();
    assert!(
        lock.contains("name = \"linux-source-6.12\"") && !lock.contains("linux-image"),
        "{lock}"
    );
}

/// The one in the cache that all tests share is compiled in the folder of that cache; the other one elsewhere, by a user of
/// another name, in another time zone and language.
#[test]
#[ignore = "compiles a kernel twice, for 26 minutes of a processor: make test-long"]
fn a_kernel_from_source_is_the_same_to_the_bit_wherever_it_is_compiled() {
    let system = example();
    system.mos(&["image", "build", "--env", "dev"]);
    let elsewhere = system.folder().join("another/folder/with/a/longer/name/cache");
    fs::create_dir_all(&elsewhere).unwrap();
    symlink(cache().join("apt"), elsewhere.join("apt")).unwrap();
    let mut again = system.command(&["image", "build", "--env", "dev", "--output-dir", "again"]);
    again.env("MOS_CACHE", &elsewhere);
    again.envs([("USER", "stranger"), ("TZ", "Pacific/Apia"), ("LC_ALL", "C.UTF-8")]);
    run(&mut again);
    let second = kernel(&elsewhere, None);
    let key = second.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let first = kernel(&cache(), Some(key));
    // Kernel, modules, symbols, lists of what is built in.
    assert!(
        fs::read(&first).unwrap() == fs::read(&second).unwrap(),
        "{first:?} {second:?}"
    );
    let image = |folder: &str| fs::read(system.repository().join(folder).join("vmlinuz.efi")).unwrap();
    assert!(image("dist") == image("again"));
}
