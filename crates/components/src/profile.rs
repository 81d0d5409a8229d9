//! What a cargo profile says of how code is made, as far as the standard library has to know.

use mos_toml::{Document, Problems};

/// Longer chains of `inherits` are loops, which cargo refuses.
const MAXIMUM_CHAIN: usize = 16;

/// How a standard library is compiled, so that it suits a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flavour {
    /// A panic ends the process: nothing is made for unwinding.
    pub(crate) aborts: bool,
    /// Small rather than fast.
    pub(crate) small: bool,
}

impl Flavour {
    /// What a profile asks for in the manifest of its workspace. What cannot be read says nothing: cargo will complain.
    pub(crate) fn of(manifest: &str, profile: &str) -> Self {
        let setting = |key| setting(manifest, profile, key);
        Self {
            aborts: setting("panic").as_deref() == Some("abort"),
            small: matches!(setting("opt-level").as_deref(), Some("s" | "z")),
        }
    }
}

/// A setting of a profile, its own or the one that it inherits; words only.
fn setting(manifest: &str, profile: &str, key: &'static str) -> Option<String> {
    let document = Document::parse("Cargo.toml", manifest).ok()?;
    let problems = Problems::default();
    let profiles = document.root(&problems).table("profile")?.tables();
    let mut name = profile.to_owned();
    for _ in 0..MAXIMUM_CHAIN {
        let table = profiles.iter().find(|(own, _)| *own == name);
        let found = table.and_then(|(_, table)| table.value(key));
        if let Some(node) = found {
            return match &node.value {
                mos_toml::Value::String(word) => Some(word.clone()),
                _ => None,
            };
        }
        let inherits = table.and_then(|(_, table)| table.string("inherits"));
        name = inherits.or_else(|| parent(&name))?;
    }
    None
}

/// What cargo's own profiles inherit (Cargo's book, "Profiles").
fn parent(profile: &str) -> Option<String> {
    match profile {
        "test" => Some("dev".to_owned()),
        "bench" => Some("release".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_what_it_inherits() {
        let manifest = "[profile.release]\nopt-level = 3\npanic = \"abort\"\n[profile.node]\ninherits = \"release\"\n\
                        opt-level = \"s\"\n[profile.loop]\ninherits = \"loop\"\n";
        let of = |profile| {
            let flavour = Flavour::of(manifest, profile);
            (flavour.aborts, flavour.small)
        };
        assert_eq!(of("node"), (true, true));
        assert_eq!(of("release"), (true, false));
        assert_eq!(of("bench"), (true, false));
        for other in ["dev", "test", "loop", "unknown"] {
            assert_eq!(of(other), (false, false), "{other}");
        }
        assert_eq!(Flavour::of("[profile", "release"), Flavour::default());
    }
}
