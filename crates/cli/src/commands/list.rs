//! `mos list`.

use mos_config::{PlannedComponent, Source};
use serde::Serialize;

use crate::context::Context;
use crate::error::Result;
use crate::{output, ui};

/// List the components of an environment: wanted version, locked state, source
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// The environment, a file in environments/
    #[arg(long)]
    env: String,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'p> {
    component: &'p str,
    description: &'p str,
    wanted: String,
    /// The exact state, when the lock or the configuration itself has it.
    locked: Option<String>,
    /// False for what is taken as it is found: folders, and what comes with MOS.
    lockable: bool,
    kind: &'static str,
    source: &'p str,
    service: Option<&'p str>,
}

/// Hexadecimal digits shown of a digest.
const DIGITS: usize = 12;

pub(crate) fn run(context: &Context, args: &ListArgs) -> Result<()> {
    let plan = context.plan(&args.env)?;
    let rows: Vec<Row<'_>> = plan.components.iter().map(row).collect();
    if args.json {
        return output::json(&rows);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let locked = match row.locked.as_deref() {
                Some(digest) => &digest[..digest.len().min(DIGITS)],
                None if row.lockable => "not locked yet",
                None => "as it is",
            };
            vec![
                row.component.into(),
                row.wanted.clone(),
                locked.into(),
                format!("{} {}", row.kind, row.source),
            ]
        })
        .collect();
    output::line(ui::table(&["COMPONENT", "WANTED", "LOCKED", "SOURCE"], &cells))
}

fn row(component: &PlannedComponent) -> Row<'_> {
    let (lockable, exact) = match &component.source {
        Source::Crate { sha256, .. } | Source::Release { sha256, .. } | Source::Oci { sha256, .. } => {
            (true, sha256.clone())
        }
        Source::Git { commit, .. } => (true, commit.clone()),
        Source::Path { .. } | Source::Mos => (false, None),
    };
    Row {
        component: &component.name,
        description: &component.description,
        wanted: component.source.reference(),
        locked: component.locked.as_ref().map(|locked| locked.digest.clone()).or(exact),
        lockable,
        kind: component.source.kind(),
        source: component.source.location(),
        service: component.service.as_ref().map(|service| service.file_name.as_str()),
    }
}
