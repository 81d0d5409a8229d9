//! `mos release`.

mod history;
pub(crate) mod publish;
mod show;
mod verify;

use std::path::PathBuf;

use mos_channel::{ChannelError, PublicKey, Trust};
use mos_config::Plan;

use crate::context::Context;
use crate::error::{CliError, Kind, Result};

/// Releases in channels: publish, show, verify, history
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ReleaseCommand {
    Publish(publish::PublishArgs),
    Show(show::ShowArgs),
    Verify(verify::VerifyArgs),
    History(history::HistoryArgs),
}

pub(crate) fn run(context: &Context, command: &ReleaseCommand) -> Result<()> {
    match command {
        ReleaseCommand::Publish(args) => publish::run(context, args),
        ReleaseCommand::Show(args) => show::run(context, args),
        ReleaseCommand::Verify(args) => verify::run(context, args),
        ReleaseCommand::History(args) => history::run(context, args),
    }
}

/// Which channel, for the verbs that read one.
#[derive(Debug, clap::Args)]
pub(crate) struct ChannelArgs {
    /// The environment whose key decides
    #[arg(long)]
    env: String,

    /// The channel: a URL (dir:///…, http(s)://…, s3://…) or a folder [default: stores.default of mos.toml, or
    /// dist/channel, with the environment's name]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
}

/// An open channel, and whom to believe.
struct Channel {
    store: Box<dyn mos_store::Read>,
    trust: Trust,
}

impl ChannelArgs {
    fn open(&self, context: &Context) -> Result<Channel> {
        let plan = context.plan(&self.env)?;
        let url = address(self.from.as_deref(), &plan)?;
        Ok(Channel {
            store: mos_store::open_read(&url)?,
            trust: trust(context, &plan)?,
        })
    }
}

/// The URL of a channel: as given, or the default one of the environment.
fn address(given: Option<&str>, plan: &Plan) -> Result<String> {
    let folder = match (given, &plan.store) {
        (Some(url), _) if url.contains("://") => return Ok(url.to_owned()),
        (Some(folder), _) => folder.to_owned(),
        (None, Some(url)) => return Ok(format!("{}/{}", url.trim_end_matches('/'), plan.environment)),
        (None, None) => format!("dist/channel/{}", plan.environment),
    };
    let path = std::path::absolute(&folder).map_err(crate::error::io(folder.as_ref()))?;
    Ok(format!("dir://{}", path.display()))
}

/// The folder of the environment's default channel, when it is one of this machine.
pub(crate) fn local_channel(plan: &Plan) -> Result<PathBuf> {
    let url = address(None, plan)?;
    let folder = url.strip_prefix("dir://").map(PathBuf::from);
    folder.ok_or_else(|| {
        // Without the URL, which may hold a secret.
        let message = format!(
            "stores.default of mos.toml is no folder for the channel of {}",
            plan.environment
        );
        CliError::usage(message).with_hint("name a folder to serve: `mos serve DIR`")
    })
}

/// The environment's nodes trust this.
fn trust(context: &Context, plan: &Plan) -> Result<Trust> {
    let files = context.key_files(plan)?;
    let key = PublicKey::read(&files.public).map_err(|error| {
        CliError::new(Kind::Trust, error.to_string()).with_hint(format!(
            "`mos keys new --env {}` makes the key of a new environment",
            plan.environment
        ))
    })?;
    Ok(Trust::new(plan.environment.as_str(), vec![key]))
}

fn channel_error(error: ChannelError) -> CliError {
    match error {
        ChannelError::Store(error @ mos_store::StoreError::NotFound { .. }) => {
            CliError::from(error).with_hint("`mos release publish` writes the first release of a channel")
        }
        ChannelError::Store(error) => error.into(),
        other => CliError::new(Kind::Trust, other.to_string()),
    }
}
