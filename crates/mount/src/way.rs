//! Which way a mount is served: a pure decision over what was found.

use std::fmt;

use crate::error::MountError;
use crate::options::How;
use crate::refusal::explain;
use crate::system::Refusal;

/// How a mount is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the kernel alone.
    Kernel,
    /// By a daemon; the kernel reads files whose content is local by itself.
    Passthrough,
    /// By a daemon.
    Fuse,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel (EROFS and overlay)",
            Self::Passthrough => "FUSE with passthrough",
            Self::Fuse => "FUSE",
        })
    }
}

/// What was found about the machine, the image and the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) root: bool,
    pub(crate) erofs: bool,
    pub(crate) cache: bool,
    /// The tree has a character device 0:0, which overlayfs takes for a name that was removed.
    pub(crate) whiteout: bool,
    /// The paths of files that are read are asked for, and the kernel tells nobody.
    pub(crate) traced: bool,
    /// Files whose content is not local.
    pub(crate) missing: usize,
}

impl Facts {
    /// What keeps the kernel from serving the mount alone.
    fn against_the_kernel(&self) -> Option<String> {
        if !self.root {
            return Some("only root may mount without FUSE".to_owned());
        }
        if !self.erofs {
            return Some("the image is not an flist of version 2".to_owned());
        }
        if !self.cache {
            return Some("there is no cache directory for whole files".to_owned());
        }
        if self.whiteout {
            return Some("the image has a character device 0:0, which overlayfs hides".to_owned());
        }
        if self.traced {
            return Some("only a daemon sees which files are read, as a trace needs it".to_owned());
        }
        match self.missing {
            0 => None,
            1 => Some("the content of 1 file is not local".to_owned()),
            many => Some(format!("the content of {many} files is not local")),
        }
    }
}

/// True for the kernel's way, and why.
pub(crate) fn choose(how: How, facts: Facts) -> Result<(bool, String), MountError> {
    match (how, facts.against_the_kernel()) {
        (How::Fuse, _) => Ok((false, "FUSE was asked for".to_owned())),
        (How::Kernel, Some(why)) => {
            let hint = if facts.missing > 0 {
                "; fetch it first (prefetch all)"
            } else {
                ""
            };
            Err(MountError::Impossible {
                way: "kernel",
                why: why + hint,
            })
        }
        (How::Kernel, None) => Ok((true, "it was asked for".to_owned())),
        (How::Auto, None) => Ok((true, "all content is local".to_owned())),
        (How::Auto, Some(why)) => Ok((false, why)),
    }
}

/// Why a daemon serves what the kernel refused to; an error when nothing else than the kernel was asked for.
pub(crate) fn instead(how: How, refusal: &Refusal, release: &str) -> Result<String, MountError> {
    let why = explain(refusal, release);
    match how {
        How::Kernel => Err(MountError::Impossible { way: "kernel", why }),
        How::Auto | How::Fuse => Ok(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Facts = Facts {
        root: true,
        erofs: true,
        cache: true,
        whiteout: false,
        traced: false,
        missing: 0,
    };

    #[test]
    fn the_kernel_is_taken_when_nothing_is_in_its_way() {
        assert!(choose(How::Auto, ALL).unwrap().0);
        assert!(choose(How::Kernel, ALL).unwrap().0);
        assert!(!choose(How::Fuse, ALL).unwrap().0);
    }

    #[test]
    fn what_is_in_its_way_is_named() {
        let cases = [
            (Facts { root: false, ..ALL }, "only root"),
            (Facts { erofs: false, ..ALL }, "version 2"),
            (Facts { cache: false, ..ALL }, "no cache"),
            (Facts { whiteout: true, ..ALL }, "0:0"),
            (Facts { traced: true, ..ALL }, "a trace"),
            (Facts { missing: 1, ..ALL }, "of 1 file is"),
            (Facts { missing: 7, ..ALL }, "of 7 files"),
        ];
        for (facts, words) in cases {
            let (kernel, why) = choose(How::Auto, facts).unwrap();
            assert!(!kernel && why.contains(words), "{why}");
            let error = choose(How::Kernel, facts).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
