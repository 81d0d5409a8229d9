//! `mos image verify`.

use std::path::{Path, PathBuf};

use mos_boot::secure_boot::{self, Certificate, Signature};
use mos_channel::{PublicKey, Sha256, statement};
use serde::Serialize;

use super::sign::trust;
use crate::error::{CliError, Kind, Result, io};
use crate::output;

/// Check whether firmware that knows these certificates would start an EFI file, and where that comes from
///
/// The exit code is 3 when no signature is valid and from one of the certificates, or when the provenance is not signed by the
/// key or is of another file.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// A certificate as in the firmware's db, PEM or DER (can be repeated)
    #[arg(long, value_name = "FILE", required_unless_present = "provenance")]
    cert: Vec<PathBuf>,

    /// The signed provenance beside the image, dist/provenance.dsse.json
    #[arg(long, value_name = "FILE", requires = "key")]
    provenance: Option<PathBuf>,

    /// Who must have signed that: the public key of the environment's releases, keys/ENV.pub
    #[arg(long, value_name = "FILE", requires = "provenance")]
    key: Option<PathBuf>,

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
    if let (Some(provenance), Some(key)) = (&args.provenance, &args.key) {
        check_provenance(&program, args, provenance, key)?;
        if args.cert.is_empty() {
            return Ok(());
        }
    }
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

/// Checks who signed a statement, and that it is of this file.
fn check_provenance(program: &[u8], args: &VerifyArgs, path: &Path, key: &Path) -> Result<()> {
    let refuse = |why: String| CliError::new(Kind::Trust, format!("{}: {why}", path.display()));
    let key = PublicKey::read(key).map_err(|error| CliError::new(Kind::Trust, error.to_string()))?;
    let text = std::fs::read(path).map_err(io(path))?;
    let statement = statement::open(&text, &key).map_err(|error| refuse(error.to_string()))?;
    let statement: serde_json::Value =
        serde_json::from_slice(&statement).map_err(|error| refuse(format!("its statement: {error}")))?;
    let digest = Sha256::of(program).to_string();
    let subjects = statement["subject"].as_array().into_iter().flatten();
    if !subjects
        .into_iter()
        .any(|subject| subject["digest"]["sha256"] == digest)
    {
        return Err(refuse(format!("it is not of {}", args.file.display())));
    }
    if args.json {
        return Ok(());
    }
    output::line(format!("{}  provenance  valid", key.id()))
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
