//! What a machine tells on its console: the lines of `service.c`.

/// The last line.
pub(super) const END: &str = "bench: end";
/// In its place, when not all services have started.
const LATE: &str = "bench: late";

/// What one machine told.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Told {
    /// Milliseconds since the machine's clock began: when the supervisor was executed, and when all services had started.
    pub(super) begin: f64,
    pub(super) end: f64,
    /// Of the supervisor and its helpers.
    pub(super) processes: usize,
    /// Megabytes: RSS, PSS.
    pub(super) resident: f64,
    pub(super) own: f64,
    /// Milliseconds from kill -9 to the next stamp.
    pub(super) restart: Option<f64>,
}

impl Told {
    pub(super) fn boot(&self) -> f64 {
        self.end - self.begin
    }

    /// Lines of a console, others among them.
    pub(super) fn read(lines: &[String]) -> Result<Self, String> {
        let mut told = Self::default();
        for line in lines.iter().filter_map(|line| line.strip_prefix("bench: ")) {
            let mut words = line.split_whitespace();
            let what = words.next();
            let mut number = || words.next().and_then(|word| word.parse::<f64>().ok());
            match what {
                Some("boot") => {
                    let bad = || format!("`{line}` has no two times");
                    told.begin = number().ok_or_else(bad)? / 1e6;
                    told.end = number().ok_or_else(bad)? / 1e6;
                }
                Some("memory") => {
                    told.processes += 1;
                    told.resident += number().unwrap_or_default() * 1024.0 / 1e6;
                    told.own += number().unwrap_or_default() * 1024.0 / 1e6;
                }
                Some("restart") => told.restart = number().map(|time| time / 1e6),
                _ => {}
            }
        }
        if lines.iter().any(|line| line.contains(LATE)) || told.end == 0.0 {
            return Err("not all services started".to_owned());
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Told, String> {
        Told::read(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_a_machine_tells_is_added_up() {
        let told = read(
            "Run /init\nbench: boot 1000000 3500000\nbench: memory 1000 500 /usr/bin/a\nbench: memory 2000 1500 /usr/bin/b\n\
             bench: restart 4000000\nbench: end\n",
        )
        .unwrap();
        let expected = Told {
            begin: 1.0,
            end: 3.5,
            processes: 2,
            resident: 3.072,
            own: 2.048,
            restart: Some(4.0),
        };
        assert_eq!((told.boot(), told), (2.5, expected));
    }

    #[test]
    fn a_machine_that_is_late_told_nothing() {
        assert!(read("bench: late\n").is_err());
        assert!(read("bench: end\n").is_err());
        assert!(read("bench: boot 1\nbench: end\n").is_err());
    }
}
