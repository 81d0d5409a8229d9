//! `mos run`.

mod check;
mod image;
mod machine;
mod page;
mod secure_boot;
mod system;

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use mos_architecture::Architecture;
use mos_vm::{Forward, Hypervisor, Machine, Output, Resources, Scenario, Timeline, Vm, VmError};

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
///
/// --check plays a scenario, for tests: steps in a TOML file that wait for a line of the console, type, fetch a page of the
/// node, press the power button, or wait for the end; see docs/run.md. It ends with exit code 1 at the first that fails.
///
/// Examples: mos run --env dev; mos run --env dev --check boot.toml; mos run --image dist/boot.iso --memory 2G --cpus 2;
/// sudo mos run --env dev --hypervisor ch --bridge mosbr --disks 5 --disk-size 20G --reset
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The environment to build, publish, serve and boot
    #[arg(long, required_unless_present = "image")]
    env: Option<String>,

    /// What to boot as it is: an EFI file, an ISO image, or a disk (raw, qcow2), which the node may write to
    #[arg(long, value_name = "FILE", conflicts_with = "env")]
    image: Option<PathBuf>,

    /// What the machine of an --image is that is a disk or a disc [default: like this one]; EFI files say it themselves
    #[arg(long, value_name = "NAME", requires = "image", value_parser = architecture())]
    architecture: Option<Architecture>,

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

    /// What runs the machine: qemu, or ch (Cloud Hypervisor: needs KVM; boots EFI files directly)
    #[arg(long, value_enum, default_value_t, env = "HYPERVISOR", hide_env_values = true)]
    hypervisor: HypervisorArg,

    /// Memory in MiB, or with a unit: 2048, 2G
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = mos_vm::machine::DEFAULT_MEMORY,
        value_parser = mebibytes,
        env = "MEMORY",
        hide_env_values = true
    )]
    memory: u32,

    /// Processors
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MOST_CPUS))]
    cpus: u32,

    /// How many disks; the first is an ext4 file system labelled mosdata, on which the node keeps its state
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(..=MOST_DISKS),
        env = "NUM_DISKS",
        hide_env_values = true
    )]
    disks: u32,

    /// Size of a disk that is made, in MiB, or with a unit: 1024, 20G
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 1024,
        value_parser = mebibytes,
        env = "DISK_SIZE",
        hide_env_values = true
    )]
    disk_size: u32,

    /// Connect the node to this bridge of the host, through a TAP interface (root, or sudo)
    #[arg(long, value_name = "NAME", env = "BRIDGE", hide_env_values = true)]
    bridge: Option<String>,

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

    /// Play a scenario: wait for text, type, fetch pages, expect the end
    #[arg(long, value_name = "FILE.toml", conflicts_with = "until")]
    check: Option<PathBuf>,

    /// Fetch a page once --until came, and print it
    #[arg(long, value_name = "URL", requires = "until")]
    get: Option<String>,

    /// Write the boot timeline as a picture; with --until ready
    #[arg(long, value_name = "FILE.svg", requires = "until")]
    timeline: Option<PathBuf>,
}

/// What runs the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum HypervisorArg {
    #[default]
    Qemu,
    /// Cloud Hypervisor
    #[value(alias = "cloud-hypervisor")]
    Ch,
}

impl From<HypervisorArg> for Hypervisor {
    fn from(argument: HypervisorArg) -> Self {
        match argument {
            HypervisorArg::Qemu => Self::Qemu,
            HypervisorArg::Ch => Self::CloudHypervisor,
        }
    }
}

/// More than a machine of QEMU's kind `q35` takes.
const MOST_CPUS: i64 = 255;
/// The slots of its first PCI bus, less those of other devices.
const MOST_DISKS: i64 = 24;

pub(crate) fn run(context: &Context, args: &RunArgs) -> Result<()> {
    if args.timeline.is_some() && args.until.as_deref() != Some(READY_WORD) {
        return Err(CliError::usage("--timeline draws the way to ready").with_hint("add --until ready"));
    }
    let scenario = args.check.as_deref().map(check::read).transpose()?;
    std::fs::create_dir_all(&args.output_dir).map_err(io(&args.output_dir))?;
    let system = system::prepare(context, args)?;
    let pages = scenario.as_ref().map(Scenario::ports).unwrap_or_default();
    let machine = machine::describe(context, args, &system, &pages)?;
    let is_watched = args.until.is_some() || scenario.is_some();
    let output = Output {
        echo: Some(Box::new(std::io::stdout())),
        log: Some(args.output_dir.join("console.log")),
        interactive: !is_watched && std::io::stdin().is_terminal(),
    };
    let mut vm = Vm::start(&machine.machine, output).map_err(|error| not_started(error, &machine.machine))?;
    for forward in vm.forwards() {
        context.ui.line(format!(
            "Port {} of 127.0.0.1 leads to port {} of the node.",
            forward.host, forward.guest
        ));
    }
    let outcome = match (&args.until, &scenario) {
        (Some(text), _) => observe(context, args, &mut vm, text).map(|()| false),
        (None, Some(scenario)) => check::play(context, scenario, &mut vm),
        (None, None) => return vm.wait_exit(Duration::MAX).map(drop).map_err(vm_error),
    };
    if !matches!(outcome, Ok(true)) {
        power_off(context, &mut vm);
    }
    outcome?;
    system.report(context)
}

/// What people write for a line of the console.
fn pattern(text: &str) -> &str {
    if text == READY_WORD { READY } else { text }
}

/// With Cloud Hypervisor missing, the command line says what would have been run.
fn not_started(error: VmError, machine: &Machine) -> CliError {
    let is_missing = matches!(error, VmError::NotPackaged { .. });
    let told = vm_error(error);
    let resources = Resources {
        program: mos_vm::tools::CLOUD_HYPERVISOR.into(),
        firmware: None,
        monitor: PathBuf::new(),
        tpm: None,
        forwards: Vec::new(),
        tap: None,
    };
    match mos_vm::cloud::command(machine, &resources) {
        Ok(command) if is_missing => told.with_hint(format!("what would be run: {command}")),
        _ => told,
    }
}

/// Waits for the text, fetches the page, draws the timeline.
fn observe(context: &Context, args: &RunArgs, vm: &mut Vm, text: &str) -> Result<()> {
    let text = pattern(text);
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

/// The architectures by name.
fn architecture() -> impl TypedValueParser<Value = Architecture> {
    let names = Architecture::ALL.map(|(name, _)| name);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Architecture>())
}

fn forward(text: &str) -> std::result::Result<Forward, String> {
    let ports = text.split_once(':').map(|(host, guest)| (host.parse(), guest.parse()));
    match ports {
        Some((Ok(host), Ok(guest))) => Ok(Forward { host, guest }),
        _ => Err("expected HOST:GUEST, two port numbers, such as 8080:80".to_owned()),
    }
}

/// MiB, or a number with a unit.
fn mebibytes(text: &str) -> std::result::Result<u32, String> {
    let wrong = || "expected MiB, or a number with M, G or T, such as 2048 or 2G".to_owned();
    let (number, factor) = match text.trim_end_matches(['B', 'b']).trim_end_matches('i') {
        text if text.ends_with(['M', 'm']) => (&text[..text.len() - 1], 1),
        text if text.ends_with(['G', 'g']) => (&text[..text.len() - 1], 1 << 10),
        text if text.ends_with(['T', 't']) => (&text[..text.len() - 1], 1 << 20),
        text => (text, 1),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|it| *it > 0).ok_or_else(wrong)
}

fn vm_error(error: VmError) -> CliError {
    let kind = match error {
        VmError::Missing { .. } | VmError::NotPackaged { .. } | VmError::NoBridge { .. } => Kind::NotFound,
        VmError::Unsupported { .. } => Kind::Usage,
        VmError::Port { .. } => Kind::Conflict,
        _ => Kind::Problem,
    };
    CliError::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::mebibytes;

    #[test]
    fn sizes_are_mebibytes_or_have_a_unit() {
        for (text, size) in [
            ("2048", 2048),
            ("512M", 512),
            ("2G", 2048),
            ("20GiB", 20_480),
            ("1t", 1 << 20),
        ] {
            assert_eq!(mebibytes(text), Ok(size), "{text}");
        }
        for text in ["", "G", "0", "-1", "1.5G", "2K", "9999999999", "5000T"] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
    }
}
