//! A disk that firmware boots from: an EFI system partition, and one for the node's state if wished.

use sha2::{Digest as _, Sha256};

use super::fat::{self, Kind, Volume};
use super::gpt::{self, Partition, SECTOR};
use super::{Bootable, MediaError, Sparse, ext4, uuid};

/// Partitions begin and end on these, as every partitioning tool has it: a multiple of any drive's own blocks.
const ALIGNMENT: u64 = 1 << 20;
/// What an EFI system partition has beside twice the image: room for keys and for what firmware writes.
const ESP_SPARE: u64 = 16 << 20;

/// What a disk has beside the boot image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskOptions {
    /// When the image was built, in seconds since 1970.
    pub built: i64,
    /// Bytes of the EFI system partition; room for two such images when absent.
    pub esp: Option<u64>,
    /// Bytes of an empty partition for the node's state (ext4, labelled `mosdata`); none when absent.
    pub state: Option<u64>,
}

/// Plans a disk. The EFI file is borrowed, not copied.
///
/// # Errors
/// See [`MediaError`].
pub fn disk<'a>(image: Bootable<'a>, options: &DiskOptions) -> Result<Sparse<'a>, MediaError> {
    let efi = image.efi;
    let hash = Sha256::digest(efi);
    let esp_bytes = options
        .esp
        .map_or_else(|| default_esp(efi), |bytes| bytes.next_multiple_of(ALIGNMENT));
    let state_bytes = options.state.unwrap_or(0).next_multiple_of(ALIGNMENT);
    let esp = Partition {
        kind: gpt::EFI_SYSTEM,
        id: uuid(&hash, "esp"),
        name: "esp",
        first: ALIGNMENT / SECTOR,
        sectors: esp_bytes / SECTOR,
    };
    let state = Partition {
        kind: gpt::LINUX_DATA,
        id: uuid(&hash, "state"),
        name: "mosdata",
        first: esp.first + esp.sectors,
        sectors: state_bytes / SECTOR,
    };
    let mut disk = Sparse::new(ALIGNMENT + esp_bytes + state_bytes + ALIGNMENT);
    let partitions = [esp, state];
    let partitions = &partitions[..1 + usize::from(options.state.is_some())];
    gpt::put(&mut disk, uuid(&hash, "disk"), partitions);
    let volume = Volume {
        kind: Kind::Fat32,
        bytes: esp_bytes,
        hidden: esp.first,
        id: volume_id(&hash),
        label: "MOS",
        time: options.built,
        path: &image.path(),
    };
    disk.place(esp.first * SECTOR, fat::volume(&volume, efi)?);
    if options.state.is_some() {
        let file_system = ext4::empty(state_bytes, "mosdata", uuid(&hash, "ext4"), options.built)?;
        disk.place(state.first * SECTOR, file_system);
    }
    Ok(disk)
}

/// The serial number of a FAT volume.
pub(super) fn volume_id(hash: &[u8]) -> u32 {
    let id = uuid(hash, "fat");
    u32::from_le_bytes([id[0], id[1], id[2], id[3]])
}

fn default_esp(efi: &[u8]) -> u64 {
    let wanted = 2 * efi.len() as u64 + ESP_SPARE;
    fat::least(Kind::Fat32, wanted).next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tests::{TIME, image, tool, written};
    use std::fs;

    const PLAIN: DiskOptions = DiskOptions {
        built: TIME,
        esp: None,
        state: None,
    };
    const WITH_STATE: DiskOptions = DiskOptions {
        state: Some(1 << 30),
        ..PLAIN
    };

    #[test]
    fn standard_tools_find_table_and_image() {
        let efi = image(3 << 20);
        let directory = tempfile::tempdir().unwrap();
        let path = written(
            &directory,
            "disk.raw",
            &disk(Bootable::uki(&efi).unwrap(), &WITH_STATE).unwrap(),
        );
        let Some(said) = tool("sgdisk", &["-v", "-p", &path]) else {
            return;
        };
        assert!(said.contains("No problems found"), "{said}");
        assert!(
            said.contains("EF00") && said.contains("8300") && said.contains("mosdata"),
            "{said}"
        );
        let esp = format!("{path}@@1M");
        let copy = directory.path().join("copy");
        let Some(_) = tool(
            "mcopy",
            &["-n", "-o", "-i", &esp, "::EFI/BOOT/BOOTX64.EFI", copy.to_str().unwrap()],
        ) else {
            return;
        };
        assert!(fs::read(copy).unwrap() == efi);
    }

    #[test]
    fn a_second_image_fits_beside_the_first() {
        let efi = image(40 << 20);
        let directory = tempfile::tempdir().unwrap();
        let path = written(
            &directory,
            "disk.raw",
            &disk(Bootable::uki(&efi).unwrap(), &PLAIN).unwrap(),
        );
        let file = directory.path().join("second");
        fs::write(&file, &efi).unwrap();
        let esp = format!("{path}@@1M");
        let Some(_) = tool("mcopy", &["-i", &esp, file.to_str().unwrap(), "::EFI/BOOT/NEXT.EFI"]) else {
            return;
        };
        assert!(tool("mdir", &["-i", &esp, "::EFI/BOOT"]).unwrap().contains("NEXT"));
    }

    #[test]
    fn bytes_repeat_and_follow_the_image() {
        let (one, other) = (image(100), image(101));
        assert_eq!(
            disk(Bootable::uki(&one).unwrap(), &PLAIN).unwrap(),
            disk(Bootable::uki(&one).unwrap(), &PLAIN).unwrap()
        );
        let (one, other) = (
            disk(Bootable::uki(&one).unwrap(), &PLAIN).unwrap(),
            disk(Bootable::uki(&other).unwrap(), &PLAIN).unwrap(),
        );
        let guid = |disk: &Sparse<'_>| {
            let mut guid = [0; 16];
            disk.read(SECTOR + 56, &mut guid);
            guid
        };
        assert_ne!(guid(&one), guid(&other));
    }

    #[test]
    fn a_partition_that_is_too_small_is_named_with_its_setting() {
        let efi = image(40 << 20);
        let small = DiskOptions {
            esp: Some(36 << 20),
            ..PLAIN
        };
        let error = disk(Bootable::uki(&efi).unwrap(), &small).unwrap_err().to_string();
        assert!(
            error.contains("the EFI system partition") && error.contains("`esp_size`"),
            "{error}"
        );
    }
}
