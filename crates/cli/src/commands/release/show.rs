//! `mos release show`.

use mos_channel::{Release, fetch_release};

use super::{ChannelArgs, channel_error};
use crate::context::{Context, now};
use crate::error::Result;
use crate::{output, ui};

/// Show the newest release of a channel, after verifying it as a node would
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    channel: ChannelArgs,

    /// Print the release document as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(context: &Context, args: &ShowArgs) -> Result<()> {
    let channel = args.channel.open(context)?;
    let fetched = fetch_release(channel.store.as_ref(), &channel.trust, now()?).map_err(channel_error)?;
    if args.json {
        output::json(&fetched.release)
    } else {
        output::line(text(&fetched.release))
    }
}

fn text(release: &Release) -> String {
    let mut rows = vec![vec![
        "boot image".to_owned(),
        String::new(),
        ui::bytes(release.boot.length),
        release.boot.sha256.to_string(),
    ]];
    for flist in &release.flists {
        let blobs: u64 = flist.blobs.iter().map(|blob| blob.length).sum();
        rows.push(vec![
            flist.name.clone(),
            flist.version.clone(),
            ui::bytes(flist.length + blobs),
            flist.sha256.to_string(),
        ]);
    }
    format!(
        "Release {} of {}, created {}, expires {}, oldest allowed {}\n{}",
        release.sequence,
        release.environment,
        release.created,
        release.expires,
        release.minimum_sequence,
        ui::table(&["PART", "VERSION", "SIZE", "SHA-256"], &rows)
    )
}
