//! When PID 1 itself fails: it says so and stays, because the kernel panics when it ends.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use rustix::process::WaitOptions;

use crate::boot::command_line::CommandLine;
use crate::shell;

/// Before the next shell, so that one that cannot start does not fill the console.
const PAUSE: Duration = Duration::from_secs(5);
const CONSOLE: &str = "/dev/console";

/// Makes a panic end in [`stay`] instead of the end of PID 1.
pub fn install() {
    std::panic::set_hook(Box::new(|panic| stay(&format!("panic: {panic}"))));
}

/// Makes a panic the end of this process: its parent starts another one, which knows what this one knew.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("my_init: panic: {}", panic.to_string().replace('\n', " "));
        std::process::abort();
    }));
}

/// Says what happened on the console and in the kernel's log, and stays for ever: with `my_init.debug` with a shell on
/// each console, otherwise with nothing, since a failure must not be a way into a node. Services that run go on,
/// unsupervised.
pub fn stay(what: &str) -> ! {
    for place in [CONSOLE, "/dev/kmsg"] {
        if let Ok(mut file) = OpenOptions::new().append(true).open(place) {
            let _ = writeln!(
                file,
                "my_init: fatal: {}; services are no longer supervised",
                what.replace('\n', " ")
            );
        }
    }
    let line = CommandLine::parse(&crate::lossy::read("/proc/cmdline").unwrap_or_default());
    let mut shells: Vec<(String, Option<u32>)> = match line.debug || line.rescue {
        true => shell::terminals()
            .into_iter()
            .map(|terminal| (terminal, None))
            .collect(),
        false => Vec::new(),
    };
    loop {
        for (terminal, running) in &mut shells {
            *running = running.or_else(|| shell::start(terminal, None).ok());
        }
        wait_for_any(&mut shells);
        std::thread::sleep(PAUSE);
    }
}

/// Waits for the end of a shell, and takes in whoever else ends.
fn wait_for_any(shells: &mut [(String, Option<u32>)]) {
    while let Ok(Some((ended, _))) = rustix::process::wait(WaitOptions::empty()) {
        let ended = ended.as_raw_nonzero().get().unsigned_abs();
        if let Some((_, running)) = shells.iter_mut().find(|(_, running)| *running == Some(ended)) {
            *running = None;
            return;
        }
    }
}
