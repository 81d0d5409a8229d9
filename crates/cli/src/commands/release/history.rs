//! `mos release history`.

use mos_channel::{Release, history};
use serde::Serialize;

use super::{ChannelArgs, channel_error};
use crate::context::Context;
use crate::error::Result;
use crate::{output, ui};

/// List the releases of a channel, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    channel: ChannelArgs,

    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    sequence: u64,
    release: Option<Release>,
    /// Why there is none.
    problem: Option<String>,
}

pub(crate) fn run(context: &Context, args: &HistoryArgs) -> Result<()> {
    let channel = args.channel.open(context)?;
    let past = history(channel.store.as_ref(), &channel.trust, args.limit).map_err(channel_error)?;
    let rows: Vec<Row> = past.into_iter().map(row).collect();
    if args.json {
        output::json(&rows)
    } else {
        let cells: Vec<_> = rows.iter().map(cells).collect();
        output::line(ui::table(&["SEQUENCE", "CREATED", "EXPIRES", "FLISTS"], &cells))
    }
}

fn row(past: mos_channel::Past) -> Row {
    let (release, problem) = match past.release {
        Ok(Some(release)) => (Some(release), None),
        Ok(None) => (None, Some("no longer in the channel".to_owned())),
        Err(error) => (None, Some(error.to_string())),
    };
    Row {
        sequence: past.sequence,
        release,
        problem,
    }
}

fn cells(row: &Row) -> Vec<String> {
    match &row.release {
        Some(release) => {
            let flists = release
                .flists
                .iter()
                .map(|flist| format!("{} {}", flist.name, flist.version));
            let flists = flists.collect::<Vec<_>>().join(", ");
            vec![
                row.sequence.to_string(),
                release.created.to_string(),
                release.expires.to_string(),
                flists,
            ]
        }
        None => vec![row.sequence.to_string(), row.problem.clone().unwrap_or_default()],
    }
}
