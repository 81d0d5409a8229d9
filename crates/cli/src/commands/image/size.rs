//! `mos image size`.

use std::path::{Path, PathBuf};

use mos_build::{Inside, InsideError, Share, Sizes, Tile};

use crate::context::Context;
use crate::error::{CliError, Kind, Result, io};
use crate::pipeline::Pipeline;
use crate::{output, ui};

/// Show where the bytes of a boot image are: by package and component, by directory, by file
///
/// STORED is the share of the compressed image, estimated. What the clean-up removed is counted by rule. The record beside
/// the image says which package brought what; without it, sizes are shown all the same.
///
/// Examples: mos image size; mos image size --env dev --svg size.svg; mos image size old/vmlinuz.efi --depth 3
#[derive(Debug, clap::Args)]
pub(crate) struct SizeArgs {
    /// The EFI file or initramfs
    #[arg(default_value = "dist/vmlinuz.efi", conflicts_with = "env")]
    file: PathBuf,

    /// The image of this environment instead, built if it is not in the cache
    #[arg(long)]
    env: Option<String>,

    /// How deep directories are shown
    #[arg(long, value_name = "N", default_value_t = 2)]
    depth: usize,

    /// How many of the largest files are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    files: usize,

    /// Write a picture of it: a treemap, in a file of its own that any browser shows
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Print as JSON, with every file and directory
    #[arg(long)]
    json: bool,
}

/// Files of a part that are smaller than this share of the image are drawn as one.
const SMALL: u64 = 2000;

pub(crate) fn run(context: &Context, args: &SizeArgs) -> Result<()> {
    let (image, name) = match &args.env {
        Some(environment) => (of_environment(context, environment)?, environment.clone()),
        None => (open(&args.file)?, args.file.display().to_string()),
    };
    if image.contents.is_none() {
        let line = "No record of this image is beside it: which package brought what is not known.";
        context.ui.line(line);
    }
    let sizes = Sizes::of(&image).map_err(io(&args.file))?;
    if let Some(path) = &args.svg {
        let caption = format!(
            "{name}: {}, {} unpacked",
            ui::bytes(sizes.bytes),
            ui::bytes(sizes.unpacked)
        );
        let picture = mos_build::svg(&caption, &tiles(&sizes));
        mos_sys::durable::write(path, picture.as_bytes(), 0o644).map_err(io(path))?;
        context.ui.line(format!("Wrote {}.", path.display()));
    }
    if args.json {
        output::json(&sizes)
    } else {
        output::line(tables(&sizes, args).join("\n\n"))
    }
}

/// An image with the record beside it.
pub(super) fn open(path: &Path) -> Result<Inside> {
    Inside::read(path).map_err(|error| unreadable(&error))
}

fn of_environment(context: &Context, environment: &str) -> Result<Inside> {
    let built = Pipeline::open(context, environment)?.image_of_any_size()?;
    let records = built.contents.parent().unwrap_or(Path::new(""));
    Inside::read_with(&built.efi, records).map_err(|error| unreadable(&error))
}

fn unreadable(error: &InsideError) -> CliError {
    let missing = matches!(error, InsideError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
    if missing {
        CliError::new(Kind::NotFound, error.to_string())
            .with_hint("`mos image build --env ENV` writes dist/vmlinuz.efi")
    } else {
        CliError::problem(error.to_string())
    }
}

fn tables(sizes: &Sizes, args: &SizeArgs) -> Vec<String> {
    let whole = [
        ("whole file", sizes.bytes),
        ("  kernel", sizes.kernel),
        ("  initramfs, compressed", sizes.initramfs),
        ("  rest: stub, headers, texts", sizes.rest),
        ("initramfs, unpacked", sizes.unpacked),
    ];
    let whole: Vec<_> = whole.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    let whole: Vec<_> = whole
        .iter()
        .map(|(name, bytes)| vec![(*name).to_owned(), ui::bytes(*bytes)])
        .collect();
    let directories = sizes.directories.iter();
    let directories: Vec<Share> = directories
        .filter(|it| depth(&it.name) <= args.depth)
        .map(rooted)
        .collect();
    let files = sizes.files.iter().take(args.files).map(|file| {
        let name = format!("/{}", file.path);
        vec![name, ui::bytes(file.bytes), ui::bytes(file.stored), file.part.clone()]
    });
    let mut tables = vec![
        ui::table(&["BOOT IMAGE", "SIZE"], &whole),
        ui::table(&["PART", "SIZE", "STORED", "FILES"], &rows(&sizes.parts)),
        ui::table(&["DIRECTORY", "SIZE", "STORED", "FILES"], &rows(&directories)),
        ui::table(&["FILE", "SIZE", "STORED", "PART"], &files.collect::<Vec<_>>()),
    ];
    if !sizes.removed.is_empty() {
        let removed = sizes.removed.iter();
        let rows = removed.map(|it| vec![it.name.clone(), ui::bytes(it.bytes), it.files.to_string()]);
        tables.push(ui::table(
            &["REMOVED BY RULE", "SIZE", "FILES"],
            &rows.collect::<Vec<_>>(),
        ));
    }
    tables
}

fn rows(shares: &[Share]) -> Vec<Vec<String>> {
    let row = |share: &Share| {
        let stored = share.stored.map(ui::bytes).unwrap_or_default();
        vec![
            share.name.clone(),
            ui::bytes(share.bytes),
            stored,
            share.files.to_string(),
        ]
    };
    shares.iter().map(row).collect()
}

/// The root is 0, `usr` is 1.
fn depth(directory: &str) -> usize {
    directory.split('/').filter(|part| !part.is_empty()).count()
}

fn rooted(directory: &Share) -> Share {
    let name = format!("/{}", directory.name);
    Share {
        name,
        ..directory.clone()
    }
}

/// Areas are what is stored: kernel, rest, and each part of the initramfs with its files.
fn tiles(sizes: &Sizes) -> Vec<Tile> {
    let plain = |name: &str, bytes| Tile::leaf(name, format!("{name}: {}", ui::bytes(bytes)), bytes);
    let mut tiles = vec![plain("kernel", sizes.kernel), plain("stub and texts", sizes.rest)];
    tiles.extend(sizes.parts.iter().map(|part| part_tile(sizes, part)));
    tiles
}

fn part_tile(sizes: &Sizes, part: &Share) -> Tile {
    let sum = |share: &Share| {
        let stored = ui::bytes(share.stored.unwrap_or(0));
        format!(
            "{}: {} files, {}, stored {stored}",
            share.name,
            share.files,
            ui::bytes(share.bytes)
        )
    };
    let mut small = Share {
        name: "smaller files".to_owned(),
        stored: Some(0),
        ..Share::default()
    };
    let mut inside = Vec::new();
    for file in sizes.files.iter().filter(|file| file.part == part.name) {
        if file.stored.saturating_mul(SMALL) < sizes.bytes {
            small.files += 1;
            small.bytes += file.bytes;
            small.stored = small.stored.map(|stored| stored + file.stored);
            continue;
        }
        let name = file.path.rsplit('/').next().unwrap_or(&file.path);
        let stored = ui::bytes(file.stored);
        let title = format!(
            "/{}: {}, stored {stored}\n{}",
            file.path,
            ui::bytes(file.bytes),
            part.name
        );
        inside.push(Tile::leaf(name, title, file.stored));
    }
    inside.push(Tile::leaf(small.name.as_str(), sum(&small), small.stored.unwrap_or(0)));
    Tile {
        name: part.name.clone(),
        title: sum(part),
        bytes: 0,
        inside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_have_depths() {
        assert_eq!([depth(""), depth("usr"), depth("usr/bin")], [0, 1, 2]);
    }
}
