//! `/etc/mos-build`: what a running node knows of how its image was made. TOML; `mosctl status` reads it.

use crate::node_files::quoted;

/// The version of MOS that makes images.
const MOS_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where it is in the image.
pub(crate) const PATH: &str = "etc/mos-build";

/// How an image was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildRecord {
    /// The project's name.
    pub project: String,
    /// The whole hash of the inputs, of which the build id is the beginning.
    pub inputs: String,
    /// The kernel's version.
    pub kernel: String,
    /// Name and version of each package that something was taken from.
    pub packages: Vec<(String, String)>,
}

impl BuildRecord {
    /// The file. `built` is in seconds since 1970.
    pub(crate) fn text(&self, environment: &str, build_id: &str, built: i64) -> String {
        let mut text =
            String::from("# Written by mos: what this image was made from. The lock of the project has the rest.\n");
        let pairs = [
            ("build_id", build_id),
            ("inputs", &self.inputs),
            ("project", &self.project),
            ("environment", environment),
            ("kernel", &self.kernel),
            ("mos", MOS_VERSION),
        ];
        for (key, value) in pairs {
            text.push_str(&format!("{key} = {}\n", quoted(value)));
        }
        text.push_str(&format!("built = {built}\n\n[packages]\n"));
        let mut packages = self.packages.clone();
        packages.sort();
        packages.dedup_by(|next, last| next.0 == last.0);
        for (name, version) in &packages {
            text.push_str(&format!("{} = {}\n", quoted(name), quoted(version)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_toml_with_every_package_once() {
        let record = BuildRecord {
            project: "lab \"1\"".to_owned(),
            inputs: "0".repeat(64),
            kernel: "6.12.1".to_owned(),
            packages: ["b", "a", "b"].map(|name| (name.to_owned(), "1:2+3".to_owned())).into(),
        };
        let text = record.text("dev", "000000000000", 1_700_000_000);
        let document = mos_toml::Document::parse("mos-build", text).unwrap();
        let problems = mos_toml::Problems::default();
        let root = document.root(&problems);
        assert_eq!(root.string("project").as_deref(), Some("lab \"1\""));
        assert_eq!(root.string("build_id").as_deref(), Some("000000000000"));
        assert_eq!(root.integer("built", 0..=i64::MAX), Some(1_700_000_000));
        let packages = root.table("packages").unwrap();
        assert_eq!(packages.string("a").as_deref(), Some("1:2+3"));
        assert!(packages.has("b") && problems.is_empty(), "{problems}");
    }
}
