//! Garage, a real S3 server, with one node and one bucket.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};
use tempfile::TempDir;

/// The variable that names the program.
const PROGRAM: &str = "MOS_GARAGE";
const BUCKET: &str = "bucket";
const KEY: &str = "testkey00000";
const READ_ONLY_KEY: &str = "readkey00000";
/// What is waited for it to start, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Garage on `127.0.0.1`, with one empty bucket; stops when dropped.
#[derive(Debug)]
pub struct Garage {
    program: PathBuf,
    directory: TempDir,
    address: SocketAddr,
    process: Child,
}

impl Garage {
    /// The secret of its keys.
    pub const SECRET: &str = "testsecret0000000000000000000000";

    /// Starts it, when `MOS_GARAGE` names the program.
    pub fn start() -> Option<Self> {
        let program = PathBuf::from(std::env::var_os(PROGRAM).filter(|program| !program.is_empty())?);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [api, rpc] = free_ports();
        fs::write(
            directory.path().join("garage.toml"),
            configuration(&directory, api, rpc),
        )
        .expect("a configuration");
        let process = command(&program, &directory)
            .args(["server", "--single-node", "--default-bucket"])
            .env("GARAGE_DEFAULT_ACCESS_KEY", KEY)
            .env("GARAGE_DEFAULT_SECRET_KEY", Self::SECRET)
            .env("GARAGE_DEFAULT_BUCKET", BUCKET)
            .stderr(fs::File::create(directory.path().join("log")).expect("a log"))
            .spawn()
            .expect("the program that MOS_GARAGE names");
        let garage = Self {
            program,
            directory,
            address: api,
            process,
        };
        garage.wait();
        garage.run(&["key", "import", "--yes", "-n", "reader", READ_ONLY_KEY, Self::SECRET]);
        garage.run(&["bucket", "allow", "--read", "--key", READ_ONLY_KEY, BUCKET]);
        Some(garage)
    }

    /// The URL of a prefix in the bucket, with a key that may read and write.
    pub fn url(&self, prefix: &str) -> String {
        self.url_for(KEY, prefix)
    }

    /// The URL of a prefix in the bucket, with a key that may only read.
    pub fn read_only_url(&self, prefix: &str) -> String {
        self.url_for(READ_ONLY_KEY, prefix)
    }

    fn url_for(&self, key: &str, prefix: &str) -> String {
        format!(
            "s3://{key}:{}@{}/{BUCKET}/{prefix}?region=garage",
            Self::SECRET,
            self.address
        )
    }

    fn run(&self, arguments: &[&str]) {
        let output = command(&self.program, &self.directory)
            .args(arguments)
            .output()
            .expect("garage runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "garage {arguments:?}: {said}");
    }

    /// Until it knows its bucket.
    fn wait(&self) {
        let begun = Instant::now();
        let ready = || {
            let info = command(&self.program, &self.directory)
                .args(["bucket", "info", BUCKET])
                .stderr(Stdio::null())
                .status();
            info.is_ok_and(|status| status.success()) && TcpStream::connect(self.address).is_ok()
        };
        while !ready() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "garage does not start:\n{log}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(program: &PathBuf, directory: &TempDir) -> Command {
    let mut command = Command::new(program);
    command
        .arg("-c")
        .arg(directory.path().join("garage.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Ports that were free just now.
fn free_ports() -> [SocketAddr; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address"))
}

fn configuration(directory: &TempDir, api: SocketAddr, rpc: SocketAddr) -> String {
    let path = directory.path().display();
    let secret = "00".repeat(32);
    format!(
        r#"metadata_dir = "{path}/meta"
data_dir = "{path}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "{rpc}"
rpc_public_addr = "{rpc}"
rpc_secret = "{secret}"

[s3_api]
s3_region = "garage"
api_bind_addr = "{api}"
root_domain = ".s3.garage"
"#
    )
}
