//! `mos release verify`.

use mos_channel::verify_channel;
use serde::Serialize;

use super::{ChannelArgs, channel_error};
use crate::context::{Context, now};
use crate::error::{CliError, Kind, Result};
use crate::{output, ui};

/// Read the newest release of a channel and everything it names, and check every byte
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    channel: ChannelArgs,

    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    environment: String,
    sequence: u64,
    files: u64,
    bytes: u64,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    name: String,
    problem: String,
}

pub(crate) fn run(context: &Context, args: &VerifyArgs) -> Result<()> {
    let channel = args.channel.open(context)?;
    let audit = verify_channel(channel.store.as_ref(), &channel.trust, now()?).map_err(channel_error)?;
    let findings = audit.findings.into_iter();
    let report = Report {
        environment: audit.release.environment,
        sequence: audit.release.sequence,
        files: audit.files,
        bytes: audit.bytes,
        findings: findings
            .map(|found| Finding {
                name: found.name,
                problem: found.problem,
            })
            .collect(),
    };
    if args.json {
        output::json(&report)?;
    } else {
        let mut findings = report.findings.iter();
        findings.try_for_each(|found| output::line(format!("{}: {}", found.name, found.problem)))?;
    }
    let (sequence, files) = (report.sequence, report.files);
    if !report.findings.is_empty() {
        let count = report.findings.len();
        return Err(CliError::new(
            Kind::Trust,
            format!("release {sequence} is damaged: {count} of {files} files"),
        ));
    }
    context.ui.line(format!(
        "Release {sequence} is whole: {files} files, {}.",
        ui::bytes(report.bytes)
    ));
    Ok(())
}
