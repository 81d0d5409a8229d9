//! What my_init reads: requests on its control socket, and service files.

use mos_service::{Service, check, load};
use my_init::json_toml::{from_toml, to_toml};
use my_init::protocol::{answer, parse};
use my_init::supervisor::{Action, Exit, Goal, Settings, Supervisor};
use serde_json::{Value, json};

/// So many things a supervisor does are looked at: services can be such that it never runs out of them.
const STEPS: usize = 500;

/// Lines from a client: whatever they are, what is answered is JSON on one line.
pub fn control_request(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let text = match parse(line) {
            Ok(request) => answer(&request.id.unwrap_or(Value::Null), Ok(json!(true))),
            Err(answer) => answer,
        };
        assert!(text.ends_with('\n') && !text.trim_end().contains('\n'), "one line");
        serde_json::from_str::<Value>(&text).expect("an answer that is JSON");
        // The configuration of `service.set`.
        if let Ok(config) = serde_json::from_slice::<Value>(line)
            && let Ok(text) = to_toml(&config)
        {
            from_toml("a.toml", &text).expect("a file that we wrote");
        }
    }
}

/// Service files, one after the other with a NUL between them, and a supervisor that has them.
pub fn service_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let names = [
        "a.service.toml",
        "b.toml",
        "c@.service.toml",
        "c@x.service.toml",
        "d.yaml",
        "my_init.conf",
    ];
    let files: Vec<(&str, &str)> = names.into_iter().zip(text.split('\0')).collect();
    let problems = check(&files, &["ready"]);
    assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
    let services: Vec<(Service, u64)> = load(&files).services.into_iter().map(|service| (service, 0)).collect();
    let mut supervisor = Supervisor::new(settings());
    supervisor.reload(services.clone(), 0);
    run(&mut supervisor);
    // Whatever it knows, another one can know.
    let ids: Vec<_> = supervisor
        .units()
        .map(|(id, unit)| (unit.service().name.clone(), id))
        .collect();
    let known = ids
        .iter()
        .filter_map(|(name, id)| Some((name.clone(), supervisor.remember(*id)?)));
    let memories = known.collect();
    let mut successor = Supervisor::new(settings());
    successor.resume(services, memories, &supervisor.remember_node(), None, 1_000_000);
    run(&mut successor);
    successor.shut_down(Goal::Poweroff, 2_000_000);
    run(&mut successor);
}

fn settings() -> Settings {
    Settings {
        started: 0,
        boot_deadline: 30_000,
        shutdown_deadline: 60_000,
        seed: 1,
    }
}

/// Every process ends at once, every second one badly; every third cannot be started.
fn run(supervisor: &mut Supervisor) {
    let mut pid = 100;
    for step in 0..STEPS {
        let Some(action) = supervisor.take() else {
            match supervisor.next_deadline() {
                Some(deadline) => supervisor.tick(deadline),
                None => return,
            }
            continue;
        };
        if let Action::Spawn(id) = action
            && supervisor.begin_spawn(id).is_some()
        {
            pid += 1;
            match step % 3 {
                0 => supervisor.spawn_failed(id, "no".to_owned(), step as u64),
                code => {
                    supervisor.spawned(id, pid, 0, step as u64);
                    supervisor.exited(id, Exit::Code(i32::from(code == 1)), step as u64);
                }
            }
        }
    }
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let request = |method: &str, params: Value| {
        let value = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        ("control_request", format!("{value}\n").into_bytes())
    };
    let page = include_str!("../../docs/services.md");
    let examples = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|block| block.split("```").next());
    let mut seeds: Vec<_> = examples
        .map(|text| ("service_file", text.as_bytes().to_vec()))
        .collect();
    seeds.push(("service_file", examples_together(page)));
    seeds.push(request("service.status", json!({"name": "web"})));
    seeds.push(request("logs.tail", json!(["web", 3])));
    seeds.push(request(
        "service.set",
        json!({"name": "a", "config": {"service": {"exec": "true", "env": {"A": "b"}}}}),
    ));
    seeds.push(request("system.upgrade", json!({"program": "/my_init"})));
    seeds
}

/// Services that need each other, in one seed.
fn examples_together(page: &str) -> Vec<u8> {
    let first = page
        .split("```toml\n")
        .nth(1)
        .and_then(|block| block.split("```").next())
        .unwrap_or("");
    let text = [
        first,
        "[service]\nexec = \"sh -c 'exit 1'\"\noneshot = true\n[dependencies]\nrequires = [\"a\"]\nconflicts = [\"c@x\"]\n",
        "[service]\nexec = \"sleep %i\"\n[lifecycle]\nrestart = \"always\"\n",
        "[group]\nmembers = [\"a\", \"b\"]\n",
    ];
    text.join("\0").into_bytes()
}
