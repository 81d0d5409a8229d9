//! The initramfs and the command line in the kernel itself (`CONFIG_INITRAMFS_SOURCE`, `CONFIG_CMDLINE`): one file that
//! firmware starts, without a stub around it.

use std::fs;

use mos_cache::Inputs;
use mos_components::Progress;
use mos_config::KernelSetting;
use mos_store::Digest;

use crate::error::KbuildError;
use crate::kernel::{KEPT_CONFIG, Kernel};
use crate::source::Source;

/// The step's name in the cache.
const STEP: &str = "kernel with initramfs";
/// Raised whenever the same inputs would give another file than before.
const FORMAT: u32 = 1;
const EFI_FILE: &str = "vmlinuz.efi";
/// Who wants these settings.
const PLACE: &str = "mos.toml: [image] initramfs = \"embedded\"";

/// What goes into a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Embedded<'e> {
    /// The initramfs: a cpio archive, with `/dev/console` in it, since it takes the place of the kernel's own.
    pub initramfs: &'e [u8],
    /// How it is compressed: `""`, `".xz"`, `".zst"`.
    pub suffix: &'e str,
    /// The kernel's command line.
    pub command_line: &'e str,
    /// True when nothing that starts the kernel may add to the command line: what a signature covers stays as it is.
    pub is_final: bool,
}

impl Kernel {
    /// The kernel with an initramfs in it, as firmware starts it: from the cache, or linked now in the folder where the
    /// kernel was compiled, which is compiled again when it is gone.
    ///
    /// # Errors
    /// As [`Kernel::build`].
    pub fn embed(
        &self,
        source: &Source,
        parts: &Embedded<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<u8>, KbuildError> {
        let key = Inputs::new(STEP, FORMAT)
            .add_digest("kernel", &self.key())
            .add_digest("initramfs", &Digest::of(parts.initramfs))
            .add("suffix", parts.suffix)
            .add("command line", parts.command_line)
            .add("final", [u8::from(parts.is_final)])
            .key();
        let cached = self.shop.cache().step(STEP, &key, |output| {
            let path = output.join(EFI_FILE);
            fs::write(&path, self.link(source, parts, progress)?).map_err(KbuildError::at(&path))
        })?;
        let path = cached.path.join(EFI_FILE);
        fs::read(&path).map_err(KbuildError::at(&path))
    }

    fn link(&self, source: &Source, parts: &Embedded<'_>, progress: &mut Progress<'_>) -> Result<Vec<u8>, KbuildError> {
        let (mut work, _lock) = self.kept(source, progress)?;
        let name = format!("mos.cpio{}", parts.suffix);
        let path = work.file(&name);
        fs::write(&path, parts.initramfs).map_err(KbuildError::at(&path))?;
        let kept = work.file("..").join(KEPT_CONFIG);
        let base = fs::read_to_string(&kept).map_err(KbuildError::at(&kept))?;
        work.settle(&base, &settings(&name, parts), &[])?;
        work.link()?;
        let image = work.image();
        fs::read(&image).map_err(KbuildError::at(&image))
    }
}

fn settings(file: &str, parts: &Embedded<'_>) -> Vec<KernelSetting> {
    let flag = |on: bool| if on { "y" } else { "n" }.to_owned();
    let settings = [
        // A relative path begins where make runs, so no path of this machine gets into the kernel.
        ("INITRAMFS_SOURCE", quoted(file)),
        ("INITRAMFS_COMPRESSION_NONE", flag(parts.suffix.is_empty())),
        ("CMDLINE_BOOL", flag(true)),
        ("CMDLINE", quoted(parts.command_line)),
        ("CMDLINE_OVERRIDE", flag(parts.is_final)),
    ];
    let wanted = settings.into_iter().filter(|(name, value)| {
        // Of an archive that is compressed already, the kernel's make asks nothing.
        *name != "INITRAMFS_COMPRESSION_NONE" || value == "y"
    });
    wanted
        .map(|(name, value)| KernelSetting {
            name: name.to_owned(),
            value,
            place: PLACE.to_owned(),
        })
        .collect()
}

/// A string as a `.config` has it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_quoted_and_final_only_when_it_has_to_be() {
        let parts = Embedded {
            initramfs: b"070701",
            suffix: ".zst",
            command_line: "console=ttyS0 x=\"a\\b\"",
            is_final: true,
        };
        let shown = |parts: &Embedded<'_>| -> Vec<String> {
            let settings = settings("mos.cpio", parts);
            settings.iter().map(|it| format!("{}={}", it.name, it.value)).collect()
        };
        assert_eq!(
            shown(&parts),
            [
                "INITRAMFS_SOURCE=\"mos.cpio\"",
                "CMDLINE_BOOL=y",
                "CMDLINE=\"console=ttyS0 x=\\\"a\\\\b\\\"\"",
                "CMDLINE_OVERRIDE=y",
            ]
        );
        let plain = Embedded {
            suffix: "",
            is_final: false,
            ..parts
        };
        let plain = shown(&plain);
        assert!(plain.contains(&"INITRAMFS_COMPRESSION_NONE=y".to_owned()), "{plain:?}");
        assert!(plain.contains(&"CMDLINE_OVERRIDE=n".to_owned()), "{plain:?}");
    }
}
