//! Where the time of a boot went: as a list, and as a picture.

use serde_json::Value;

use super::render::text;

/// The picture's width for all of the time, in pixels.
const WIDTH: u64 = 1200;
/// The height of a service's line, in pixels.
const LINE: u64 = 18;

/// When a service was started and when it was ready, in milliseconds since the kernel started.
#[derive(Debug)]
struct Bar {
    name: String,
    spawned: u64,
    ready: u64,
}

fn bars(services: &Value) -> Vec<Bar> {
    let services = services.as_array().into_iter().flatten();
    let bars = services.filter_map(|service| {
        let (spawned, ready) = (service["spawned_ms"].as_u64()?, service["ready_ms"].as_u64()?);
        Some(Bar {
            name: text(&service["name"]),
            spawned,
            ready: ready.max(spawned),
        })
    });
    bars.collect()
}

/// Services by the time they took, the slowest first; before them those that were started and are not ready. Starts are
/// counted from the first one.
pub(super) fn text_of(services: &Value) -> String {
    let mut bars = bars(services);
    bars.sort_by_key(|bar| (std::cmp::Reverse(bar.ready - bar.spawned), bar.spawned));
    let all = || services.as_array().into_iter().flatten();
    let first = all()
        .filter_map(|service| service["spawned_ms"].as_u64())
        .min()
        .unwrap_or(0);
    let line = |took: String, spawned: u64, name: &str| format!("{took:>10} {:>7} ms  {name}\n", spawned - first);
    let late = all()
        .filter(|service| service["ready_ms"].is_null())
        .filter_map(|service| {
            let name = format!("{} ({})", text(&service["name"]), text(&service["state"]));
            Some(line("not ready".to_owned(), service["spawned_ms"].as_u64()?, &name))
        });
    let bars = bars
        .iter()
        .map(|bar| line(format!("{} ms", bar.ready - bar.spawned), bar.spawned, &bar.name));
    let head = format!("{:>10} {:>10}  NAME\n", "TOOK", "STARTED");
    std::iter::once(head).chain(late).chain(bars).collect()
}

/// A bar for each service, in the order in which they were started (SVG 1.1).
pub(super) fn svg(services: &Value) -> String {
    let mut bars = bars(services);
    bars.sort_by(|a, b| (a.spawned, &a.name).cmp(&(b.spawned, &b.name)));
    let start = bars.first().map_or(0, |bar| bar.spawned);
    let end = bars.iter().map(|bar| bar.ready).max().unwrap_or(start);
    let total = (end - start).max(1);
    let place = |time: u64| (time - start) * WIDTH / total;
    let (width, height) = (WIDTH + 320, (bars.len() as u64 + 2) * LINE);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    picture.push_str(&format!(
        "<text x=\"4\" y=\"14\">{start} ms to {end} ms since the kernel started</text>\n"
    ));
    for (bar, y) in bars.iter().zip((2..).map(|line| line * LINE)) {
        let (x, long) = (place(bar.spawned), (place(bar.ready) - place(bar.spawned)).max(1));
        let (top, label) = (y - LINE + 3, x + long + 4);
        picture.push_str(&format!(
            "<rect x=\"{x}\" y=\"{top}\" width=\"{long}\" height=\"{}\" fill=\"steelblue\"/><text x=\"{label}\" y=\"{}\">{} \
({} ms)</text>\n",
            LINE - 4,
            y - 2,
            escaped(&bar.name),
            bar.ready - bar.spawned
        ));
    }
    picture.push_str("</svg>\n");
    picture
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_slowest_is_named_first_and_drawn_where_it_was() {
        let services = json!([
            { "name": "a<b", "spawned_ms": 100, "ready_ms": 110 },
            { "name": "slow", "spawned_ms": 110, "ready_ms": 200 },
            { "name": "never", "state": "starting", "spawned_ms": 110 },
        ]);
        let list = text_of(&services);
        assert_eq!(
            list,
            "      TOOK    STARTED  NAME\n not ready      10 ms  never (starting)\n     90 ms      10 ms  slow\n     10 ms       0 ms  a<b\n"
        );
        let picture = svg(&services);
        assert!(picture.contains("<rect x=\"120\" y=\"39\" width=\"1080\""), "{picture}");
        assert!(
            picture.contains("a&lt;b (10 ms)") && picture.ends_with("</svg>\n"),
            "{picture}"
        );
        assert!(svg(&json!([])).contains("0 ms to 0 ms"));
    }
}
