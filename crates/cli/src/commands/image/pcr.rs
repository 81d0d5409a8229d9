//! `mos image pcr`.

use std::path::PathBuf;

use mos_boot::pcr::policy::{self, Verdict};
use mos_boot::pcr::{self, Bank};
use serde::Serialize;

use crate::error::{CliError, Kind, Result};
use crate::output;

/// Predict what PCR 11 of the TPM will hold when firmware has started an EFI file
///
/// systemd's stub measures the parts of the image into that register: kernel, os-release, command line, initramfs. A secret
/// sealed to this value is given out only to this image. --phase is for nodes whose init is systemd, which measures on.
///
/// Signed policies in the file are checked: the exit code is 3 when one of them is not of this image, or not by its key.
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

#[derive(Serialize)]
struct Prediction {
    registers: Vec<Register>,
    policies: Vec<Policy>,
}

#[derive(Serialize)]
struct Policy {
    /// SHA-256 of the public key.
    key: String,
    /// After which phases; nothing when it fits none.
    phase: Option<String>,
    holds: bool,
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
    let verdicts =
        policy::verify(&image).map_err(|error| CliError::problem(format!("{}: {error}", args.file.display())))?;
    let prediction = Prediction {
        registers,
        policies: verdicts.into_iter().map(policy).collect(),
    };
    if args.json {
        output::json(&prediction)?;
    } else {
        prediction.registers.iter().try_for_each(|it| output::line(line(it)))?;
        prediction
            .policies
            .iter()
            .try_for_each(|it| output::line(policy_line(it)))?;
    }
    if prediction.policies.iter().all(|it| it.holds) {
        return Ok(());
    }
    let why = format!("{} has a policy for PCR 11 that does not hold", args.file.display());
    Err(CliError::new(Kind::Trust, why).with_hint("sign the file as it was built: `mos image sign --pcr-key`"))
}

fn policy(verdict: Verdict) -> Policy {
    Policy {
        key: verdict.key,
        phase: verdict.phases,
        holds: verdict.holds,
    }
}

fn line(it: &Register) -> String {
    let line = format!("{}:{}={}", it.pcr, it.bank, it.hash);
    if it.phase.is_empty() {
        line
    } else {
        format!("{line}  {}", it.phase)
    }
}

fn policy_line(it: &Policy) -> String {
    let what = if it.holds { "holds" } else { "DOES NOT HOLD" };
    let phase = it.phase.as_deref().filter(|phase| !phase.is_empty());
    format!(
        "policy {what}, by {}{}",
        it.key,
        phase.map(|phase| format!("  {phase}")).unwrap_or_default()
    )
}
