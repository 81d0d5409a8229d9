//! What is packed: a folder, a tar archive, compressed or not, or a container image in a folder.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use mos_oci::{Choice, Hashing, ImageLayer, LayoutError, Platform, layout};
use mos_packages::compression::Compression;
use mos_tree::directory;
use mos_tree::tarball::{self, TarError};
use mos_tree::{Tree, layer};

use super::change::ChangeArgs;
use super::open::show;
use crate::error::{CliError, Kind, Result, io, system};

/// How much is decompressed at a time; as much of nothing but zeros becomes a hole.
const BLOCK: usize = 64 << 10;
/// Longest archive once it is decompressed, holes included: a longer one was made to keep us busy.
const MAX_PLAIN: u64 = 1 << 40;

/// Which image of an image layout is packed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ImageArgs {
    /// Which of the images in an OCI image layout, such as linux/arm64 [default: the only one, or that for this processor]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    /// Which of the images in an OCI image layout, by its name, such as latest [default: any]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
}

/// A tree and what its content lies in as long as it lives: files without a name, which are gone with this program.
pub(super) struct Source {
    pub(super) tree: Tree,
    _plain: Vec<File>,
}

/// Reads sources.
pub(super) struct Reader<'r> {
    pub(super) change: &'r ChangeArgs,
    pub(super) image: &'r ImageArgs,
    /// Finds the folder that has room for what is decompressed.
    pub(super) room: &'r dyn Fn() -> Result<PathBuf>,
}

impl Reader<'_> {
    /// Reads a source. What is excluded is not opened where that can be avoided.
    pub(super) fn read(&self, path: &Path) -> Result<Source> {
        let found = std::fs::metadata(path).map_err(io(path))?;
        let image = found.is_dir() && layout::is_layout(path);
        if !image && (self.image.platform.is_some() || self.image.image.is_some()) {
            return Err(CliError::usage(format!(
                "{} is no container image: --platform and --image mean nothing for it",
                path.display()
            )));
        }
        match (image, found.is_dir()) {
            (true, _) => self.read_image(path),
            (false, true) => self.read_folder(path),
            (false, false) => self.read_archive(path),
        }
    }

    /// Owners and attributes are those of the source; who runs this must be able to read them.
    fn read_folder(&self, path: &Path) -> Result<Source> {
        let options = directory::Options {
            owners: true,
            xattrs: true,
        };
        let tree = directory::read_filtered(path, options, &mut self.change.rules()?);
        Ok(Source {
            tree: tree.map_err(|error| system(error.kind(), error.to_string()))?,
            _plain: Vec::new(),
        })
    }

    fn read_archive(&self, path: &Path) -> Result<Source> {
        let file = File::open(path).map_err(io(path))?;
        let compression = compression(&file).map_err(io(path))?;
        if compression == Compression::None {
            return Ok(Source {
                tree: tarball::read_file(path).map_err(|error| tar_error(path, &error))?,
                _plain: Vec::new(),
            });
        }
        let reader = compression.reader(file).map_err(io(path))?;
        let plain = self.spool(path, reader)?;
        Ok(Source {
            tree: tarball::read_file(&by_number(&plain)).map_err(|error| tar_error(path, &error))?,
            _plain: vec![plain],
        })
    }

    fn read_image(&self, path: &Path) -> Result<Source> {
        let choice = Choice {
            platform: self.image.platform.clone(),
            name: self.image.image.clone(),
        };
        let mut source = Source {
            tree: Tree::default(),
            _plain: Vec::new(),
        };
        for layer in layout::layers(path, &choice).map_err(layout_error)? {
            let plain = self.read_layer(&layer)?;
            layer::apply(&mut source.tree, &by_number(&plain)).map_err(|error| tar_error(&layer.path, &error))?;
            source._plain.push(plain);
        }
        Ok(source)
    }

    /// Decompresses and checks a layer.
    fn read_layer(&self, layer: &ImageLayer) -> Result<File> {
        let file = layer.open().map_err(layout_error)?;
        let compression = compression(&file).map_err(io(&layer.path))?;
        let mut stored = Hashing::new(file);
        let mut plain = Hashing::new(compression.reader(&mut stored).map_err(io(&layer.path))?);
        let spooled = self.spool(&layer.path, &mut plain);
        let plain = plain.finish();
        io::copy(&mut stored, &mut io::sink()).map_err(io(&layer.path))?;
        // What was damaged on the way is told as that, and not as an archive that makes no sense.
        layer.check_stored(&stored.finish()).map_err(layout_error)?;
        let spooled = spooled?;
        layer.check_plain(&plain).map_err(layout_error)?;
        Ok(spooled)
    }

    fn spool(&self, path: &Path, reader: impl Read) -> Result<File> {
        let room = (self.room)()?;
        let spooled = tempfile::tempfile_in(&room).and_then(|file| spool(reader, file, MAX_PLAIN));
        spooled.map_err(|error| damaged(path, &room, &error))
    }
}

/// What a file is compressed with, as its first bytes say; it is then at its beginning again.
fn compression(mut file: &File) -> io::Result<Compression> {
    let mut head = Vec::new();
    file.take(8).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Compression::of_content(&head))
}

/// Writes what comes into a file, zeros as holes: an archive that promises terabytes of them takes no room.
fn spool(mut reader: impl Read, mut file: File, limit: u64) -> io::Result<File> {
    let mut block = vec![0; BLOCK];
    let mut length = 0;
    loop {
        let filled = fill(&mut reader, &mut block)?;
        length += filled as u64;
        if length > limit {
            let text = format!("it has more than {limit} bytes once it is decompressed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        match block[..filled].iter().all(|byte| *byte == 0) {
            true => file.seek(SeekFrom::Start(length)).map(drop)?,
            false => file.write_all(&block[..filled])?,
        }
        if filled < block.len() {
            file.set_len(length)?;
            return Ok(file);
        }
    }
}

fn fill(reader: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Where a file without a name can be opened while it is open here.
fn by_number(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn damaged(path: &Path, room: &Path, error: &io::Error) -> CliError {
    let text = format!("{}: cannot decompress it: {error}", path.display());
    let failed = system(error.kind(), text);
    match error.kind() {
        io::ErrorKind::StorageFull => failed.with_hint(format!(
            "what is decompressed goes to {}, which must have room",
            room.display()
        )),
        _ => failed,
    }
}

fn tar_error(path: &Path, error: &TarError) -> CliError {
    // The message may repeat bytes of the file.
    let error = show(error.to_string().as_bytes());
    CliError::problem(format!("{}: {error}", path.display()))
        .with_hint("a source is a folder, a tar archive (also .gz, .xz, .zst), or a folder with an OCI image layout")
}

fn layout_error(error: LayoutError) -> CliError {
    let message = error.to_string();
    match error {
        LayoutError::Read { source, .. } => system(source.kind(), message),
        LayoutError::Tampered { .. } => CliError::new(Kind::Trust, message),
        LayoutError::Choice { .. } => {
            CliError::not_found(message).with_hint("choose one with --platform OS/ARCH or --image NAME")
        }
        _ => CliError::problem(message),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn spooled(bytes: &[u8], limit: u64) -> io::Result<File> {
        spool(bytes, tempfile::tempfile().unwrap(), limit)
    }

    #[test]
    fn what_is_spooled_comes_back_with_holes() {
        let mut bytes = vec![0; 3 * BLOCK + 5];
        bytes[2 * BLOCK + 7] = 1;
        let file = spooled(&bytes, bytes.len() as u64).unwrap();
        assert_eq!(std::fs::read(by_number(&file)).unwrap(), bytes);
        assert_eq!(spooled(b"", 0).unwrap().metadata().unwrap().len(), 0);
        let error = spooled(&bytes, bytes.len() as u64 - 1).unwrap_err().to_string();
        assert!(error.contains("more than 196612 bytes"), "{error}");
    }

    #[test]
    fn compressed_archives_give_the_same_tree() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("tree/etc")).unwrap();
        std::fs::write(at("tree/etc/name"), "x".repeat(100_000)).unwrap();
        let tar = |option: &str, name: &str| {
            let mut command = Command::new("tar");
            command.args(["--format=pax", option, "-cf"]).arg(at(name));
            command.arg("-C").arg(at("tree")).arg(".");
            command.status().is_ok_and(|status| status.success())
        };
        let (change, image) = (ChangeArgs::default(), ImageArgs::default());
        let reader = Reader {
            change: &change,
            image: &image,
            room: &|| Ok(folder.path().to_owned()),
        };
        assert!(tar("--sort=name", "plain"));
        let plain = reader.read(&at("plain")).unwrap().tree;
        assert_eq!(plain, reader.read(&at("tree")).unwrap().tree);
        for option in ["--gzip", "--xz", "--zstd"] {
            assert!(tar(option, "packed"), "tar {option}");
            let source = reader.read(&at("packed")).unwrap();
            assert_eq!(source.tree, plain, "{option}");
            let bytes = std::fs::read(at("packed")).unwrap();
            std::fs::write(at("cut"), &bytes[..bytes.len() / 2]).unwrap();
            assert!(reader.read(&at("cut")).is_err(), "{option}");
        }
    }
}
