//! `mos serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mos_serve::{Logger, Server};

use super::release;
use crate::context::Context;
use crate::error::{CliError, Kind, Result};
use crate::output;
use crate::ui::{self, Ui};

/// Serve a channel, or any folder of static files, over HTTP
///
/// For a lab or a laptop. Nodes verify everything they fetch, so any other web server does as well.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The folder
    #[arg(value_name = "DIR", required_unless_present = "env")]
    directory: Option<PathBuf>,

    /// Serve the folder that `mos release publish` puts this environment's releases into
    #[arg(long, conflicts_with = "directory")]
    env: Option<String>,

    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8480")]
    listen: SocketAddr,

    /// Print no line per request
    #[arg(long)]
    no_log: bool,
}

pub(crate) fn run(context: &Context, args: &ServeArgs) -> Result<()> {
    let directory = match (&args.directory, &args.env) {
        (Some(directory), _) => directory.clone(),
        (None, Some(environment)) => release::local_channel(&context.plan(environment)?)?,
        (None, None) => unreachable!("clap asks for one of the two"),
    };
    let server = start(&context.ui, &directory, args.listen, !args.no_log)?;
    output::line(server.url())?;
    context
        .ui
        .line(format!("Serving {}; ctrl-c ends it.", directory.display()));
    loop {
        std::thread::park();
    }
}

/// Starts a server that runs until it is dropped.
pub(crate) fn start(ui: &Ui, directory: &Path, listen: SocketAddr, log: bool) -> Result<Server> {
    let logger: Logger = if log {
        Arc::new(line(ui.clone()))
    } else {
        Arc::new(|_| {})
    };
    Server::bind(listen, directory, logger).map_err(|error| match error {
        mos_serve::ServeError::Bind { .. } => CliError::new(Kind::Conflict, error.to_string())
            .with_hint("another program has the port; with port 0 a free one is taken"),
        other => CliError::not_found(other.to_string()),
    })
}

fn line(ui: Ui) -> impl Fn(&mos_serve::Entry) {
    move |entry| {
        let (method, path, status) = (entry.method, &entry.path, entry.status);
        let milliseconds = entry.elapsed.as_millis();
        ui.line(format!(
            "{} {method} {path} {status} {} {milliseconds} ms",
            entry.peer,
            ui::bytes(entry.bytes)
        ));
    }
}
