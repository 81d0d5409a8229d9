//! `mos image explain`.

use std::path::{Path, PathBuf};

use mos_build::{
    CONTENTS_FILE, Contents, Explanation, FileRecord, FirmwareRecord, MissingRecord, ModuleRecord, RemovedRecord,
};

use crate::error::{CliError, Result, io};
use crate::{output, ui};

/// Say why something is in a boot image: a module, a file, a folder, firmware
///
/// For a module: what asked for it, step by step, and the firmware that it names. For a file: the package, component or folder
/// that brought it. For what was removed: by which rule. Reads the record that `mos image build` leaves beside the image.
///
/// Examples: mos image explain libcrc32c; mos image explain /usr/share/doc; mos image explain rtl_nic/rtl8168h-2.fw
///
/// Exit codes: 0 fine, 4 it is not in the image, or there is no record.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The name of a module, a path in the image, or a file name
    #[arg(value_name = "MODULE|FILE")]
    what: String,

    /// The folder that has the image and its record
    #[arg(long, value_name = "DIR", default_value = "dist")]
    output_dir: PathBuf,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// How many of many names are shown; JSON has all.
const SHOWN: usize = 20;

pub(crate) fn run(args: &ExplainArgs) -> Result<()> {
    let contents = read(&args.output_dir.join(CONTENTS_FILE))?;
    let Some(explanation) = contents.explain(&args.what) else {
        let error = CliError::not_found(format!("the image has no `{}`, and nothing removed it", args.what));
        return Err(match contents.nearest(&args.what) {
            Some(nearest) => error.with_hint(format!("did you mean `{nearest}`?")),
            None => error,
        });
    };
    if args.json {
        output::json(&explanation)
    } else {
        output::line(lines(&explanation).join("\n"))
    }
}

fn read(path: &Path) -> Result<Contents> {
    if !path.is_file() {
        return Err(CliError::not_found(format!("{} is missing", path.display()))
            .with_hint("`mos image build --env ENV` writes it beside the image"));
    }
    let bytes = std::fs::read(path).map_err(io(path))?;
    serde_json::from_slice(&bytes).map_err(|error| CliError::problem(format!("{}: {error}", path.display())))
}

fn lines(explanation: &Explanation) -> Vec<String> {
    match explanation {
        Explanation::Module {
            chain,
            brings,
            firmware,
            missing_firmware,
        } => {
            let mut lines = chain_lines(chain);
            lines.extend(list("brings", brings));
            lines.extend(list("firmware", firmware));
            lines.extend(list("firmware that is missing", missing_firmware));
            lines
        }
        Explanation::BuiltIn { name } => vec![format!("{name}: asked for, and built into the kernel")],
        Explanation::Firmware(record) => firmware_lines(record),
        Explanation::MissingFirmware(record) => missing_lines(record),
        Explanation::File(record) => file_lines(record),
        Explanation::Directory {
            path,
            files,
            bytes,
            parts,
        } => {
            let head = format!("/{path}: {files} files, {}", ui::bytes(*bytes));
            let part = |(part, bytes): &(String, u64)| format!("  {} of {part}", ui::bytes(*bytes));
            std::iter::once(head).chain(parts.iter().map(part)).collect()
        }
        Explanation::Removed { files } => removed_lines(files),
        Explanation::Several { paths } => {
            let head = "there are several; name one of them:".to_owned();
            std::iter::once(head)
                .chain(paths.iter().map(|path| format!("  /{path}")))
                .collect()
        }
        other => vec![format!("{other:?}")],
    }
}

fn chain_lines(chain: &[ModuleRecord]) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(module) = chain.first() {
        lines.push(format!("{}: a kernel module, {}", module.name, ui::bytes(module.bytes)));
        lines.push(format!("  /{}", module.path));
    }
    lines.extend(
        chain
            .iter()
            .map(|module| format!("  {}: {}", module.name, module.reason)),
    );
    lines
}

fn firmware_lines(record: &FirmwareRecord) -> Vec<String> {
    let what = match &record.link {
        Some(target) => format!("another name of {target}"),
        None => format!("firmware, {}", ui::bytes(record.bytes)),
    };
    let mut lines = vec![
        format!("/lib/firmware/{}: {what}", record.path),
        format!("  from {}", record.source),
    ];
    lines.extend(list("wanted by", &record.wanted_by));
    lines
}

fn missing_lines(record: &MissingRecord) -> Vec<String> {
    let mut lines = vec![format!("{}: firmware that is missing", record.name)];
    lines.extend(list("wanted by", &record.wanted_by));
    lines.push(match &record.listed_in {
        Some(source) => format!("  {source} lists it in WHENCE, but does not have the file"),
        None => "  no package or folder of image/firmware.conf has it".to_owned(),
    });
    lines
}

fn file_lines(record: &FileRecord) -> Vec<String> {
    let what = match &record.target {
        Some(target) => format!("{} to {target}", record.kind),
        None => format!("{}, {}", record.kind, ui::bytes(record.bytes)),
    };
    let mut lines = vec![format!("/{}: {what}", record.path), format!("  from {}", record.part)];
    let replaced = record
        .replaces
        .iter()
        .map(|part| format!("  instead of that of {part}"));
    lines.extend(replaced);
    lines
}

fn removed_lines(files: &[RemovedRecord]) -> Vec<String> {
    let bytes = files.iter().map(|file| file.bytes).sum();
    let head = format!(
        "not in the image: {} files were removed, {}",
        files.len(),
        ui::bytes(bytes)
    );
    let one = |file: &RemovedRecord| {
        let bytes = ui::bytes(file.bytes);
        format!("  /{} ({bytes}) of {}, by the rule {}", file.path, file.part, file.rule)
    };
    let more = files.len().checked_sub(SHOWN).filter(|more| *more > 0);
    let shown = files.iter().take(SHOWN).map(one);
    std::iter::once(head)
        .chain(shown)
        .chain(more.map(|more| format!("  and {more} more")))
        .chain([String::from(
            "  `keep = [PATTERN, …]` in [image] leaves what it covers in the image",
        )])
        .collect()
}

/// `  what: a, b, c`; nothing when there are none.
fn list(what: &str, names: &[String]) -> Option<String> {
    let more = names.len().checked_sub(SHOWN).filter(|more| *more > 0);
    let shown = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
    (!names.is_empty()).then(|| format!("  {what}: {shown}{more}"))
}
