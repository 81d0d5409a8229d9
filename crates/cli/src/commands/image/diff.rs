//! `mos image diff`.

use std::path::{Path, PathBuf};

use mos_build::{FileChange, ImageDiff, Inside, ItemChange, OptionChange, Pair, SectionChange};

use super::size;
use crate::context::Context;
use crate::error::{CliError, Kind, Result, io};
use crate::{output, ui};

/// Show in what two boot images differ, and why: packages, modules, firmware, kernel, command line, files, sections
///
/// Both are read as they are; the records beside them say which package, rule or setting is behind each difference. A folder
/// stands for the vmlinuz.efi in it.
///
/// Examples: mos image diff old/vmlinuz.efi dist/vmlinuz.efi; mos image diff old dist --json
///
/// Exit codes: 0 they are the same, 1 they differ.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The first EFI file or initramfs, or the folder that has it
    #[arg(value_name = "A")]
    before: PathBuf,

    /// The second
    #[arg(value_name = "B")]
    after: PathBuf,

    /// How many files and kernel options are shown, those that changed most first
    #[arg(long, value_name = "N", default_value_t = 40)]
    files: usize,

    /// Print as JSON, with every file
    #[arg(long)]
    json: bool,
}

/// What an image is called in the folder of outputs.
const EFI_FILE: &str = "vmlinuz.efi";

pub(crate) fn run(context: &Context, args: &DiffArgs) -> Result<()> {
    let (before, after) = (open(&args.before)?, open(&args.after)?);
    let diff = ImageDiff::of(&before, &after).map_err(io(&args.after))?;
    for (path, has_record) in [(&args.before, diff.records.0), (&args.after, diff.records.1)] {
        if !has_record && !diff.identical {
            let line = "No record of it is beside it: the reasons of its differences are not known.";
            context.ui.line(format!("{}: {line}", path.display()));
        }
    }
    if args.json {
        output::json(&diff)?;
    } else if diff.identical {
        output::line("The images are the same, byte by byte.")?;
    } else {
        output::line(lines(&diff, args.files).join("\n"))?;
    }
    if diff.identical {
        Ok(())
    } else {
        Err(CliError::said(Kind::Problem))
    }
}

fn open(path: &Path) -> Result<Inside> {
    if path.is_dir() {
        size::open(&path.join(EFI_FILE))
    } else {
        size::open(path)
    }
}

fn lines(diff: &ImageDiff, shown: usize) -> Vec<String> {
    let pairs = [
        ("build id", &diff.build_id),
        ("command line", &diff.command_line),
        ("kernel", &diff.kernel),
        ("signed by", &diff.signers),
    ];
    let mut lines = vec![change("whole file", diff.bytes.0, diff.bytes.1)];
    lines.extend(
        pairs
            .into_iter()
            .filter_map(|(name, pair)| Some(pair_lines(name, pair.as_ref()?))),
    );
    let items = [
        ("packages", &diff.packages),
        ("modules", &diff.modules),
        ("firmware", &diff.firmware),
    ];
    items
        .iter()
        .for_each(|(name, items)| group(&mut lines, name, items.iter().map(item_line), usize::MAX));
    group(
        &mut lines,
        "kernel options",
        diff.options.iter().map(option_line),
        shown,
    );
    let mut files: Vec<&FileChange> = diff.files.iter().collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.grown().unsigned_abs()));
    group(&mut lines, "files", files.into_iter().map(file_line), shown);
    group(
        &mut lines,
        "sections",
        diff.sections.iter().map(section_line),
        usize::MAX,
    );
    lines.extend(diff.rest.iter().map(|rest| format!("beside the sections: {rest}")));
    lines
}

fn pair_lines(name: &str, pair: &Pair) -> String {
    let text = |side: &Option<String>| side.clone().unwrap_or("none".to_owned());
    format!("{name}\n  - {}\n  + {}", text(&pair.before), text(&pair.after))
}

/// A heading with what is below it, unless that is nothing.
fn group(lines: &mut Vec<String>, name: &str, below: impl Iterator<Item = String>, shown: usize) {
    let below: Vec<String> = below.collect();
    if below.is_empty() {
        return;
    }
    lines.push(format!("{name}: {}", below.len()));
    lines.extend(below.iter().take(shown).map(|line| format!("  {line}")));
    if below.len() > shown {
        lines.push(format!("  and {} more; --json has all", below.len() - shown));
    }
}

fn item_line(item: &ItemChange) -> String {
    let (name, why) = (&item.name, &item.why);
    match (&item.before, &item.after) {
        (Some(before), Some(after)) => format!("~ {name} {before} -> {after} ({why})"),
        (None, Some(after)) => format!("+ {name} {after} ({why})"),
        (Some(before), None) => format!("- {name} {before} ({why})"),
        (None, None) => format!("~ {name}"),
    }
}

fn option_line(option: &OptionChange) -> String {
    format!("~ {} {} -> {}", option.name, option.before, option.after)
}

fn file_line(file: &FileChange) -> String {
    let bytes = |state: Option<u64>| state.unwrap_or(0);
    let (before, after) = (
        file.before.as_ref().map(|it| it.bytes),
        file.after.as_ref().map(|it| it.bytes),
    );
    let size = match (before, after) {
        (Some(before), Some(after)) if before == after => format!("{} ({})", ui::bytes(after), file.differs.join(", ")),
        (Some(before), Some(after)) => change("", before, after).trim_start().to_owned(),
        _ => ui::bytes(bytes(before.or(after))),
    };
    format!("{} /{} {size}: {}", file.sign(), file.path, file.why)
}

fn section_line(section: &SectionChange) -> String {
    let (before, after) = (section.before.unwrap_or(0), section.after.unwrap_or(0));
    let change = change(&section.name, before, after);
    format!("{}: {}", change, section.why)
}

/// `NAME 1 KiB -> 3 KiB (+2 KiB)`.
fn change(name: &str, before: u64, after: u64) -> String {
    let sign = if after < before { "-" } else { "+" };
    let by = ui::bytes(after.abs_diff(before));
    format!("{name} {} -> {} ({sign}{by})", ui::bytes(before), ui::bytes(after))
}
