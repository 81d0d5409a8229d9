//! A channel served on loopback and a node that reads it: real parts, the real program.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use jiff::{SignedDuration, Timestamp};
use mos_channel::{Blob, BootImage, Flist, KeyPair, Release, Sha256, sign};
use mos_flist::{PackOptions, pack};
use mos_store::{Digest, Dir};
use mos_testkit::{Authority, HttpServer, Identity};
use mos_tree::Tree;

pub struct World {
    _directory: tempfile::TempDir,
    pub channel: PathBuf,
    pub root: PathBuf,
    pub key: KeyPair,
    pub server: HttpServer,
}

/// What the program said and how it ended.
#[must_use]
pub struct Ran {
    pub code: Option<i32>,
    pub text: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "no `{part}` in:\n{}", self.text);
        }
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(|channel, _| HttpServer::serve(channel))
    }

    /// A channel on an `https` server, and a node that believes this authority.
    #[allow(dead_code, reason = "not every test of this crate needs it")]
    pub fn secure(server: &Identity, authority: &Authority) -> Self {
        Self::with(|channel, root| {
            fs::write(root.join("etc/mos/ca.pem"), authority.pem()).unwrap();
            HttpServer::serve_tls(channel, server)
        })
    }

    fn with(serve: impl FnOnce(&Path, &Path) -> HttpServer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (channel, root) = (directory.path().join("channel"), directory.path().join("root"));
        fs::create_dir_all(&channel).unwrap();
        fs::create_dir_all(root.join("etc/mos/trust")).unwrap();
        let key = KeyPair::generate().unwrap();
        fs::write(root.join("etc/mos/trust/dev.pub"), key.public().to_pem()).unwrap();
        let server = serve(&channel, &root);
        let world = Self {
            _directory: directory,
            channel,
            root,
            key,
            server,
        };
        world.configure(&world.server.url());
        world
    }

    pub fn configure(&self, channel: &str) {
        let text = format!(
            "environment = \"dev\"\nchannel = \"{channel}\"\ntrust = [\"/etc/mos/trust/dev.pub\"]\nbuilt = 1790000000\noffline_after = 2\n"
        );
        fs::write(self.root.join("etc/mos/node.toml"), text).unwrap();
    }

    /// Publishes one component with these files, after a change to the release.
    pub fn publish_changed(
        &self,
        sequence: u64,
        files: &[(&str, &[u8])],
        key: &KeyPair,
        change: impl FnOnce(&mut Release),
    ) {
        let mut tree = Tree::default();
        for (path, content) in files {
            tree.insert_file(path, 0o644, content.to_vec()).unwrap();
        }
        let packed = pack(&tree, &Dir::new(self.channel.clone()), &PackOptions::default()).unwrap();
        let boot = b"boot image";
        let flist = Flist {
            name: "web".into(),
            version: sequence.to_string(),
            path: format!("flists/{}.fl", packed.digest),
            length: packed.flist.len() as u64,
            sha256: Sha256::of(&packed.flist),
            blake3: packed.digest,
            blobs: packed
                .blobs
                .iter()
                .map(|blob| Blob {
                    blake3: blob.digest,
                    length: blob.length,
                })
                .collect(),
        };
        fs::create_dir_all(self.channel.join("flists")).unwrap();
        fs::write(self.channel.join(&flist.path), &packed.flist).unwrap();
        let created = Timestamp::now();
        let mut release = Release {
            format: Default::default(),
            environment: "dev".into(),
            sequence,
            created,
            expires: created + SignedDuration::from_hours(24),
            minimum_sequence: 1,
            boot: BootImage::new(boot.len() as u64, Sha256::of(boot), Digest::of(boot)),
            flists: vec![flist],
        };
        change(&mut release);
        fs::write(self.channel.join("release.json"), sign(&release, &[key])).unwrap();
    }

    pub fn publish(&self, sequence: u64, files: &[(&str, &[u8])]) {
        self.publish_changed(sequence, files, &self.key, |_| {});
    }

    pub fn run_as(&self, name: &str, arguments: &[&str]) -> Ran {
        run_below(&self.root, name, arguments)
    }

    /// Starts a program that goes on beside the test.
    pub fn spawn(&self, name: &str, arguments: &[&str]) -> Child {
        let mut command = command_below(&self.root, name, arguments);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub fn fetch(&self) -> Ran {
        self.run_as("mos-node", &["fetch"])
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("var/cache/mos")
    }

    pub fn current(&self) -> PathBuf {
        fs::read_link(self.state().join("current")).unwrap()
    }

    pub fn installed(&self, place: &str) -> Vec<u8> {
        fs::read(self.state().join("current").join(place)).unwrap()
    }

    /// Lines of the server's log that ask for content.
    pub fn blob_requests(&self) -> usize {
        self.server
            .requests()
            .iter()
            .filter(|line| line.contains("/blobs/"))
            .count()
    }
}

/// Runs the program under one of its names below a root.
pub fn run_below(root: &Path, name: &str, arguments: &[&str]) -> Ran {
    ran(command_below(root, name, arguments).output().unwrap())
}

/// What a program that has ended said, and how it ended.
pub fn ran(output: Output) -> Ran {
    let text = [output.stdout, output.stderr].concat();
    Ran {
        code: output.status.code(),
        text: String::from_utf8(text).unwrap(),
    }
}

fn command_below(root: &Path, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mos-node"));
    command.arg0(name).args(arguments).arg("--root").arg(root);
    command
}

/// Bytes that neither compress nor repeat.
pub fn noise(seed: u8, length: usize) -> Vec<u8> {
    let block = |index: usize| Digest::of(&[&[seed], index.to_le_bytes().as_slice()].concat());
    (0..length.div_ceil(32))
        .flat_map(|index| *block(index).as_bytes())
        .take(length)
        .collect()
}

/// Flips a bit in the middle of every file below a directory.
pub fn damage_all(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage_all(&path);
        } else {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
}
