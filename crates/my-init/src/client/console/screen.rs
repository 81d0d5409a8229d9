//! What is shown, as lines: pure.

use serde_json::Value;

use super::facts::Facts;
use crate::client::render::{remark, span, text};
use crate::clock::Millis;

/// States in which nothing is to be said of a service.
const FINE: [&str; 5] = ["running", "exited", "inactive", "skipped", "listening"];
/// The others, the worst first.
const ORDER: [&str; 6] = ["failed", "degraded", "restarting", "stopping", "starting", "blocked"];
/// A name that is longer is cut.
const NAME_MAX: usize = 24;
/// Between names in a row.
const GAP: usize = 2;

/// What a person sees of the node.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What the supervisor answered last.
    pub(super) services: Vec<Value>,
    /// It does not answer.
    pub(super) away: bool,
    /// What has happened, the newest last.
    pub(super) recent: Vec<String>,
    /// So many of those that are not fine were passed over.
    pub(super) passed: usize,
    /// The keys.
    pub(super) help: String,
}

impl View {
    /// How many are not as they should be.
    pub(super) fn stuck(&self) -> usize {
        self.services.iter().filter(|service| !is_fine(service)).count()
    }

    /// Passes over so many of them; after the last the first come again.
    pub(super) fn pass(&mut self, count: usize) {
        let passed = self.passed + count.max(1);
        self.passed = if passed < self.stuck() { passed } else { 0 };
    }
}

fn is_fine(service: &Value) -> bool {
    FINE.iter().any(|state| service["state"] == *state)
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Bad,
    Uneasy,
}

pub(super) type Line = (Style, String);

/// Everything in as many lines as fit; the keys are the last one.
pub(super) fn draw(facts: &Facts, view: &View, (rows, columns): (usize, usize), now: Millis) -> Vec<Line> {
    let mut lines = head(facts, view, columns);
    let mut below: Vec<Line> = Vec::new();
    if !view.recent.is_empty() {
        below.push((Style::Plain, String::new()));
        below.extend(
            view.recent
                .iter()
                .map(|line| (Style::Plain, line.trim_end().to_owned())),
        );
    }
    if !view.help.is_empty() {
        below.extend([(Style::Plain, String::new()), (Style::Bold, view.help.clone())]);
    }
    let room = rows.saturating_sub(lines.len() + below.len());
    let troubles = troubles(view, room, columns, now);
    let room = room.saturating_sub(troubles.len());
    lines.extend(troubles);
    let up = up(view, room, columns);
    lines.extend(up);
    // The keys stay where they are, at the bottom of a screen.
    let gap = if rows == usize::MAX {
        0
    } else {
        rows.saturating_sub(lines.len() + below.len())
    };
    lines.extend((0..gap).map(|_| (Style::Plain, String::new())));
    lines.extend(below);
    lines.truncate(rows);
    lines
        .into_iter()
        .map(|(style, line)| (style, cut(&line, columns)))
        .collect()
}

fn head(facts: &Facts, view: &View, columns: usize) -> Vec<Line> {
    let node = format!("{}  {}", facts.name, facts.release).trim_end().to_owned();
    let summary = match view.away {
        true => (
            Style::Bad,
            "my_init does not answer; what follows is the last that was known".to_owned(),
        ),
        false => summary(&view.services),
    };
    vec![
        (Style::Bold, apart(&node, &facts.addresses, columns)),
        summary,
        (Style::Plain, String::new()),
    ]
}

/// A text to the left, as many others as there is room for to the right.
fn apart(left: &str, right: &[String], columns: usize) -> String {
    let room = columns.saturating_sub(left.chars().count() + GAP);
    let mut shown = String::new();
    for text in right {
        let longer = if shown.is_empty() {
            text.clone()
        } else {
            format!("{shown}  {text}")
        };
        if longer.chars().count() > room {
            break;
        }
        shown = longer;
    }
    match columns == usize::MAX {
        true => format!("{left}  {shown}").trim_end().to_owned(),
        false => format!(
            "{left}{shown:>width$}",
            width = columns.saturating_sub(left.chars().count())
        )
        .trim_end()
        .to_owned(),
    }
}

fn summary(services: &[Value]) -> Line {
    let stands = |state: &str| services.iter().filter(|service| service["state"] == state).count();
    let mut parts = vec![format!("{} running", stands("running"))];
    let others = [
        ("exited", "done"),
        ("listening", "listening"),
        ("inactive", "off"),
        ("skipped", "skipped"),
    ];
    let others = others.into_iter().chain(ORDER.map(|state| (state, state)));
    for (state, word) in others {
        let count = stands(state);
        parts.extend((count > 0).then(|| format!("{count} {word}")));
    }
    let style = match stands("failed") {
        0 => Style::Plain,
        _ => Style::Bad,
    };
    (style, format!("{} services: {}", services.len(), parts.join(", ")))
}

/// A table of those that are not as they should be.
fn troubles(view: &View, room: usize, columns: usize, now: Millis) -> Vec<Line> {
    let state = |service: &Value| text(&service["state"]);
    let rank = |service: &Value| {
        ORDER
            .iter()
            .position(|one| service["state"] == *one)
            .unwrap_or(ORDER.len())
    };
    let mut stuck: Vec<&Value> = view.services.iter().filter(|one| !is_fine(one)).collect();
    if stuck.is_empty() || room < 2 {
        return Vec::new();
    }
    stuck.sort_by_key(|service| rank(service));
    let width = stuck
        .iter()
        .map(|service| text(&service["name"]).chars().count())
        .max()
        .unwrap_or(0);
    let width = width.clamp("NAME".len(), NAME_MAX);
    let mut lines = vec![(
        Style::Bold,
        format!("{:width$}  {:10} {:>5}  WHY", "NAME", "STATE", "FOR"),
    )];
    let rest = &stuck[view.passed.min(stuck.len() - 1)..];
    // Some room is for those that are well, unless everything is needed.
    let fits = if rest.len() < room { rest.len() } else { room - 2 };
    for service in rest.iter().take(fits) {
        let since = service["since_ms"]
            .as_u64()
            .map_or(0, |since| now.saturating_sub(since));
        let style = match state(service).as_str() {
            "failed" => Style::Bad,
            "degraded" | "restarting" => Style::Uneasy,
            _ => Style::Plain,
        };
        let name = cut(&text(&service["name"]), width);
        let line = format!(
            "{name:width$}  {:10} {:>5}  {}",
            state(service),
            span(since),
            remark(service)
        );
        lines.push((style, cut(line.trim_end(), columns)));
    }
    if fits < rest.len() {
        lines.push((Style::Plain, format!("and {} more (space)", rest.len() - fits)));
    }
    lines
}

/// The names of those that run, in columns.
fn up(view: &View, room: usize, columns: usize) -> Vec<Line> {
    let running = view.services.iter().filter(|service| service["state"] == "running");
    let names: Vec<String> = running.map(|service| cut(&text(&service["name"]), NAME_MAX)).collect();
    if names.is_empty() || room < 3 {
        return Vec::new();
    }
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(1) + GAP;
    let each = (columns.min(1000) / width).max(1);
    let rows = names.len().div_ceil(each);
    let fits = rows.min(room - 2);
    let mut lines = vec![(Style::Plain, String::new()), (Style::Bold, "RUNNING".to_owned())];
    // Down the columns, as people read lists.
    for row in 0..fits {
        let cells = names.iter().skip(row).step_by(rows);
        let line: String = cells.map(|name| format!("{name:width$}")).collect();
        lines.push((Style::Plain, line.trim_end().to_owned()));
    }
    if fits < rows {
        lines.pop();
        let shown = each * fits.saturating_sub(1);
        lines.push((Style::Plain, format!("and {} more", names.len().saturating_sub(shown))));
    }
    lines
}

/// No longer than there are columns, and nothing in it that a terminal obeys.
fn cut(text: &str, columns: usize) -> String {
    let clean = text.chars().map(|one| if one.is_control() { ' ' } else { one });
    if text.chars().count() <= columns {
        return clean.collect();
    }
    let mut short: String = clean.take(columns.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The lines as a terminal takes them: over what is there, so that nothing flickers.
pub(super) fn paint(lines: &[Line]) -> String {
    let painted = lines.iter().map(|(style, line)| {
        let colour = match style {
            Style::Plain => return format!("{line}\x1b[K"),
            Style::Bold => "1",
            Style::Bad => "31",
            Style::Uneasy => "33",
        };
        format!("\x1b[{colour}m{line}\x1b[0m\x1b[K")
    });
    format!("\x1b[H{}\x1b[J", painted.collect::<Vec<String>>().join("\r\n"))
}

/// The lines as they are.
pub(super) fn plain(lines: &[Line]) -> String {
    lines.iter().map(|(_, line)| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts() -> Facts {
        Facts {
            name: "node1".into(),
            release: "MOS 1".into(),
            addresses: vec!["10.0.0.2".into(), "2001:db8::5".into()],
        }
    }

    fn service(name: &str, state: &str) -> Value {
        json!({ "name": name, "state": state, "since_ms": 1000 })
    }

    fn lines(view: &View, size: (usize, usize)) -> Vec<String> {
        let lines: Vec<String> = draw(&facts(), view, size, 66_000)
            .into_iter()
            .map(|(_, line)| line)
            .collect();
        let wide = lines.iter().map(|line| line.chars().count()).max();
        assert!(lines.len() <= size.0 && wide <= Some(size.1), "{lines:#?}");
        lines
    }

    #[test]
    fn the_screen_names_what_is_stuck_and_what_runs() {
        let mut db = service("db", "failed");
        db["reason"] = json!("exit code 1, \x1b[2J out of memory, and so many more words that they do not fit");
        let mut web = service("web", "blocked");
        web["waits_for"] = json!(["db (failed)"]);
        let mut mail = service("mail", "restarting");
        (mail["next_attempt_in_ms"], mail["last_failure"]) = (json!(12_000), json!("exit code 2"));
        let view = View {
            services: vec![
                web,
                mail,
                service("a", "running"),
                service("b", "running"),
                service("c", "exited"),
                db,
            ],
            recent: vec!["[   1.000] ready\n".into()],
            help: "q quit".into(),
            ..View::default()
        };
        let lines = lines(&view, (24, 80));
        assert_eq!(
            lines.iter().filter(|line| !line.is_empty()).collect::<Vec<_>>(),
            [
                "node1  MOS 1                                               10.0.0.2  2001:db8::5",
                "6 services: 2 running, 1 done, 1 failed, 1 restarting, 1 blocked",
                "NAME  STATE        FOR  WHY",
                "db    failed       65s  exit code 1,  [2J out of memory, and so many more words…",
                "mail  restarting   65s  after exit code 2, next try in 12s",
                "web   blocked      65s  waits for db (failed)",
                "RUNNING",
                "a  b",
                "[   1.000] ready",
                "q quit",
            ]
        );
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (24, Some("q quit")));
    }

    #[test]
    fn it_fits_whatever_the_size() {
        let mut services: Vec<Value> = (0..30).map(|number| service(&format!("s{number}"), "failed")).collect();
        services.extend((0..300).map(|number| service(&format!("a-rather-long-name-{number}"), "running")));
        let mut view = View {
            services,
            help: "q quit".into(),
            ..View::default()
        };
        for size in [(24, 80), (50, 200), (10, 40), (3, 5), (1, 1), (usize::MAX, usize::MAX)] {
            lines(&view, size);
        }
        let few = lines(&view, (24, 80));
        assert!(few.contains(&"and 13 more (space)".to_owned()), "{few:#?}");
        view.passed = 17;
        let rest = lines(&view, (24, 80));
        assert!(rest.iter().any(|line| line.starts_with("s29 ")) && !rest.iter().any(|line| line.starts_with("s0 ")));
    }

    #[test]
    fn who_does_not_answer_is_told_of_once() {
        let view = View {
            away: true,
            services: vec![service("web", "running")],
            ..View::default()
        };
        assert!(lines(&view, (24, 80))[1].starts_with("my_init does not answer"));
    }
}
