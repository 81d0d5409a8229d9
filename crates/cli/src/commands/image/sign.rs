//! `mos image sign`.

use std::path::PathBuf;

use mos_boot::secure_boot::{self, Identity, SecureBootError, Signed};

use crate::context::Context;
use crate::error::{CliError, Kind, Result, io};

/// Sign an EFI file for Secure Boot, so that firmware which knows the certificate starts it
///
/// Signing twice gives the same bytes, and a file that this certificate has signed already is left as it is. A key in a token
/// needs pkcs11-tool (package opensc); its PIN comes from MOS_PKCS11_PIN or the address's pin-source. The passphrase of an
/// encrypted file comes from MOS_KEY_PASSPHRASE, or from the file that MOS_KEY_PASSPHRASE_FILE names.
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// The private key: a PEM file, or pkcs11:token=…;object=…?module-path=/…/lib….so
    #[arg(long, value_name = "FILE|pkcs11:…")]
    key: PathBuf,

    /// The certificate of the key, PEM or DER
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,

    /// The file to sign
    #[arg(default_value = "dist/vmlinuz.efi")]
    file: PathBuf,

    /// Where the signed file is put; the file itself when there is none
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &SignArgs) -> Result<()> {
    let program = super::read(&args.file)?;
    let identity = Identity::open(&args.key, &args.cert).map_err(trust)?;
    let name = identity.certificate().name();
    let (signed, what) = match secure_boot::sign(&program, &identity).map_err(super::in_file(&args.file))? {
        Signed::Now(signed) => (signed, "Signed"),
        Signed::Already => (program, "Already signed"),
    };
    let output = args.output.as_ref().unwrap_or(&args.file);
    mos_sys::durable::write(output, &signed, 0o644).map_err(io(output))?;
    context.ui.line(format!("{what} by `{name}`: {}.", output.display()));
    Ok(())
}

/// A key or certificate that cannot be used is a matter of trust.
pub(crate) fn trust(error: SecureBootError) -> CliError {
    CliError::new(Kind::Trust, error.to_string())
}
