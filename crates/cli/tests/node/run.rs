//! `mos run` as people and CI call it: the walk that `runit.sh` of mos_builder takes.

use std::fs;
use std::process::{Command, Output};

use crate::support::run;
use crate::system::{Script, System, dead_port};

/// Serves a page, and says which disks and how many processors there are.
const SITE: Script = Script {
    name: "site",
    script: "#!/bin/sh\necho \"DISKS $(echo $(ls /sys/block)) CPUS $(nproc)\" >/dev/console\n\
             mkdir -p /tmp/www\necho '<h1>It runs</h1>' >/tmp/www/index.html\n\
             exec busybox httpd -f -p 80 -h /tmp/www\n",
    service: "[service]\nname = \"site\"\nexec = \"/var/cache/bin/site\"\n",
};

const SCENARIO: &str = "timeout = 150
never = [\"Kernel panic\"]
[[step]]
wait = \"DISKS vda vdb CPUS 2\"
[[step]]
fetch = \"http://node:80/\"
contains = \"It runs\"
[[step]]
fetch = \"http://node:80/nothing\"
status = 404
[[step]]
press = \"power\"
[[step]]
exit = true
";

/// A system whose channel is at a port that no other test takes.
fn system(components: &[Script]) -> System {
    let system = System::new(components);
    let path = "environments/dev.toml";
    let environment = fs::read_to_string(system.repository().join(path)).unwrap();
    system.write(path, &environment.replace(":8480", &format!(":{}", dead_port())));
    system
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The variables of mos_builder's script, in place of the machine's.
fn with_variables(command: &mut Command, variables: &[(&str, &str)]) -> Output {
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn seed_001_runit_with_its_options_and_variables() {
    let system = system(&[SITE]);
    system.write("boot.toml", SCENARIO);
    let arguments =
        "run --env dev --hypervisor qemu --direct --memory 512 --cpus 2 --disk-size 64M --reset --check boot.toml";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let variables = [("HYPERVISOR", "ch"), ("NUM_DISKS", "2")];
    let output = with_variables(&mut system.command(&arguments), &variables);
    let told = said(&output);
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(told.contains("[check] 3 of 5: fetch http://node:80/nothing"), "{told}");
    assert!(told.contains("[check] passed: 5 steps in "), "{told}");
    for disk in ["disk0.raw", "disk1.raw"] {
        let file = system.repository().join("dist/disks").join(disk);
        assert_eq!(fs::metadata(file).unwrap().len(), 64 << 20);
    }

    // The same machine again, with an expectation that does not hold.
    system.write("wrong.toml", "[[step]]\nwait = \"CPUS 7\"\ntimeout = 1\n");
    let mut wrong = system.command(&[
        "run",
        "--direct",
        "--image",
        "dist/vmlinuz.efi",
        "--check",
        "wrong.toml",
    ]);
    let output = with_variables(&mut wrong, &[("DISK_SIZE", "64M"), ("MEMORY", "512")]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("error: wrong.toml:1:1: wait for `CPUS 7`: `CPUS 7` did not appear on the console within 1 s"),
        "{told}"
    );
}

#[test]
fn disk_image_is_booted_as_it_is() {
    if let Err(missing) = mos_vm::tools::firmware(mos_architecture::Architecture::HOST) {
        return eprintln!("SKIPPED: {missing}");
    }
    let system = system(&[]);
    system.mos(&["image", "build", "--env", "dev", "--output", "qcow2"]);
    system.write(
        "boot.toml",
        "timeout = 150\n[[step]]\nwait = \"mosnet: network up: eth0\"\n[[step]]\npress = \"power\"\n[[step]]\nexit = true\n",
    );
    let arguments = [
        "run",
        "--image",
        "dist/disk.qcow2",
        "--disks",
        "0",
        "--memory",
        "512M",
        "--check",
        "boot.toml",
    ];
    let output = run(&mut system.command(&arguments));
    let told = said(&output);
    assert!(
        told.contains("Booting dist/disk.qcow2, running ") && told.contains("[check] passed"),
        "{told}"
    );
}
