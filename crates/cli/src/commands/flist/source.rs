//! What is packed: a folder, a tar archive, compressed or not, or a container image in either.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mos_oci::{Choice, Files, Form, Hashing, ImageLayer, LayoutError, Platform, layout};
use mos_packages::compression::Compression;
use mos_tree::directory;
use mos_tree::tarball::{self, TarError};
use mos_tree::{Content, Tree, layer};

use super::change::ChangeArgs;
use super::open::show;
use super::places::other_file_system;
use crate::error::{CliError, Kind, Result, io, system};
use crate::ui;

/// How much is decompressed at a time; as much of nothing but zeros becomes a hole.
const BLOCK: usize = 64 << 10;
/// Longest archive once it is decompressed, holes included: a longer one was made to keep us busy.
const MAX_PLAIN: u64 = 1 << 40;

/// Which image of an image layout or an archive is packed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ImageArgs {
    /// Which of several container images, such as linux/arm64 [default: the only one, or that for this processor]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    /// Which of several container images, by its name, such as busybox:latest or latest [default: any]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,

    /// Pack a container image as the files that it is made of, not as the tree of its layers
    #[arg(long, conflicts_with_all = ["platform", "image"])]
    plain: bool,
}

/// A tree and what its content lies in as long as it lives: files without a name, which are gone with this program.
pub(super) struct Source {
    pub(super) tree: Tree,
    /// What it is, when it is an image: nobody sees that an archive is one.
    pub(super) image: Option<Image>,
    _plain: Vec<File>,
}

/// An image that was read.
pub(super) struct Image {
    form: Form,
    layers: u64,
}

/// Reads sources.
pub(super) struct Reader<'r> {
    pub(super) change: &'r ChangeArgs,
    pub(super) image: &'r ImageArgs,
    /// Paths in a folder's tree that are left out, because they are written to meanwhile.
    pub(super) own: &'r [Vec<u8>],
    /// Whether what is mounted below a folder is left out.
    pub(super) one_file_system: bool,
    /// Finds the folder that has room for what is decompressed.
    pub(super) room: &'r dyn Fn() -> Result<PathBuf>,
}

impl Reader<'_> {
    /// Reads a source. What is excluded is not opened where that can be avoided.
    pub(super) fn read(&self, path: &Path) -> Result<Source> {
        let folder = std::fs::metadata(path).map_err(io(path))?.is_dir();
        if !folder {
            return self.read_archive(path);
        }
        let files = Files::folder(path);
        match self.form(&files)? {
            Some(form) => self.read_image(&files, form),
            None => self.read_folder(path),
        }
    }

    /// How the images are kept that are meant; `None` when none are.
    fn form(&self, files: &Files) -> Result<Option<Form>> {
        let form = files.form().filter(|_| !self.image.plain);
        if form.is_none() && (self.image.platform.is_some() || self.image.image.is_some()) {
            return Err(CliError::usage(format!(
                "{} is no container image: --platform and --image mean nothing for it",
                files.path().display()
            )));
        }
        Ok(form)
    }

    /// Owners and attributes are those of the source; who runs this must be able to read them.
    fn read_folder(&self, path: &Path) -> Result<Source> {
        let options = directory::Options {
            owners: true,
            xattrs: true,
        };
        let mut rules = self.change.rules()?.without(self.own.to_vec());
        rules.one_file_system = self.one_file_system;
        let tree = directory::read_filtered(path, options, &mut rules);
        Ok(Source {
            tree: tree.map_err(|error| unreadable(path, &error))?,
            image: None,
            _plain: Vec::new(),
        })
    }

    fn read_archive(&self, path: &Path) -> Result<Source> {
        let file = File::open(path).map_err(io(path))?;
        let compression = compression(&file).map_err(io(path))?;
        (&file).rewind().map_err(io(path))?;
        let mut plain = Vec::new();
        if compression != Compression::None {
            let reader = compression.reader(file).map_err(io(path))?;
            plain.push(self.spool(path, reader)?);
        }
        let place = plain.first().map_or_else(|| path.to_owned(), by_number);
        let tree = Arc::new(tarball::read_file(&place).map_err(|error| tar_error(path, &error))?);
        let files = Files::archive(path, tree.clone());
        if let Some(form) = self.form(&files)? {
            let mut source = self.read_image(&files, form)?;
            source._plain.extend(plain);
            return Ok(source);
        }
        drop(files);
        Ok(Source {
            tree: Arc::unwrap_or_clone(tree),
            image: None,
            _plain: plain,
        })
    }

    fn read_image(&self, files: &Files, form: Form) -> Result<Source> {
        let choice = Choice {
            platform: self.image.platform.clone(),
            name: self.image.image.clone(),
        };
        let layers = layout::layers(files, &choice).map_err(layout_error)?;
        let mut source = Source {
            tree: Tree::default(),
            image: Some(Image {
                form,
                layers: layers.len() as u64,
            }),
            _plain: Vec::new(),
        };
        for layer in layers {
            let (content, plain) = self.read_layer(&layer)?;
            layer::apply(&mut source.tree, &content).map_err(|error| tar_error(&layer.path, &error))?;
            source._plain.extend(plain);
        }
        Ok(source)
    }

    /// Checks a layer. One that is not compressed stays where it is, in a folder or in an archive; others are decompressed
    /// into a file that lives as long as their content is needed.
    fn read_layer(&self, layer: &ImageLayer) -> Result<(Content, Option<File>)> {
        let content = layer.content().map_err(layout_error)?;
        let open = || content.open().map_err(io(&layer.path));
        let compression = compression(open()?).map_err(io(&layer.path))?;
        let in_place = compression == Compression::None && matches!(content, Content::Range { .. });
        let mut stored = Hashing::new(open()?);
        let mut plain = Hashing::new(compression.reader(&mut stored).map_err(io(&layer.path))?);
        let spooled = match in_place {
            true => io::copy(&mut plain, &mut io::sink())
                .map_err(io(&layer.path))
                .map(|_| None),
            false => self.spool(&layer.path, &mut plain).map(Some),
        };
        let plain = plain.finish();
        io::copy(&mut stored, &mut io::sink()).map_err(io(&layer.path))?;
        // What was damaged on the way is told as that, and not as an archive that makes no sense.
        layer.check_stored(&stored.finish()).map_err(layout_error)?;
        let spooled = spooled?;
        layer.check_plain(&plain).map_err(layout_error)?;
        match spooled {
            None => Ok((content, None)),
            Some(file) => {
                let place = by_number(&file);
                Ok((Content::file(&place).map_err(io(&place))?, Some(file)))
            }
        }
    }

    fn spool(&self, path: &Path, reader: impl Read) -> Result<File> {
        let room = (self.room)()?;
        let spooled = tempfile::tempfile_in(&room).and_then(|file| spool(reader, file, MAX_PLAIN));
        spooled.map_err(|error| damaged(path, &room, &error))
    }
}

/// What keeps a folder from being read; often it is what a kernel shows of itself.
fn unreadable(folder: &Path, error: &directory::ReadError) -> CliError {
    let paths = match error {
        directory::ReadError::Failed(error) => std::slice::from_ref(error),
        directory::ReadError::Denied(errors) => &errors[..],
    };
    let hint = paths.iter().find_map(|error| other_file_system(folder, &error.path));
    let error = system(error.kind(), error.to_string());
    hint.into_iter().fold(error, CliError::with_hint)
}

impl Image {
    /// What is packed of a source that is an image.
    pub(super) fn describe(&self, path: &Path) -> String {
        let form = match self.form {
            Form::Layout => "an OCI image",
            Form::Docker => "an image as docker saves it",
        };
        let layers = ui::count(self.layers, "layer");
        format!(
            "{} is {form}: packing the tree of its {layers} (--plain packs the files as they are)",
            path.display()
        )
    }
}

/// What a file is compressed with, as its first bytes say.
fn compression(reader: impl Read) -> io::Result<Compression> {
    let mut head = Vec::new();
    reader.take(8).read_to_end(&mut head)?;
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
        .with_hint("a source is a folder, a tar archive (also .gz, .xz, .zst), or a container image as either")
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
            own: &[],
            one_file_system: false,
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
        std::fs::File::create(at("tree/etc/hole"))
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        assert!(tar("--sparse", "sparse"));
        assert!(at("sparse").metadata().unwrap().len() < 1 << 20);
        assert_eq!(
            reader.read(&at("sparse")).unwrap().tree,
            reader.read(&at("tree")).unwrap().tree
        );
    }
}
