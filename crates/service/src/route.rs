//! Where each file of a runtime flist goes in a generation.
//!
//! By suffix: `NAME.service.toml` to `services/`; `*.conf *.toml *.json *.yaml *.yml` to `etc/`; everything else to
//! `bin/`, executable. A [`ROUTES`] file inside the flist overrides this, for a file or for a directory with all that is
//! below it; the longest match wins. Files in directories have no suffix rule and need a route.

use std::collections::BTreeMap;
use std::fmt;

use mos_toml::{Document, Problem, Problems};

/// The name of the file with routes inside an flist.
pub const ROUTES: &str = "mos-routes.toml";
/// Largest file with routes, in bytes: room for thousands.
pub const MAX_ROUTES: u64 = 256 << 10;
/// The directories of a generation that files may be routed to.
pub const PLACES: [&str; 4] = ["bin", "services", "etc", "share"];
/// Suffixes of configuration files.
const CONFIGURATION: [&str; 5] = [".conf", ".toml", ".json", ".yaml", ".yml"];

/// The routes of one flist: path or directory inside the flist to path in the generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(BTreeMap<String, String>);

impl Routes {
    /// Reads a routes file; `file` is only used in messages.
    ///
    /// # Errors
    /// Every problem with its place, one per line.
    pub fn parse(file: &str, text: &str) -> Result<Self, String> {
        let document = Document::parse(file, text).map_err(|problem| problem.to_string())?;
        let problems = Problems::default();
        let root = document.root(&problems);
        let mut routes = BTreeMap::new();
        for (from, to) in root.table("routes").iter().flat_map(mos_toml::Table::strings) {
            if let Err(why) = check_place(&to.value) {
                problems.push(Problem::error(Some(to.position), why));
            }
            routes.insert(from.trim_end_matches('/').to_owned(), to.value);
        }
        root.finish();
        if problems.any_error() {
            return Err(problems.to_string());
        }
        Ok(Self(routes))
    }

    /// Adds a route; one for the same file that leads elsewhere stays, and is returned.
    ///
    /// # Errors
    /// Where the file goes already.
    pub fn insert(&mut self, from: &str, to: &str) -> Result<(), String> {
        let there = self.0.entry(from.to_owned()).or_insert_with(|| to.to_owned());
        match there == to {
            true => Ok(()),
            false => Err(there.clone()),
        }
    }

    /// All of them: path in the flist, path in the generation.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(from, to)| (from.as_str(), to.as_str()))
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path in the generation for a path in the flist (no slash at the start).
    ///
    /// # Errors
    /// A phrase that says why there is none.
    pub fn place(&self, path: &str) -> Result<String, String> {
        let place = match self.routed(path) {
            Some(place) => place,
            None if path.contains('/') => {
                return Err(format!("it is in a directory and {ROUTES} does not say where it goes"));
            }
            None => format!("{}/{path}", by_suffix(path)),
        };
        check_place(&place)?;
        Ok(place)
    }

    fn routed(&self, path: &str) -> Option<String> {
        let mut known = path;
        loop {
            if let Some(to) = self.0.get(known) {
                return Some(format!("{to}{}", &path[known.len()..]));
            }
            known = known.rsplit_once('/')?.0;
        }
    }
}

/// The text of a routes file.
impl fmt::Display for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[routes]")?;
        self.iter()
            .try_for_each(|(from, to)| writeln!(f, "{} = {}", quoted(from), quoted(to)))
    }
}

/// A basic string of TOML 1.0.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// True for paths in a generation that are programs.
pub fn is_executable(place: &str) -> bool {
    place.starts_with("bin/")
}

fn by_suffix(name: &str) -> &'static str {
    if name.ends_with(".service.toml") {
        "services"
    } else if CONFIGURATION.iter().any(|suffix| name.ends_with(suffix)) {
        "etc"
    } else {
        "bin"
    }
}

/// A place is `bin/…`, `services/…`, `etc/…` or `share/…`, without any way out.
fn check_place(place: &str) -> Result<(), String> {
    let mut parts = place.split('/');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let sound = |part: &&str| !part.is_empty() && !matches!(*part, "." | "..") && !part.contains('\0');
    if PLACES.contains(&first) && !rest.is_empty() && rest.iter().all(sound) {
        return Ok(());
    }
    let place = place.escape_debug();
    Err(format!(
        "`{place}` is not a place for a file; use a path below {}",
        PLACES.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn suffixes_decide_when_nothing_else_does() {
        let routes = Routes::default();
        let place = |name| routes.place(name).unwrap();
        assert_eq!(place("web.service.toml"), "services/web.service.toml");
        assert_eq!(place("web.toml"), "etc/web.toml");
        assert_eq!(place("a.conf"), "etc/a.conf");
        assert_eq!(place("a.json"), "etc/a.json");
        assert_eq!(place("a.yaml"), "etc/a.yaml");
        assert_eq!(place("a.yml"), "etc/a.yml");
        assert_eq!(place("web-server"), "bin/web-server");
        assert_eq!(place("toml"), "bin/toml");
    }

    #[test]
    fn the_longest_route_wins() {
        let text =
            "[routes]\n\"index.html\" = \"share/www/index.html\"\n\"www\" = \"share/www\"\n\"www/bin\" = \"bin/w\"\n";
        let routes = Routes::parse("r", text).unwrap();
        assert_eq!(routes.place("index.html").unwrap(), "share/www/index.html");
        assert_eq!(routes.place("www/a/b.css").unwrap(), "share/www/a/b.css");
        assert_eq!(routes.place("www/bin/x").unwrap(), "bin/w/x");
        assert_eq!(routes.place("wwwx").unwrap(), "bin/wwwx");
        assert!(routes.place("other/a").unwrap_err().contains("does not say where"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut routes = Routes::default();
        routes.insert("a \"quoted\" \\ name\u{7f}", "share/a").unwrap();
        routes.insert("b", "etc/b").unwrap();
        routes.insert("b", "etc/b").unwrap();
        assert_eq!(routes.insert("b", "bin/b"), Err("etc/b".to_owned()));
        assert_eq!(Routes::parse("r", &routes.to_string()).unwrap(), routes);
        assert_eq!(routes.iter().count(), 2);
    }

    #[test]
    fn routes_do_not_escape() {
        for target in [
            "/etc/passwd",
            "bin",
            "bin/",
            "bin/../x",
            "../bin/x",
            "flists/x",
            "bin//x",
            "",
            "release.json",
            "share/./x",
        ] {
            let error = Routes::parse("web.routes", &format!("[routes]\n\"a\" = \"{target}\"\n")).unwrap_err();
            assert!(error.starts_with("error: web.routes:2:7: "), "{error}");
        }
        let error = Routes::parse("r", "[route]\n").unwrap_err();
        assert!(error.contains("did you mean `routes`?"), "{error}");
    }

    proptest! {
        #[test]
        fn every_place_is_below_one_of_the_four(path in "[a./-]{0,12}", target in "(bin|etc|\\.\\.|)[a./]{0,8}") {
            let text = format!("[routes]\n\"a\" = \"{target}\"\n");
            if let Ok(place) = Routes::parse("r", &text).unwrap_or_default().place(&path) {
                let (first, rest) = place.split_once('/').unwrap();
                prop_assert!(PLACES.contains(&first));
                prop_assert!(rest.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
        }
    }
}
