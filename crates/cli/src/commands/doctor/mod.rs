//! `mos doctor`.

mod features;
mod host;

use std::path::PathBuf;

use serde::Serialize;

use crate::commands::doctor::features::{FEATURES, Feature, Need};
use crate::commands::doctor::host::Host;
use crate::context::Context;
use crate::error::{CliError, Kind, Result};
use crate::{output, ui};

/// Check that everything is there which MOS calls, feature by feature, and say which package brings what is missing
///
/// Exits 1 when something is missing that a chosen feature cannot do without.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// The features that have to be ready [default: build, debian, run]
    #[arg(value_name = "FEATURE", value_parser = features::names())]
    features: Vec<String>,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What is asked for when nobody asks for anything: from a config repository to a node in a virtual machine.
const DEFAULT: [&str; 3] = ["build", "debian", "run"];

#[derive(Serialize)]
struct Report {
    feature: &'static str,
    what: &'static str,
    /// Whether it has to be ready for the exit code to be 0.
    chosen: bool,
    ready: bool,
    needs: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    name: &'static str,
    /// The package of this host's distribution; of Debian on one that is not known.
    package: &'static str,
    /// What is lost without it; absent when the feature cannot do without.
    #[serde(skip_serializing_if = "Option::is_none")]
    optional: Option<&'static str>,
    found: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &DoctorArgs) -> Result<()> {
    let host = Host::of(&std::fs::read_to_string("/etc/os-release").unwrap_or_default());
    let chosen: Vec<&str> = match args.features.is_empty() {
        true => DEFAULT.to_vec(),
        false => args.features.iter().map(String::as_str).collect(),
    };
    let reports: Vec<Report> = FEATURES
        .iter()
        .map(|feature| report(feature, &chosen, host))
        .filter(|report| args.features.is_empty() || report.chosen)
        .collect();
    if args.json {
        output::json(&reports)?;
    } else {
        output::line(table(&reports))?;
    }
    verdict(context, &reports, host)
}

fn report(feature: &Feature, chosen: &[&str], host: Host) -> Report {
    let needs: Vec<Checked> = feature.needs.iter().map(|need| check(need, host)).collect();
    Report {
        feature: feature.name,
        what: feature.what,
        chosen: chosen.contains(&feature.name),
        ready: needs.iter().all(|need| need.found.is_some() || need.optional.is_some()),
        needs,
    }
}

fn check(need: &Need, host: Host) -> Checked {
    Checked {
        name: need.name,
        package: need.packages.of(host),
        optional: need.optional,
        found: need.find(),
    }
}

fn table(reports: &[Report]) -> String {
    let mut rows = Vec::new();
    for report in reports {
        let state = if report.ready { "ready" } else { "not ready" };
        rows.push(vec![
            report.feature.into(),
            state.into(),
            String::new(),
            report.what.into(),
        ]);
        rows.extend(report.needs.iter().map(cells));
    }
    ui::table(&["FEATURE", "NEEDS", "FOUND", ""], &rows)
}

fn cells(need: &Checked) -> Vec<String> {
    let found = match (&need.found, need.package) {
        (Some(path), _) => path.display().to_string(),
        (None, "") => "missing".to_owned(),
        (None, package) => format!("missing: {package}"),
    };
    let without = match (&need.found, need.optional) {
        (None, Some(lost)) => format!("without it: {lost}"),
        _ => String::new(),
    };
    vec![String::new(), need.name.into(), found, without]
}

/// Fine when every chosen feature is ready; else what to install.
fn verdict(context: &Context, reports: &[Report], host: Host) -> Result<()> {
    let chosen = || reports.iter().filter(|report| report.chosen);
    let broken: Vec<&str> = chosen().filter(|it| !it.ready).map(|it| it.feature).collect();
    if broken.is_empty() {
        let names: Vec<&str> = chosen().map(|report| report.feature).collect();
        context
            .ui
            .line(format!("Everything is there for: {}.", names.join(", ")));
        return Ok(());
    }
    let missing = chosen()
        .flat_map(|report| &report.needs)
        .filter(|need| need.found.is_none() && need.optional.is_none());
    let mut packages: Vec<&str> = missing.map(|need| need.package).filter(|it| !it.is_empty()).collect();
    packages.sort_unstable();
    packages.dedup();
    let error = CliError::new(Kind::Problem, format!("not ready: {}", broken.join(", ")));
    Err(match packages.is_empty() {
        true => error,
        false => error.with_hint(host.install(&packages)),
    })
}
