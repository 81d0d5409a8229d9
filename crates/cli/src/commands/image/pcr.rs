//! `mos image pcr`.

use std::path::PathBuf;

use mos_boot::pcr::{self, Bank};
use serde::Serialize;

use crate::error::{CliError, Result};
use crate::output;

/// Predict what PCR 11 of the TPM will hold when firmware has started an EFI file
///
/// systemd's stub measures the parts of the image into that register: kernel, os-release, command line, initramfs. A secret
/// sealed to this value is given out only to this image. --phase is for nodes whose init is systemd, which measures on.
#[derive(Debug, clap::Args)]
pub(crate) struct PcrArgs {
    /// The file
    #[arg(default_value = "dist/vmlinuz.efi")]
    file: PathBuf,

    /// Phases of the boot that systemd measures too, such as enter-initrd:leave-initrd (can be repeated)
    #[arg(long, value_name = "A:B")]
    phase: Vec<String>,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Register {
    bank: String,
    pcr: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    phase: String,
    hash: String,
}

pub(crate) fn run(args: &PcrArgs) -> Result<()> {
    let image = super::read(&args.file)?;
    let wrong = |error| CliError::problem(format!("{}: {error}", args.file.display()));
    let mut registers = Vec::new();
    for bank in Bank::ALL {
        for phase in std::iter::once("").chain(args.phase.iter().map(String::as_str)) {
            let value = pcr::predict(&image, bank, phase).map_err(wrong)?;
            registers.push(Register {
                bank: bank.to_string(),
                pcr: pcr::REGISTER,
                phase: phase.to_owned(),
                hash: value.iter().map(|byte| format!("{byte:02x}")).collect(),
            });
        }
    }
    if args.json {
        return output::json(&registers);
    }
    registers.iter().try_for_each(|it| {
        let phase = if it.phase.is_empty() {
            String::new()
        } else {
            format!("  {}", it.phase)
        };
        output::line(format!("{}:{}={}{phase}", it.pcr, it.bank, it.hash))
    })
}
