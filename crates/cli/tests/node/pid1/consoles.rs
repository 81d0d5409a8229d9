//! A shell on each console, screen and serial, for those who were promised one.

use super::{Image, wait_end};
use crate::system::{console, wait_all, wait_for};

const FAILS: &str = "[service]\nexec = \"echo all is lost; exit 3\"\nshell = true\noneshot = true\ncritical = true\n\
                     [lifecycle]\nrestart = \"never\"\n";
const BOTH: &str = "console=tty0 console=ttyS0";
/// Says which terminals have a shell as the leader of a session, major and minor in one number as the kernel writes it:
/// 1025 is tty1, 1088 ttyS0.
const TERMINALS: &str =
    "echo \"SHELLS\" $(for p in $(pidof sh); do cut -d ' ' -f 7 /proc/$p/stat; done | grep -v ^0 | sort -nu)\n";

#[test]
fn rescue_starts_nothing_and_gives_shells_on_screen_and_serial_line() {
    let image = Image::new();
    let mut vm = image.boot(&format!("my_init.rescue {BOTH}"), |_| {});
    wait_for(&mut vm, "rescue: no service is started; my_init start NAME does");
    vm.send("\necho I-AM-$(id -u)-ON-$((40 + 2))\n").unwrap();
    wait_all(&vm, &["I-AM-0-ON-42"]);
    vm.send(TERMINALS).unwrap();
    wait_all(&vm, &["SHELLS 1025 1088"]);
    vm.send("my_init list | grep ^shell\n").unwrap();
    wait_all(&vm, &["inactive"]);
    vm.send("my_init start shell && echo STARTED-$((1 + 1))\n").unwrap();
    wait_all(&vm, &["STARTED-2"]);
    super::told(&vm, "true");
    vm.send("my_init reboot\n").unwrap();
    wait_all(&vm, &["reboot: stopping services"]);
    wait_end(&mut vm);
}

#[test]
fn critical_failure_gives_shells_on_screen_and_serial_line_and_the_rest_goes_on() {
    let mut image = Image::new();
    image.service("fails", FAILS);
    let mut vm = image.boot(&format!("my_init.emergency=shell {BOTH}"), |_| {});
    wait_all(
        &vm,
        &["emergency: critical service fails: failed: exit code 3; last line: all is lost"],
    );
    super::told(&vm, "true");
    vm.send("\necho I-AM-$(id -u)-ON-$((40 + 2))\n").unwrap();
    wait_all(&vm, &["I-AM-0-ON-42"]);
    vm.send(TERMINALS).unwrap();
    wait_all(&vm, &["SHELLS 1025 1088"]);
    assert!(!console(&vm).contains("] ready"), "{}", console(&vm));
    vm.ctrl_alt_del().unwrap();
    wait_all(&vm, &["reboot asked for by SIGINT"]);
    wait_end(&mut vm);
}
