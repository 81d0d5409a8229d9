//! `mos flist route`.

use std::path::PathBuf;

use mos_rfs::{Route, edit, warning};
use serde::Serialize;

use super::open::{Format, Opened};
use super::rfs::{conf_route, file_error, parse};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output;

/// Show or change the stores that an flist of the older format names
///
/// A route is [00-7f=]URL: the store of the blocks whose name begins with these digits, of all blocks without a range. Passwords
/// are never shown. Flists of version 2 have no routes: who reads one says where its content is.
///
/// Examples: mos flist route old.fl; mos flist route old.fl --set https://blobs.example.org/blobs; mos flist route old.fl --conf
///
/// Exit codes: 0 fine, 1 it is no flist of the older format, 2 a route makes no sense, 4 there is no such file.
#[derive(Debug, clap::Args)]
pub(crate) struct RouteArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// Put these routes in place of all that are there
    #[arg(long, value_name = "ROUTE", num_args = 1..)]
    set: Vec<String>,

    /// Add a route; may be repeated
    #[arg(long, value_name = "ROUTE", conflicts_with = "set")]
    add: Vec<String>,

    /// Take all routes to this URL away; may be repeated
    #[arg(long, value_name = "URL", conflicts_with = "set")]
    delete: Vec<String>,

    /// Put the route in place of all that are there which config/rfs.conf or config/myfs.conf of the config repository
    /// describes: READ_ACCESS_KEY and READ_SECRET_KEY, ROUTE_ENDPOINT [there: S3_ENDPOINT], ROUTE_PATH [/blobs] and
    /// ROUTE_REGION [garage]
    #[arg(long, conflicts_with_all = ["set", "add", "delete"])]
    conf: bool,

    /// Print the routes as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    start: String,
    end: String,
    /// Without the password.
    url: String,
    has_password: bool,
}

pub(crate) fn run(context: &Context, args: &RouteArgs) -> Result<()> {
    let opened = Opened::open(&args.file)?;
    let Format::Rfs(rfs) = &opened.format else {
        let message = format!("{}: an flist of version 2 has no routes", args.file.display());
        return Err(CliError::problem(message).with_hint("say where its content is with --store or MOS_STORE"));
    };
    let set = match args.conf {
        true => vec![conf_route(context)?],
        false => parse(&args.set)?,
    };
    let add = parse(&args.add)?;
    if set.is_empty() && add.is_empty() && args.delete.is_empty() {
        return show(rfs.routes(), args.json);
    }
    for warning in set.iter().chain(&add).filter_map(warning) {
        context.ui.line(format!("warning: {warning}"));
    }
    let routes = edit(&args.file, |rfs| {
        let mut unknown = Vec::new();
        if !set.is_empty() {
            *rfs.routes_mut() = set;
        }
        for url in &args.delete {
            if rfs.remove_routes(url) == 0 {
                unknown.push(url.clone());
            }
        }
        rfs.routes_mut().extend(add);
        (rfs.routes().to_vec(), unknown)
    });
    let (routes, unknown) = routes.map_err(file_error)?;
    if !unknown.is_empty() {
        let count = unknown.len();
        context
            .ui
            .line(format!("warning: {count} of the routes to delete were not there"));
    }
    show(&routes, args.json)
}

fn show(routes: &[Route], json: bool) -> Result<()> {
    if json {
        let rows = routes.iter().map(|route| Row {
            start: format!("{:02x}", route.start),
            end: format!("{:02x}", route.end),
            url: route.without_password().url,
            has_password: route.has_password(),
        });
        return output::json(&rows.collect::<Vec<_>>());
    }
    routes.iter().try_for_each(output::line)
}
