//! `mos image verify`.

use std::path::PathBuf;

use mos_boot::secure_boot::{self, Certificate, Signature};
use serde::Serialize;

use super::sign::trust;
use crate::error::{CliError, Kind, Result};
use crate::output;

/// Check whether firmware that knows these certificates would start an EFI file
///
/// The exit code is 3 when no signature is valid and from one of them.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// A certificate as in the firmware's db, PEM or DER (can be repeated)
    #[arg(long, value_name = "FILE", required = true)]
    cert: Vec<PathBuf>,

    /// The file
    #[arg(default_value = "dist/vmlinuz.efi")]
    file: PathBuf,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verdict {
    /// The digest that signatures are of (Authenticode), not that of the file.
    digest: String,
    trusted: bool,
    signatures: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    signer: String,
    /// SHA-256 of the signer's certificate.
    fingerprint: String,
    /// Whether the file is as it was signed.
    holds: bool,
    trusted: bool,
}

pub(crate) fn run(args: &VerifyArgs) -> Result<()> {
    let program = super::read(&args.file)?;
    let trusted: Vec<_> = args
        .cert
        .iter()
        .map(|path| Certificate::read(path))
        .collect::<std::result::Result<_, _>>()
        .map_err(trust)?;
    let found = secure_boot::signatures(&program).map_err(super::in_file(&args.file))?;
    let digest = secure_boot::digest(&program).map_err(super::in_file(&args.file))?;
    let verdict = Verdict {
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        trusted: found.iter().any(|signature| signature.is_trusted(&trusted)),
        signatures: found.iter().map(|signature| row(signature, &trusted)).collect(),
    };
    if args.json {
        output::json(&verdict)?;
    } else {
        verdict.signatures.iter().try_for_each(|row| output::line(line(row)))?;
    }
    if verdict.trusted {
        return Ok(());
    }
    let why = if found.is_empty() {
        "is not signed"
    } else {
        "has no valid signature by a trusted certificate"
    };
    Err(CliError::new(Kind::Trust, format!("{} {why}", args.file.display())))
}

fn row(signature: &Signature, trusted: &[Certificate]) -> Row {
    Row {
        signer: signature.signer.name(),
        fingerprint: signature.signer.fingerprint(),
        holds: signature.holds,
        trusted: signature.is_trusted(trusted),
    }
}

fn line(row: &Row) -> String {
    let what = match (row.holds, row.trusted) {
        (_, true) => "valid",
        (true, false) => "valid, but its certificate is not trusted",
        (false, _) => "INVALID: the file was changed",
    };
    format!("{}  {}  {what}", row.fingerprint, row.signer)
}
