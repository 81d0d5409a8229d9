//! Plays a scenario on a machine.

use std::path::Path;
use std::time::{Duration, Instant};

use mos_vm::scenario::{Action, Button, Url};
use mos_vm::{Scenario, Step, Vm};

use super::{page, pattern, vm_error};
use crate::context::Context;
use crate::error::{CliError, Result, io};
use crate::output;

/// How often a page is asked for that is not there yet.
const PAUSE: Duration = Duration::from_millis(500);

/// Reads a scenario.
pub(super) fn read(path: &Path) -> Result<Scenario> {
    let text = std::fs::read_to_string(path).map_err(io(path))?;
    Scenario::parse(&path.display().to_string(), &text).map_err(|problems| {
        problems.iter().for_each(output::say);
        CliError::problem(format!("{} makes no sense", path.display()))
    })
}

/// Does what the steps say; true when the machine has ended by itself.
pub(super) fn play(context: &Context, scenario: &Scenario, vm: &mut Vm) -> Result<bool> {
    let begin = Instant::now();
    let mut has_ended = false;
    vm.fail_on(scenario.never.clone());
    for (number, step) in (1..).zip(&scenario.steps) {
        let count = scenario.steps.len();
        context.ui.line(format!("[check] {number} of {count}: {}", step.action));
        play_step(step, vm).map_err(|why| CliError::problem(format!("{}: {}: {why}", step.position, step.action)))?;
        has_ended |= step.action == Action::Exit;
    }
    vm.check_console().map_err(vm_error)?;
    context.ui.line(format!(
        "[check] passed: {} steps in {} s",
        scenario.steps.len(),
        begin.elapsed().as_secs()
    ));
    Ok(has_ended)
}

fn play_step(step: &Step, vm: &mut Vm) -> std::result::Result<(), String> {
    let done = match &step.action {
        Action::Wait(text) => vm.wait_for(pattern(text), step.timeout).map(drop),
        Action::Send(text) => vm.send(text),
        Action::Press(Button::Power) => vm.powerdown(),
        Action::Press(Button::CtrlAltDelete) => vm.ctrl_alt_del(),
        Action::Exit => {
            let status = vm.wait_exit(step.timeout).map_err(|error| error.to_string())?;
            return status.success().then_some(()).ok_or_else(|| status.to_string());
        }
        Action::Fetch { url, status, contains } => {
            let url = address(url, vm)?;
            return fetch(&url, *status, contains.as_deref(), step.timeout, vm);
        }
    };
    done.map_err(|error| error.to_string())
}

/// The URL by which this host reaches it.
fn address(url: &Url, vm: &Vm) -> std::result::Result<String, String> {
    let Url::Node { port, path } = url else {
        return Ok(url.to_string());
    };
    let forward = vm.forwards().iter().find(|forward| forward.guest == *port);
    let host = forward.ok_or("no port of this host leads there")?.host;
    Ok(format!("http://127.0.0.1:{host}{path}"))
}

/// Asks for a page until it is as wanted: the service may still be starting.
fn fetch(
    url: &str,
    status: u16,
    contains: Option<&str>,
    limit: Duration,
    vm: &mut Vm,
) -> std::result::Result<(), String> {
    let end = Instant::now() + limit;
    loop {
        let wrong = match page::fetch(url) {
            Ok((found, _)) if found != status => format!("the status is {found}, not {status}"),
            Ok((_, page)) => match contains {
                Some(text) if !page.contains(text) => format!("the page has no `{text}`:\n{}", page.trim_end()),
                _ => return Ok(()),
            },
            Err(why) => why,
        };
        vm.check_console().map_err(|error| error.to_string())?;
        if Instant::now() >= end {
            return Err(format!("{wrong} (after {} s)", limit.as_secs()));
        }
        std::thread::sleep(PAUSE);
    }
}
