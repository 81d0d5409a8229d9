//! Where the time of a boot goes: phases from the power button to `ready`.
//!
//! The guest prints one line (`my_init: [   2.851] timeline start=1912 services=1990 ...`, milliseconds since its kernel started).
//! Its zero on the host's clock follows from the first line of my_init: host time less the seconds in its brackets.
//! What lies before that is the firmware's (with direct boot: QEMU's own start).

mod svg;

use crate::console::Line;
use std::fmt;

/// What begins every line of the guest's PID 1.
const PREFIX: &str = "my_init: [";
/// What begins the line with the times.
const TIMELINE: &str = "] timeline ";
/// The guest's names for moments, in order, with the names of the phases that end there.
const PHASES: [(&str, &str); 5] = [
    ("start", "kernel"),
    ("services", "my_init"),
    ("network", "network"),
    ("fetch", "fetch"),
    ("ready", "ready"),
];
/// No boot takes a month; a larger number is a garbled line.
const LONGEST: u64 = 31 * 86_400_000;
/// Characters of the longest bar in the text table.
const BAR: u64 = 40;

/// One phase of a boot; milliseconds since QEMU was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// When it began.
    pub begin: u64,
    /// When it ended.
    pub end: u64,
}

impl Phase {
    /// How long it took, in milliseconds.
    pub fn duration(&self) -> u64 {
        self.end - self.begin
    }
}

/// The phases of a boot, one after the other. `Display` gives a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    phases: Vec<Phase>,
}

impl Timeline {
    /// The timeline of a console; `None` when the lines it needs are not there (yet) or make no sense.
    ///
    /// Moments that the guest leaves out (a node without a channel fetches nothing) have no phase; one that lies before
    /// its predecessor counts as reached together with it.
    pub fn parse(lines: &[Line]) -> Option<Self> {
        let zero = lines.iter().find_map(kernel_start)?;
        let words = lines.iter().find_map(|line| line.text.split_once(TIMELINE))?.1;
        let mut phases = vec![Phase {
            name: "firmware",
            begin: 0,
            end: zero,
        }];
        let mut begin = zero;
        for (moment, name) in PHASES {
            if let Some(milliseconds) = value(words, moment)? {
                let end = begin.max(zero + milliseconds);
                phases.push(Phase { name, begin, end });
                begin = end;
            }
        }
        (phases.len() > 1).then_some(Self { phases })
    }

    /// The phases in order.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// From QEMU's start to the last moment, in milliseconds.
    pub fn total(&self) -> u64 {
        self.phases.last().map_or(0, |phase| phase.end)
    }

    /// A drawing of the phases as bars, complete in itself, for light and dark pages.
    pub fn svg(&self, title: &str) -> String {
        svg::draw(self, title)
    }
}

/// The host time, in milliseconds, at which the kernel whose PID 1 wrote this line started.
fn kernel_start(line: &Line) -> Option<u64> {
    let (_, rest) = line.text.split_once(PREFIX)?;
    let seconds: f64 = rest.split_once(']')?.0.trim().parse().ok()?;
    let guest = (seconds * 1000.0).round();
    let host = u64::try_from(line.at.as_millis()).ok()?;
    // Translated guests' clocks run unevenly; a kernel does not start before QEMU.
    (0.0..LONGEST as f64)
        .contains(&guest)
        .then(|| host.saturating_sub(guest as u64))
}

/// The value of `name=` among the words: `None` when it is no time, `Some(None)` when it is missing.
fn value(words: &str, name: &str) -> Option<Option<u64>> {
    let mut values = words.split_whitespace().filter_map(|word| word.split_once('='));
    match values.find(|(key, _)| *key == name) {
        Some((_, value)) => value.parse().ok().filter(|&number| number <= LONGEST).map(Some),
        None => Some(None),
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total().max(1);
        for phase in &self.phases {
            let offset = (phase.begin * BAR / total) as usize;
            let length = ((phase.end * BAR).div_ceil(total) as usize)
                .saturating_sub(offset)
                .max(1);
            let bar = format!("{}{}", " ".repeat(offset), "#".repeat(length));
            writeln!(f, "{:<9}{:>7} ms  {bar}", phase.name, phase.duration())?;
        }
        write!(f, "{:<9}{:>7} ms", "total", self.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn line(milliseconds: u64, text: &str) -> Line {
        Line {
            at: Duration::from_millis(milliseconds),
            text: text.to_owned(),
        }
    }

    pub(super) fn timeline() -> Timeline {
        Timeline::parse(&[
            line(100, "BdsDxe: starting Boot0001"),
            line(5412, "my_init: [   1.912] starting"),
            line(
                6350,
                "my_init: [   2.851] timeline start=1912 services=1990 network=2310 fetch=2730 ready=2850",
            ),
        ])
        .unwrap()
    }

    #[test]
    fn phases_follow_one_another_from_the_start_of_qemu() {
        let timeline = timeline();
        let shown: Vec<(&str, u64, u64)> = timeline
            .phases()
            .iter()
            .map(|p| (p.name, p.begin, p.duration()))
            .collect();
        let expected = [
            ("firmware", 0, 3500),
            ("kernel", 3500, 1912),
            ("my_init", 5412, 78),
            ("network", 5490, 320),
            ("fetch", 5810, 420),
            ("ready", 6230, 120),
        ];
        assert_eq!(shown, expected);
        assert_eq!(timeline.total(), 6350);
    }

    #[test]
    fn table() {
        assert_eq!(
            timeline().to_string(),
            "\
firmware    3500 ms  #######################
kernel      1912 ms                        #############
my_init       78 ms                                    #
network      320 ms                                    ###
fetch        420 ms                                      ####
ready        120 ms                                         #
total       6350 ms"
        );
    }

    #[test]
    fn what_is_missing_or_garbled() {
        let first = line(3000, "my_init: [   1.000] hello");
        let parse = |text: &str| Timeline::parse(&[first.clone(), line(4000, text)]);
        let partly = parse("my_init: [   2.851] timeline start=1000 ready=1500").unwrap();
        let names: Vec<&str> = partly.phases().iter().map(|phase| phase.name).collect();
        assert_eq!(names, ["firmware", "kernel", "ready"]);
        let backwards = parse("my_init: [   2.851] timeline start=1000 services=900 ready=1500").unwrap();
        assert_eq!(backwards.phases()[2].duration(), 0);
        assert_eq!(parse("my_init: [   2.851] timeline start=x"), None);
        assert_eq!(parse("my_init: [   2.851] timeline start=99999999999999999"), None);
        assert_eq!(parse("my_init: [   2.851] timeline"), None);
        assert_eq!(Timeline::parse(&[line(1, "] timeline start=1")]), None);
    }

    proptest! {
        #[test]
        fn any_console_is_survived(text in "(my_init: \\[|\\] timeline |start=|ready=|[0-9.\\] ]){0,10}", at: u32) {
            let lines = [line(5, "my_init: [ 0.001] x"), line(at.into(), &text)];
            if let Some(timeline) = Timeline::parse(&lines) {
                prop_assert!(timeline.phases().windows(2).all(|pair| pair[0].end == pair[1].begin));
                prop_assert!(timeline.svg(&text).ends_with("</svg>\n"));
            }
        }
    }
}
