//! `mos flist route`.

use std::path::PathBuf;

use mos_rfs::{Endpoint, ROUTE_PATH, ROUTE_REGION, Route, edit, warning};
use serde::Serialize;

use super::open::{Format, Opened};
use super::rfs::{conf_route, file_error, parse};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output;

/// Show or change the stores that an flist of the older format names
///
/// A route is [00-7f=]URL: the store of the blocks whose name begins with these digits, of all blocks without a range. A bucket's
/// URL without a path, s3://KEY:SECRET@host:port, gets ROUTE_PATH [/blobs] and ROUTE_REGION [garage] of the environment, and one
/// without a host, s3://KEY:SECRET@, that of S3_ENDPOINT. Passwords
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
        false => parse(&whole(&args.set)?)?,
    };
    let add = parse(&whole(&args.add)?)?;
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

/// Routes to buckets with what was left out, as the scripts of older builders took it from their environment.
fn whole(routes: &[String]) -> Result<Vec<String>> {
    routes.iter().map(|route| complete(route, &variable)).collect()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn complete(route: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let Some((before, rest)) = route.split_once("://") else {
        return Ok(route.to_owned());
    };
    // Secrets may hold slashes, so they end at the last `@`.
    let at = rest.rfind('@').map_or(0, |at| at + 1);
    let (keys, host) = rest.split_at(at);
    let bucket = before.rsplit('=').next().is_some_and(|scheme| scheme.starts_with("s3"));
    if !bucket || host.trim_end_matches('/').contains(['/', '?']) {
        return Ok(route.to_owned());
    }
    let (mut scheme, mut host) = (before.to_owned(), host.trim_end_matches('/').to_owned());
    if host.is_empty() {
        let endpoint = variable("S3_ENDPOINT").and_then(|endpoint| Endpoint::parse(&endpoint));
        let endpoint = endpoint.ok_or_else(|| {
            CliError::usage("the route names no host")
                .with_hint("write it behind the @, or set S3_ENDPOINT to http(s)://host:port")
        })?;
        if endpoint.tls && scheme.ends_with("s3") {
            scheme.push('s');
        }
        host = format!("{}:{}", endpoint.host, endpoint.port);
    }
    let path = variable("ROUTE_PATH").unwrap_or_else(|| ROUTE_PATH.to_owned());
    let region = variable("ROUTE_REGION").unwrap_or_else(|| ROUTE_REGION.to_owned());
    Ok(format!(
        "{scheme}://{keys}{host}/{}?region={region}",
        path.trim_matches('/')
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bucket_s_route_leaves_out_is_that_of_older_builders() {
        let none = |_: &str| None;
        let set = |name: &str| {
            let value = match name {
                "S3_ENDPOINT" => "https://h:9",
                "ROUTE_PATH" => "/b/c",
                _ => "r",
            };
            Some(value.to_owned())
        };
        for (route, whole) in [
            ("s3://K:a/b@h:1", "s3://K:a/b@h:1/blobs?region=garage"),
            ("00-7f=s3s://K:S@h:1/", "00-7f=s3s://K:S@h:1/blobs?region=garage"),
            ("s3://K:S@h:1/x", "s3://K:S@h:1/x"),
            ("https://h", "https://h"),
            ("dir:///x", "dir:///x"),
        ] {
            assert_eq!(complete(route, &none).unwrap(), whole);
        }
        assert_eq!(complete("s3://K:S@h:1", &set).unwrap(), "s3://K:S@h:1/b/c?region=r");
        assert_eq!(complete("s3://K:S@", &set).unwrap(), "s3s://K:S@h:9/b/c?region=r");
        assert!(complete("s3://K:S@", &none).is_err());
    }
}
