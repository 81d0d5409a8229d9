//! Calling the kernel's `make` so that the result depends on nothing but its inputs.
//!
//! * The environment is emptied but for what finds the tools.
//! * Time, user, host and number of the build are given (`Documentation/kbuild/reproducible-builds.rst`); the number counts
//!   up with every link otherwise.
//! * It is compiled where its source is, so that paths are relative; what is absolute all the same is mapped.
//! * `LOCALVERSION` is given, even empty: without it, a `+` is added in a git repository (`scripts/setlocalversion`).

use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use mos_architecture::Architecture;
use mos_components::{output, require, tool_prefix};

use crate::error::KbuildError;
use crate::source::NAME;

/// Who a kernel says that it was built by.
const BUILDER: &str = "mos";
/// What stands in debugging information in place of the folder of the build.
const MAPPED: &str = "/usr/src/linux";
/// Variables that are passed on: they say where things are, not what comes out.
const PASSED: [&str; 3] = ["PATH", "HOME", "TMPDIR"];
/// What the kernel's make calls, for the machine that it runs on.
const TOOLS: [&str; 8] = ["make", "gcc", "ld", "flex", "bison", "bc", "perl", "tar"];
/// What it calls for the machine that the kernel is for; `CROSS_COMPILE` stands before their names.
const CROSS_TOOLS: [&str; 2] = ["gcc", "ld"];

/// How a kernel is compiled for a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// As the kernel's make calls it.
    pub(crate) make: &'static str,
    /// What stands before the names of compiler and linker; nothing when they are this machine's.
    pub(crate) tool_prefix: &'static str,
    /// Its folder in `arch/`.
    pub(crate) folder: &'static str,
    /// What is made of the kernel: a PE file.
    pub(crate) target: &'static str,
    /// Where it is then.
    pub(crate) image: &'static str,
}

impl Machine {
    pub(crate) fn new(architecture: Architecture) -> Self {
        let (make, folder, target, image) = match architecture {
            Architecture::X86_64 => ("x86_64", "x86", "bzImage", "arch/x86/boot/bzImage"),
            Architecture::Aarch64 => ("arm64", "arm64", "Image", "arch/arm64/boot/Image"),
        };
        Self {
            make,
            tool_prefix: tool_prefix(architecture),
            folder,
            target,
            image,
        }
    }
}

/// The compiler and the linker, as they name themselves.
pub(crate) fn tools(machine: Machine) -> Result<String, KbuildError> {
    TOOLS.into_iter().try_for_each(require)?;
    let version = |tool: &str| -> Result<String, KbuildError> {
        let tool = format!("{}{tool}", machine.tool_prefix);
        require(&tool)?;
        let said = output(NAME, Command::new(tool).arg("--version").env("LC_ALL", "C"))?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    };
    Ok(CROSS_TOOLS
        .map(version)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .join("\n"))
}

/// As many processes at once as there are processors.
pub(crate) fn jobs() -> String {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("-j{count}")
}

/// The kernel's make in the folder of its source, which was made at `time` (seconds since 1970).
pub(crate) fn command(linux: &Path, machine: Machine, time: i64, arguments: &[&str]) -> Command {
    let mut command = Command::new("make");
    command.env_clear().current_dir(linux);
    let passed = PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.envs(passed);
    let map = format!("-ffile-prefix-map={}={MAPPED}", linux.display());
    command
        .envs([
            ("LC_ALL", "C"),
            ("TZ", "UTC"),
            ("KBUILD_BUILD_VERSION", "1"),
            ("LOCALVERSION", ""),
        ])
        .envs([("KBUILD_BUILD_USER", BUILDER), ("KBUILD_BUILD_HOST", BUILDER)])
        .env("KBUILD_BUILD_TIMESTAMP", timestamp(time))
        .envs([("KCFLAGS", &map), ("KAFLAGS", &map)])
        .env("ARCH", machine.make)
        .env("CROSS_COMPILE", machine.tool_prefix)
        .args(arguments);
    command
}

/// As date(1) prints it, which is what kernels say: `Sat Nov 21 06:00:00 UTC 2026`.
fn timestamp(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%a %b %e %H:%M:%S UTC %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_kernels_say_them() {
        assert_eq!(timestamp(1_795_240_800), "Sat Nov 21 06:00:00 UTC 2026");
        assert_eq!(timestamp(0), "Thu Jan  1 00:00:00 UTC 1970");
    }

    #[test]
    fn a_kernel_for_another_machine_is_made_by_another_compiler() {
        let other = Machine::new(Architecture::HOST.other());
        let command = command(Path::new("/source/linux"), other, 0, &["olddefconfig"]);
        let value = |name: &str| {
            let mut all = command.get_envs();
            let found = all.find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value?.to_str()).unwrap_or_default()
        };
        let expected = match Architecture::HOST {
            Architecture::X86_64 => ("arm64", "aarch64-linux-gnu-"),
            Architecture::Aarch64 => ("x86_64", "x86_64-linux-gnu-"),
        };
        assert_eq!((value("ARCH"), value("CROSS_COMPILE")), expected);
        assert_eq!(Machine::new(Architecture::HOST).tool_prefix, "");
    }

    #[test]
    fn the_environment_of_the_caller_does_not_reach_make() {
        let command = command(
            Path::new("/source/linux"),
            Machine::new(Architecture::HOST),
            0,
            &["olddefconfig"],
        );
        let mut names: Vec<_> = command
            .get_envs()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect();
        names.retain(|name| !PASSED.contains(&name.as_str()));
        assert_eq!(
            names,
            [
                "ARCH",
                "CROSS_COMPILE",
                "KAFLAGS",
                "KBUILD_BUILD_HOST",
                "KBUILD_BUILD_TIMESTAMP",
                "KBUILD_BUILD_USER",
                "KBUILD_BUILD_VERSION",
                "KCFLAGS",
                "LC_ALL",
                "LOCALVERSION",
                "TZ",
            ]
        );
    }
}
