//! What is booted: an image that is there, or an environment with everything made that is missing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use mos_architecture::Architecture;
use mos_build::{BuiltFlist, BuiltImage, PackMode};
use mos_config::EnvironmentKind;
use mos_serve::Server;

use super::RunArgs;
use super::image::Image;
use crate::commands::{image, keys, runtime, serve};
use crate::context::Context;
use crate::error::{Result, io};
use crate::pipeline::Pipeline;
use crate::{output, ui};

/// Where QEMU's user network shows this host to the guest.
const HOST_SEEN_BY_GUEST: &str = "http://10.0.2.2";

/// An image, and what was made for it.
pub(super) struct System {
    pub(super) image: Image,
    /// What it is for.
    pub(super) architecture: Architecture,
    built: Option<(BuiltImage, Vec<BuiltFlist>)>,
    /// Serves the channel as long as it lives.
    _server: Option<Server>,
}

pub(super) fn prepare(context: &Context, args: &RunArgs) -> Result<System> {
    match (&args.env, &args.image) {
        (Some(environment), _) => build(context, environment, &args.output_dir),
        (None, Some(image)) => {
            let image = Image::of(image)?;
            let said = image.architecture()?.or(args.architecture);
            Ok(System {
                image,
                architecture: said.unwrap_or(Architecture::HOST),
                built: None,
                _server: None,
            })
        }
        (None, None) => unreachable!("clap asks for one of the two"),
    }
}

fn build(context: &Context, environment: &str, output: &Path) -> Result<System> {
    let mut pipeline = Pipeline::open(context, environment)?;
    let files = context.key_files(&pipeline.plan)?;
    if pipeline.plan.kind == EnvironmentKind::Development && !files.public.exists() {
        keys::make(context, environment)?;
    }
    let flists = pipeline.runtime(&[], PackMode::Individual)?;
    let image = pipeline.image()?;
    runtime::build::deliver_flists(&flists, &output.join("flists"))?;
    let efi = image::build::deliver_image(&pipeline, &image, output)?;
    let channel = output.join("channel").join(environment);
    std::fs::create_dir_all(&channel).map_err(io(&channel))?;
    let absolute = std::path::absolute(&channel).map_err(io(&channel))?;
    let plan = pipeline.publish(&format!("dir://{}", absolute.display()), &image, &flists, false)?;
    let summary = plan.to_string();
    context.ui.line(summary.lines().last().unwrap_or_default());
    if image.hit && flists.iter().all(|flist| flist.hit) {
        context.ui.line("Nothing changed: nothing was built.");
    }
    let server = serve_to_guest(context, &pipeline.plan.channel, &channel)?;
    Ok(System {
        image: Image::Efi(efi),
        architecture: pipeline.plan.image.architecture,
        built: Some((image, flists)),
        _server: server,
    })
}

/// Serves the local channel where the guest looks for it, when that is this host.
fn serve_to_guest(context: &Context, url: &str, channel: &Path) -> Result<Option<Server>> {
    let Some(port) = guest_port(url) else {
        context.ui.line(format!(
            "The node fetches from {url}, which is not this host: nothing is served here."
        ));
        return Ok(None);
    };
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    serve::start(&context.ui, channel, listen, false).map(Some)
}

/// The port, when the URL means this host as the guest sees it.
fn guest_port(url: &str) -> Option<u16> {
    let rest = url.strip_prefix(HOST_SEEN_BY_GUEST)?.trim_end_matches('/');
    match rest.strip_prefix(':') {
        Some(port) => port.parse().ok(),
        None => rest.is_empty().then_some(80),
    }
}

impl System {
    /// The sizes of everything that was built.
    pub(super) fn report(&self, context: &Context) -> Result<()> {
        let Some((image, flists)) = &self.built else {
            return Ok(());
        };
        output::line(format!("\n{}\n", image::build::sizes(&image.report)))?;
        let row = |flist: &BuiltFlist| {
            let stored: u64 = flist.blobs.iter().map(|(_, length)| length).sum();
            vec![
                flist.name.clone(),
                flist.version.clone(),
                ui::bytes(flist.content_bytes),
                ui::bytes(stored),
            ]
        };
        let rows: Vec<Vec<String>> = flists.iter().map(row).collect();
        output::line(ui::table(&["FLIST", "VERSION", "CONTENT", "STORED"], &rows))?;
        context.ui.line(format!(
            "\n{} boots on any {} machine with UEFI.",
            self.image.path().display(),
            self.architecture.title()
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::guest_port;

    #[test]
    fn only_this_host_is_served() {
        assert_eq!(guest_port("http://10.0.2.2:8480"), Some(8480));
        assert_eq!(guest_port("http://10.0.2.2/"), Some(80));
        assert_eq!(guest_port("http://10.0.2.20:80"), None);
        assert_eq!(guest_port("http://10.0.2.2:8480/dev"), None);
        assert_eq!(guest_port("https://releases.example.org/"), None);
    }
}
