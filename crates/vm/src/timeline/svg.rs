//! The timeline as a drawing: one row per phase, its bar where it lies in time.

use super::Timeline;
use std::fmt::Write as _;

/// Sizes in pixels.
const WIDTH: u64 = 720;
const MARGIN: u64 = 16;
const LABELS: u64 = 76;
/// Room to the right of the bars for the time of the last one.
const TIMES: u64 = 76;
const TITLE: u64 = 44;
const ROW: u64 = 28;
const BAR: u64 = 18;
const AXIS: u64 = 30;
/// A phase too short to see still gets a mark.
const SHORTEST_BAR: u64 = 2;
/// Marks on the axis are at most so many.
const MOST_TICKS: u64 = 8;

/// Text and lines that show on white and on black; bars in one hue of medium lightness, which does on both.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#24292f}
.title{font-size:15px;font-weight:600}
.small{font-size:11px;fill:#57606a}
.grid{stroke:#d0d7de}
.bar{fill:#2f81f7}
.first{fill:#8c959f}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.grid{stroke:#3d444d}}";

pub fn draw(timeline: &Timeline, title: &str) -> String {
    let rows = timeline.phases().len() as u64;
    let bottom = TITLE + rows * ROW;
    let height = bottom + AXIS;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"26\">{title}</text>\n",
        title = escape(title)
    );
    axis(&mut svg, timeline, bottom);
    for (row, phase) in timeline.phases().iter().enumerate() {
        let top = TITLE + row as u64 * ROW;
        let (x, end) = (position(phase.begin, timeline), position(phase.end, timeline));
        let width = (end - x).max(SHORTEST_BAR);
        let class = if row == 0 { "bar first" } else { "bar" };
        let base = top + BAR - 4;
        // Writing to a String does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{base}\">{}</text>\
             <rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{BAR}\" rx=\"3\"/>\
             <text x=\"{}\" y=\"{base}\">{} ms</text>",
            phase.name,
            x + width + 6,
            phase.duration()
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn axis(svg: &mut String, timeline: &Timeline, bottom: u64) {
    let step = tick_step(timeline.total());
    for tick in (0..=timeline.total() / step).map(|number| number * step) {
        let x = position(tick, timeline);
        let seconds = tick as f64 / 1000.0;
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x}\" y1=\"{TITLE}\" x2=\"{x}\" y2=\"{bottom}\"/>\
             <text class=\"small\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{seconds} s</text>",
            bottom + 16
        );
    }
}

/// Where a moment (milliseconds) lies on the drawing.
fn position(moment: u64, timeline: &Timeline) -> u64 {
    let left = MARGIN + LABELS;
    left + moment * (WIDTH - left - TIMES) / timeline.total().max(1)
}

/// The smallest of 100, 200, 500, 1000 ... ms that gives few marks.
fn tick_step(total: u64) -> u64 {
    let decades = (0..).map(|exponent| 100 * 10_u64.pow(exponent));
    let mut steps = decades.flat_map(|decade| [decade, decade * 2, decade * 5]);
    steps.find(|step| total / step <= MOST_TICKS).unwrap_or(total)
}

fn escape(text: &str) -> String {
    let allowed = text.chars().filter(|c| !c.is_control());
    let escaped = allowed.map(|c| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        c => c.to_string(),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::timeline;
    use super::*;

    #[test]
    fn every_phase_has_a_bar_inside_and_a_time() {
        let svg = timeline().svg("Boot <dev> & co");
        assert!(svg.contains("<title>Boot &lt;dev&gt; &amp; co</title>"));
        assert_eq!(svg.matches("<rect").count(), 6);
        for label in ["3500 ms", "1912 ms", "78 ms", ">network<", ">6 s<"] {
            assert!(svg.contains(label), "{label}");
        }
        assert!(position(timeline().total(), &timeline()) <= WIDTH - TIMES);
        assert!(
            !svg.contains("href") && !svg.contains("url("),
            "nothing is loaded from elsewhere"
        );
    }

    #[test]
    fn marks_are_round_and_few() {
        for (total, step) in [(0, 100), (700, 100), (2_850, 500), (6_350, 1_000), (61_000, 10_000)] {
            assert_eq!(tick_step(total), step);
        }
    }
}
