//! `mos run --hypervisor ch` against a hypervisor that talks as Cloud Hypervisor's API description says
//! (`vmm/src/api/openapi/cloud-hypervisor.yaml`, version 0.3.0): the program itself needs KVM.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::System;

/// A schema's name, and its properties: name, type, whether it must be there.
type Schema = (&'static str, &'static [(&'static str, &'static str, bool)]);

/// The schemas that a machine of ours has, with the properties that it may have.
const SCHEMAS: [Schema; 9] = [
    (
        "VmConfig",
        &[
            ("payload", "PayloadConfig", true),
            ("cpus", "CpusConfig", false),
            ("memory", "MemoryConfig", false),
            ("disks", "[DiskConfig]", false),
            ("net", "[NetConfig]", false),
            ("rng", "RngConfig", false),
            ("serial", "SerialConfig", false),
            ("console", "ConsoleConfig", false),
        ],
    ),
    (
        "PayloadConfig",
        &[
            ("firmware", "string", false),
            ("kernel", "string", false),
            ("cmdline", "string", false),
            ("initramfs", "string", false),
        ],
    ),
    (
        "CpusConfig",
        &[("boot_vcpus", "integer", true), ("max_vcpus", "integer", true)],
    ),
    ("MemoryConfig", &[("size", "integer", true)]),
    (
        "DiskConfig",
        &[
            ("path", "string", false),
            ("readonly", "boolean", false),
            ("image_type", "string", false),
        ],
    ),
    ("NetConfig", &[("tap", "string", false), ("mac", "string", false)]),
    ("RngConfig", &[("src", "string", true)]),
    ("SerialConfig", &[("mode", "string", true), ("socket", "string", false)]),
    ("ConsoleConfig", &[("mode", "string", true)]),
];

/// Whether a value is of a schema, or what is wrong.
fn check(value: &Value, schema: &str) -> Result<(), String> {
    if let Some(element) = schema.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let list = value.as_array().ok_or(format!("{value} is no list of {element}"))?;
        return list.iter().try_for_each(|value| check(value, element));
    }
    let fits = match schema {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        _ => return check_object(value, schema),
    };
    fits.then_some(()).ok_or(format!("{value} is no {schema}"))
}

fn check_object(value: &Value, schema: &str) -> Result<(), String> {
    let properties = SCHEMAS.iter().find(|(name, _)| *name == schema).unwrap().1;
    let object = value.as_object().ok_or(format!("{value} is no {schema}"))?;
    for (name, value) in object {
        let known = properties.iter().find(|(known, ..)| known == name);
        let (_, kind, _) = known.ok_or(format!("{schema} has no property {name}"))?;
        check(value, kind)?;
    }
    let missing = properties
        .iter()
        .find(|(name, _, must)| *must && !object.contains_key(*name));
    missing.map_or(Ok(()), |(name, ..)| Err(format!("{schema} lacks {name}")))
}

/// What a guest does, in place of one.
struct Fake {
    folder: PathBuf,
    requests: Vec<String>,
    config: Option<Value>,
    is_booted: bool,
    serial: Option<UnixListener>,
}

impl Fake {
    /// Serves until the machine is off; returns what was asked, and the machine.
    fn serve(folder: PathBuf) -> (Vec<String>, Value) {
        let arguments = wait_for(&folder.join("arguments"));
        let socket = arguments.trim().strip_prefix("--api-socket path=").unwrap().to_owned();
        let listener = UnixListener::bind(socket).unwrap();
        let mut fake = Self {
            folder,
            requests: Vec::new(),
            config: None,
            is_booted: false,
            serial: None,
        };
        let mut guest = None;
        while guest.is_none() || fake.is_booted {
            let (stream, _) = listener.accept().unwrap();
            fake.answer(stream);
            if fake.is_booted && guest.is_none() {
                let (console, _) = fake.serial.as_ref().unwrap().accept().unwrap();
                guest = Some(thread::spawn({
                    let console = console.try_clone().unwrap();
                    move || live(console)
                }));
            }
        }
        guest.unwrap().join().unwrap();
        fs::write(fake.folder.join("exit"), "").unwrap();
        (fake.requests, fake.config.unwrap())
    }

    fn answer(&mut self, mut stream: UnixStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        // Whoever only looks whether somebody listens says nothing.
        if reader.read_line(&mut line).unwrap() == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if let Some(value) = header.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            if header == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = line.trim().strip_suffix(" HTTP/1.1").unwrap().to_owned();
        let (status, body) = match self.act(&request, &body) {
            Ok(()) => ("204 No Content".to_owned(), String::new()),
            Err((status, why)) => (status.to_owned(), json!([why]).to_string()),
        };
        self.requests.push(request);
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\nServer: Cloud Hypervisor API\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).unwrap();
    }

    /// What the description says that an endpoint does in this state.
    fn act(&mut self, request: &str, body: &[u8]) -> Result<(), (&'static str, String)> {
        match request {
            "PUT /api/v1/vm.create" => {
                let config: Value = serde_json::from_slice(body).unwrap();
                check(&config, "VmConfig").map_err(|why| ("400 Bad Request", why))?;
                let serial = config["serial"]["socket"].as_str().unwrap();
                self.serial = Some(UnixListener::bind(serial).unwrap());
                self.config = Some(config);
                Ok(())
            }
            "PUT /api/v1/vm.boot" if self.config.is_some() => {
                self.is_booted = true;
                Ok(())
            }
            "PUT /api/v1/vm.power-button" if self.is_booted => {
                self.is_booted = false;
                Ok(())
            }
            _ => Err(("404 Not Found", format!("{request} in this state"))),
        }
    }
}

/// A guest that greets, hears a name, and goes down when the button is pressed.
fn live(mut console: UnixStream) {
    console.write_all(b"my_init: [   1.000] ready\r\nlogin: ").unwrap();
    let mut name = String::new();
    BufReader::new(console.try_clone().unwrap())
        .read_line(&mut name)
        .unwrap();
    console.write_all(format!("\r\nwelcome, {name}").as_bytes()).unwrap();
}

/// The content of a file that will be there.
fn wait_for(path: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        assert!(Instant::now() < end, "{} does not come", path.display());
        thread::sleep(Duration::from_millis(20));
    }
    fs::read_to_string(path).unwrap()
}

/// A folder with a program that writes down its arguments, and ends when it is told to.
fn program(system: &System) -> PathBuf {
    let folder = system.folder().join("ch");
    fs::create_dir(&folder).unwrap();
    let here = folder.display();
    let script = format!(
        "#!/bin/sh\necho \"$*\" >{here}/new && mv {here}/new {here}/arguments\nwhile [ ! -e {here}/exit ]; do sleep 0.1; done\n"
    );
    let path = folder.join("cloud-hypervisor");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

const SCENARIO: &str = "timeout = 60\n[[step]]\nwait = \"ready\"\n[[step]]\nwait = \"login:\"\n[[step]]\nsend = \"root\\n\"\n\
                        [[step]]\nwait = \"welcome, root\"\n[[step]]\npress = \"power\"\n[[step]]\nexit = true\n";

#[test]
fn seed_001_cloud_hypervisor_is_told_what_to_be() {
    let system = System::new(&[]);
    system.mos(&["image", "build", "--env", "dev"]);
    system.write("boot.toml", SCENARIO);
    let folder = program(&system);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let served = thread::spawn(move || Fake::serve(folder));
    let arguments =
        "run --hypervisor ch --image dist/vmlinuz.efi --memory 2G --cpus 2 --disk-size 64M --reset --check boot.toml";
    let mut command = system.command(&arguments.split(' ').collect::<Vec<_>>());
    let output = command.env("PATH", path).env("NUM_DISKS", "2").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("[check] passed: 6 steps"), "{said}");
    let (requests, config) = served.join().unwrap();
    let endpoints = ["vm.create", "vm.boot", "vm.power-button"];
    assert_eq!(requests, endpoints.map(|endpoint| format!("PUT /api/v1/{endpoint}")));
    assert_eq!(config["memory"]["size"], 2_u64 << 30);
    assert_eq!(config["cpus"]["boot_vcpus"], 2);
    let disks = config["disks"].as_array().unwrap();
    assert_eq!(disks.len(), 2);
    assert!(disks[0]["path"].as_str().unwrap().ends_with("dist/disks/disk0.raw"));
    let payload = &config["payload"];
    assert!(
        payload["cmdline"].as_str().unwrap().contains("console=ttyS0"),
        "{payload}"
    );
}

#[test]
fn without_the_program_the_command_line_is_told() {
    if mos_vm::tools::cloud_hypervisor().is_ok() {
        return eprintln!("SKIPPED: cloud-hypervisor is here");
    }
    let system = System::new(&[]);
    system.mos(&["image", "build", "--env", "dev"]);
    let run = [
        "run",
        "--hypervisor",
        "ch",
        "--image",
        "dist/vmlinuz.efi",
        "--disks",
        "0",
    ];
    let output = system.command(&run).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("the program cloud-hypervisor is missing")
            && said.contains("what would be run: cloud-hypervisor --cpus boot=1 --memory size=1024M --kernel "),
        "{said}"
    );
    let refused = system
        .command(&[&run[..], &["--secure-boot", "--bridge", "nobridge0"]].concat())
        .output();
    assert!(!refused.unwrap().status.success());
}
