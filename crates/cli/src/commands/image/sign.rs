//! `mos image sign`.

use std::path::{Path, PathBuf};

use mos_boot::pcr::policy;
use mos_boot::secure_boot::{self, Identity, SecureBootError, Signed};

use crate::context::Context;
use crate::error::{CliError, Kind, Result, io};

/// Sign an EFI file for Secure Boot, so that firmware which knows the certificate starts it
///
/// Signing twice gives the same bytes, and a file that this certificate has signed already is left as it is. A key in a token
/// needs pkcs11-tool (package opensc); its PIN comes from MOS_PKCS11_PIN or the address's pin-source. The passphrase of an
/// encrypted file comes from MOS_KEY_PASSPHRASE, or from the file that MOS_KEY_PASSPHRASE_FILE names.
///
/// --pcr-key puts a signed policy for PCR 11 into the file first: a TPM opens to it what is sealed to that key, as
/// systemd-cryptenroll --tpm2-public-key does.
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// The private key: a PEM file, or pkcs11:token=…;object=…?module-path=/…/lib….so
    #[arg(
        long,
        value_name = "FILE|pkcs11:…",
        requires = "cert",
        required_unless_present = "pcr_key"
    )]
    key: Option<PathBuf>,

    /// The certificate of the key, PEM or DER
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The private key of policies for PCR 11, in the same way
    #[arg(long, value_name = "FILE|pkcs11:…", requires = "pcr_cert")]
    pcr_key: Option<PathBuf>,

    /// The certificate of that key
    #[arg(long, value_name = "FILE", requires = "pcr_key")]
    pcr_cert: Option<PathBuf>,

    /// A path of phases for which there is a policy, such as enter-initrd; an empty one is the state when the kernel starts
    #[arg(long, value_name = "A:B", default_value = "", requires = "pcr_key")]
    phase: Vec<String>,

    /// The file to sign
    #[arg(default_value = "dist/vmlinuz.efi")]
    file: PathBuf,

    /// Where the signed file is put; the file itself when there is none
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &SignArgs) -> Result<()> {
    let mut program = super::read(&args.file)?;
    let mut done = Vec::new();
    if let Some(identity) = identity(args.pcr_key.as_deref(), args.pcr_cert.as_deref())? {
        let phases: Vec<&str> = args.phase.iter().map(String::as_str).collect();
        program = policy::sign(&program, &identity, &phases)
            .map_err(|error| CliError::problem(format!("{}: {error}", args.file.display())))?;
        done.push(format!("policy for PCR 11 by `{}`", identity.certificate().name()));
    }
    if let Some(identity) = identity(args.key.as_deref(), args.cert.as_deref())? {
        let name = identity.certificate().name();
        match secure_boot::sign(&program, &identity).map_err(super::in_file(&args.file))? {
            Signed::Now(signed) => {
                program = signed;
                done.push(format!("signed by `{name}`"));
            }
            Signed::Already => done.push(format!("already signed by `{name}`")),
        }
    }
    let output = args.output.as_ref().unwrap_or(&args.file);
    mos_sys::durable::write(output, &program, 0o644).map_err(io(output))?;
    context.ui.line(format!("{}: {}.", output.display(), done.join(", ")));
    Ok(())
}

fn identity(key: Option<&Path>, certificate: Option<&Path>) -> Result<Option<Identity>> {
    let (Some(key), Some(certificate)) = (key, certificate) else {
        return Ok(None);
    };
    Identity::open(key, certificate).map(Some).map_err(trust)
}

/// A key or certificate that cannot be used is a matter of trust.
pub(crate) fn trust(error: SecureBootError) -> CliError {
    CliError::new(Kind::Trust, error.to_string())
}
