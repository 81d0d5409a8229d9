//! Which of several images is meant.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use mos_architecture::Architecture;
use serde::Deserialize;

use crate::files::Files;
use crate::layout::{ImageLayer, LayoutError};

/// What an image runs on: `linux/amd64`, `linux/arm/v7`.
/// Docker's `variant` counts only when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Platform {
    pub(crate) os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// Which of the images of a folder or an archive is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// What it runs on. Without: the only image, or the one for Linux on this processor.
    pub platform: Option<Platform>,
    /// What it is called, such as `busybox:latest`, or how that ends, such as `latest`.
    pub name: Option<String>,
}

/// An image that may be meant.
pub(crate) struct Candidate {
    /// Its manifest, or what stands for one: what two images may not share.
    pub(crate) path: PathBuf,
    pub(crate) names: Vec<String>,
    pub(crate) platform: Platform,
    /// What is wrong with an image that nobody wants does not matter.
    pub(crate) layers: Result<Vec<ImageLayer>, LayoutError>,
}

/// The image that is meant.
pub(crate) fn choose(files: &Files, images: Vec<Candidate>, choice: &Choice) -> Result<Candidate, LayoutError> {
    let found: BTreeSet<String> = images.iter().flat_map(Candidate::described).collect();
    let named = |image: &Candidate| match &choice.name {
        Some(wanted) => image.names.iter().any(|name| answers_to(name, wanted)),
        None => true,
    };
    let mut fit: Vec<Candidate> = images.into_iter().filter(named).collect();
    // One image may have several names.
    fit.sort_by(|a, b| a.path.cmp(&b.path));
    fit.dedup_by(|a, b| a.path == b.path);
    let mut wanted = choice.clone();
    if choice.platform.is_some() || fit.len() != 1 {
        let platform = wanted
            .platform
            .get_or_insert_with(|| Platform::linux(Architecture::HOST));
        fit.retain(|image| platform.accepts(&image.platform));
    }
    match fit.pop() {
        Some(image) if fit.is_empty() => Ok(image),
        last => Err(LayoutError::Choice {
            path: files.path().to_owned(),
            count: fit.len() + usize::from(last.is_some()),
            wanted: wanted.to_string(),
            found: found.into_iter().collect::<Vec<_>>().join(", "),
        }),
    }
}

/// True for the name itself and for its last parts: `docker.io/library/busybox:latest` is also called `busybox:latest`
/// and `latest`.
fn answers_to(name: &str, wanted: &str) -> bool {
    let before = name.strip_suffix(wanted);
    before.is_some_and(|before| before.is_empty() || before.ends_with(['/', ':']))
}

impl Candidate {
    fn described(&self) -> Vec<String> {
        let text = |name: Option<&str>| Description(Some(&self.platform), name).to_string();
        match &self.names[..] {
            [] => vec![text(None)],
            names => names.iter().map(|name| text(Some(name))).collect(),
        }
    }
}

struct Description<'d>(Option<&'d Platform>, Option<&'d str>);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(platform), Some(name)) => write!(f, "{platform} `{}`", name.escape_debug()),
            (Some(platform), None) => write!(f, "{platform}"),
            (None, name) => write!(f, "`{}`", name.unwrap_or_default().escape_debug()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Description(self.platform.as_ref(), self.name.as_deref()).fmt(f)
    }
}

impl Platform {
    /// Linux on a processor.
    pub fn linux(architecture: Architecture) -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture.debian().to_owned(),
            variant: None,
        }
    }

    pub(crate) fn accepts(&self, other: &Self) -> bool {
        let variant = self.variant.is_none() || self.variant == other.variant;
        self.os == other.os && self.architecture == other.architecture && variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os.escape_debug(), self.architecture.escape_debug())?;
        match &self.variant {
            Some(variant) => write!(f, "/{}", variant.escape_debug()),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err("a platform is written linux/amd64 or linux/arm/v7".to_owned()),
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_parts_of_a_name_are_a_name() {
        let name = "docker.io/library/busybox:latest";
        for wanted in [name, "library/busybox:latest", "busybox:latest", "latest"] {
            assert!(answers_to(name, wanted), "{wanted}");
        }
        for wanted in ["test", "box:latest", "docker.io", "busybox"] {
            assert!(!answers_to(name, wanted), "{wanted}");
        }
    }
}
