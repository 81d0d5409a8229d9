//! `mos run`.

mod machine;
mod page;
mod secure_boot;
mod system;

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::time::Duration;

use mos_vm::{Forward, Output, Timeline, Vm, VmError};

use crate::context::Context;
use crate::error::{CliError, Kind, Result, io};
use crate::output;

/// What people write for [`READY`].
const READY_WORD: &str = "ready";
/// How my_init's own word ends its line; kernels and services say `ready` of other things too.
const READY: &str = "] ready";
/// How long after `ready` the node may take to print its timeline.
const TIMELINE: Duration = Duration::from_secs(10);
/// How long a machine is given to power off in order, before the power is cut.
const POWER_OFF: Duration = Duration::from_secs(30);

/// Boot a node in a virtual machine: an environment (built, published and served here), or an image that is there
///
/// With --env, everything that is missing is made: keys (of a development environment), runtimes, boot image, and a release
/// in a local channel, which is served to the guest at 10.0.2.2. KVM is used where it really starts a guest.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The environment to build, publish, serve and boot
    #[arg(long, required_unless_present = "image")]
    env: Option<String>,

    /// An EFI file to boot as it is
    #[arg(long, value_name = "FILE", conflicts_with = "env")]
    image: Option<PathBuf>,

    /// Where outputs, the local channel and the disks are put
    #[arg(long, value_name = "DIR", default_value = "dist", alias = "output")]
    output_dir: PathBuf,

    /// Let QEMU load kernel and initramfs out of the image, without firmware: faster, less like a node
    #[arg(long)]
    direct: bool,

    /// Start through firmware that refuses what the keys in keys/secure-boot have not signed
    #[arg(long, conflicts_with = "direct")]
    secure_boot: bool,

    /// Add a TPM 2.0 (swtpm), which keeps its state beside the disks
    #[arg(long, conflicts_with = "direct")]
    tpm: bool,

    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = mos_vm::machine::DEFAULT_MEMORY)]
    memory: u32,

    /// How many disks; the first is an ext4 file system labelled mosdata, on which the node keeps its state
    #[arg(long, value_name = "N", default_value_t = 1)]
    disks: u32,

    /// Size of a disk that is made, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    disk_size: u32,

    /// Begin with empty disks
    #[arg(long)]
    reset: bool,

    /// Forward a port of this host (127.0.0.1) to one of the guest; 0 takes a free one (can be repeated)
    #[arg(long, value_name = "HOST:GUEST", value_parser = forward)]
    forward: Vec<Forward>,

    /// Wait until the console says this, then power the machine off; `ready` waits for my_init to say so
    #[arg(long, value_name = "TEXT")]
    until: Option<String>,

    /// Give up after this many seconds without the text
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "until")]
    timeout: u64,

    /// Fetch a page once --until came, and print it
    #[arg(long, value_name = "URL", requires = "until")]
    get: Option<String>,

    /// Write the boot timeline as a picture; with --until ready
    #[arg(long, value_name = "FILE.svg", requires = "until")]
    timeline: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &RunArgs) -> Result<()> {
    if args.timeline.is_some() && args.until.as_deref() != Some(READY_WORD) {
        return Err(CliError::usage("--timeline draws the way to ready").with_hint("add --until ready"));
    }
    std::fs::create_dir_all(&args.output_dir).map_err(io(&args.output_dir))?;
    let system = system::prepare(context, args)?;
    let machine = machine::describe(context, args, &system)?;
    let interactive = args.until.is_none() && std::io::stdin().is_terminal();
    let log = args.output_dir.join("console.log");
    let output = Output {
        echo: Some(Box::new(std::io::stdout())),
        log: Some(log),
        interactive,
    };
    let mut vm = Vm::start(&machine.machine, output).map_err(vm_error)?;
    for forward in vm.forwards() {
        context.ui.line(format!(
            "Port {} of 127.0.0.1 leads to port {} of the node.",
            forward.host, forward.guest
        ));
    }
    let Some(text) = &args.until else {
        return vm.wait_exit(Duration::MAX).map(drop).map_err(vm_error);
    };
    let outcome = observe(context, args, &mut vm, text);
    power_off(context, &mut vm);
    outcome?;
    system.report(context)
}

/// Waits for the text, fetches the page, draws the timeline.
fn observe(context: &Context, args: &RunArgs, vm: &mut Vm, text: &str) -> Result<()> {
    let text = if text == READY_WORD { READY } else { text };
    vm.wait_for(text, Duration::from_secs(args.timeout)).map_err(vm_error)?;
    if let Some(url) = &args.get {
        let page = page::get(url)?;
        output::line(format!("\n--- {url} ---\n{}\n---", page.trim_end()))?;
    }
    if text == READY {
        draw(context, args, vm)?;
    }
    Ok(())
}

/// The line with the times comes right after the one that says `ready`.
fn draw(context: &Context, args: &RunArgs, vm: &mut Vm) -> Result<()> {
    vm.wait_for("] timeline ", TIMELINE).map_err(vm_error)?;
    let Some(timeline) = Timeline::parse(&vm.console()) else {
        return Err(CliError::problem("the node's timeline makes no sense"));
    };
    output::line(format!("\n{timeline}"))?;
    if let Some(path) = &args.timeline {
        std::fs::write(path, timeline.svg("From power-on to ready")).map_err(io(path))?;
        context.ui.line(format!("Wrote {}.", path.display()));
    }
    Ok(())
}

/// In order if the node listens, by force otherwise.
fn power_off(context: &Context, vm: &mut Vm) {
    let ordered = vm.powerdown().and_then(|()| vm.wait_exit(POWER_OFF));
    if let Err(error) = ordered {
        context
            .ui
            .line(format!("The node did not power off by itself: {error}"));
        // Dropping the machine cuts the power too; the attempt only makes it sooner.
        let _ = vm.kill();
    }
    let _ = std::io::stdout().flush();
}

fn forward(text: &str) -> std::result::Result<Forward, String> {
    let ports = text.split_once(':').map(|(host, guest)| (host.parse(), guest.parse()));
    match ports {
        Some((Ok(host), Ok(guest))) => Ok(Forward { host, guest }),
        _ => Err("expected HOST:GUEST, two port numbers, such as 8080:80".to_owned()),
    }
}

fn vm_error(error: VmError) -> CliError {
    let kind = match error {
        VmError::Missing { .. } => Kind::NotFound,
        VmError::Port { .. } => Kind::Conflict,
        _ => Kind::Problem,
    };
    CliError::new(kind, error.to_string())
}
