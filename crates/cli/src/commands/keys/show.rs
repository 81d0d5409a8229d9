//! `mos keys show`.

use mos_channel::PublicKey;
use serde::Serialize;

use crate::context::Context;
use crate::error::Result;
use crate::output;

/// Show the key that nodes of an environment trust
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The environment, a file in environments/
    #[arg(long)]
    env: String,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Key {
    environment: String,
    /// SHA-256 of the 32-byte public key.
    id: String,
    algorithm: &'static str,
    public: String,
    /// Whether the secret half is here, so that releases can be signed.
    can_sign: bool,
}

pub(crate) fn run(context: &Context, args: &ShowArgs) -> Result<()> {
    let plan = context.plan(&args.env)?;
    let files = context.key_files(&plan)?;
    let public = PublicKey::read(&files.public)
        .map_err(super::key_error)
        .map_err(|error| error.with_hint(format!("`mos keys new --env {}` makes the keys", args.env)))?;
    let key = Key {
        environment: args.env.clone(),
        id: public.id().to_string(),
        algorithm: "Ed25519",
        public: files.public.display().to_string(),
        can_sign: files.private.exists(),
    };
    if args.json {
        output::json(&key)
    } else {
        let sign = if key.can_sign {
            "the secret half is here"
        } else {
            "the secret half is not here"
        };
        output::line(format!("{}  {}  {} ({sign})", key.id, key.algorithm, key.public))
    }
}
