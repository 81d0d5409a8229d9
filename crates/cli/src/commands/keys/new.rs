//! `mos keys new`.

use std::fs;

use mos_channel::{KeyPair, PublicKey};

use crate::context::Context;
use crate::error::{CliError, Kind, Result, io};
use crate::output;

/// Make the key pair of an environment: keys/ENV.key (secret) and keys/ENV.pub; or those of Secure Boot
///
/// The public half goes into the boot image, and nodes trust nothing else: keep the secret half safe, and out of version
/// control. Each environment has its own, so that a release for one is never accepted by another. --secure-boot makes PK, KEK
/// and db in keys/secure-boot, with certificates and the files with which firmware enrols them.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// The environment, a file in environments/
    #[arg(long, required_unless_present = "secure_boot")]
    env: Option<String>,

    /// Make the keys of UEFI Secure Boot, which all environments share
    #[arg(long, conflicts_with = "env")]
    secure_boot: bool,
}

pub(crate) fn run(context: &Context, args: &NewArgs) -> Result<()> {
    let Some(environment) = &args.env else {
        return super::secure_boot::make(context);
    };
    let public = make(context, environment)?;
    output::line(public.id())
}

/// Makes the pair where the environment expects it.
pub(crate) fn make(context: &Context, environment: &str) -> Result<PublicKey> {
    let plan = context.plan(environment)?;
    let files = context.key_files(&plan)?;
    if files.private.exists() || files.public.exists() {
        let there = if files.private.exists() {
            &files.private
        } else {
            &files.public
        };
        return Err(
            CliError::new(Kind::Conflict, format!("{} is there already", there.display()))
                .with_hint("nodes that trust a key accept no other: move it away only if no node does"),
        );
    }
    let folder = files.private.parent().unwrap_or(&files.private);
    fs::create_dir_all(folder).map_err(io(folder))?;
    let pair = KeyPair::generate().map_err(io(&files.private))?;
    pair.write(&files.private, &files.public).map_err(super::key_error)?;
    let (private, public) = (files.private.display(), files.public.display());
    context
        .ui
        .line(format!("Wrote {private} (secret: keep it safe) and {public}."));
    Ok(pair.public())
}
