//! A package: three compressed archives that follow each other (apk-v2(5)).
//!
//! ```text
//! signature   .SIGN.RSA.NAME, .SIGN.RSA256.NAME: of the bytes of the control part
//! control     .PKGINFO and scripts; its digest is the package's checksum
//! data        the files; .PKGINFO holds the SHA-256 of these bytes
//! ```
//!
//! Nothing of a part is decompressed before its bytes are known to be those that were signed, but the control part,
//! whose length only the decoder tells: it is bounded.

use std::collections::BTreeMap;
use std::fmt;

use crate::archive::{self, Entry, Limits};
use crate::checksum::sha256_hex;
use crate::gzip;
use crate::keys::{Keys, signatures};
use crate::{Checksum, Package};

/// Largest control part in bytes, decompressed: `.PKGINFO` and scripts.
const CONTROL_MAX: u64 = 16 << 20;
/// Most bytes of files in a package.
const DATA_MAX: u64 = 4 << 30;
/// A package says how many bytes it takes on the disk of its builder. The disk may have compressed them, or keep holes:
/// so many times more is believed,
const DATA_RATIO: u64 = 8;
/// and so many bytes in any case.
const DATA_FREE: u64 = 64 << 20;

/// When a script of a package is meant to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are those of apk-package(5)")]
pub enum ScriptKind {
    PreInstall,
    PostInstall,
    PreDeinstall,
    PostDeinstall,
    PreUpgrade,
    PostUpgrade,
    Trigger,
}

impl ScriptKind {
    /// All, in the order in which apk keeps them.
    pub const ALL: [Self; 7] = [
        Self::PreInstall,
        Self::PostInstall,
        Self::PreDeinstall,
        Self::PostDeinstall,
        Self::PreUpgrade,
        Self::PostUpgrade,
        Self::Trigger,
    ];

    /// `post-install`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::PreDeinstall => "pre-deinstall",
            Self::PostDeinstall => "post-deinstall",
            Self::PreUpgrade => "pre-upgrade",
            Self::PostUpgrade => "post-upgrade",
            Self::Trigger => "trigger",
        }
    }

    /// The kind with this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ScriptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A package whose signature and digests were checked; its files are still compressed.
#[derive(Clone)]
pub struct Apk {
    /// What `.PKGINFO` says. The architecture is that of the build, where an index may have its own.
    pub package: Package,
    /// Paths, with `*`, whose change is to run the trigger.
    pub triggers: Vec<String>,
    /// Scripts, none of which is ever run.
    pub scripts: BTreeMap<ScriptKind, Vec<u8>>,
    /// SHA-256 of the control part, for indexes that have that.
    control_sha256: Checksum,
    data: Vec<u8>,
}

impl fmt::Debug for Apk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apk")
            .field("package", &self.package.full_name())
            .field("scripts", &self.scripts.keys())
            .finish_non_exhaustive()
    }
}

/// What stands in `.PKGINFO` besides what an index has.
#[derive(Debug, Default)]
struct Info {
    package: Package,
    triggers: Vec<String>,
    data_hash: Option<String>,
}

impl Apk {
    /// Checks signature and digests of a package.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(bytes: &[u8], keys: &Keys) -> Result<Self, String> {
        let part = |name: &'static str| move |problem: String| format!("{name}: {problem}");
        let signature = gzip::first_member(bytes, gzip::SIGNATURE_MAX).map_err(part("signature"))?;
        let rest = &bytes[signature.length..];
        let control = gzip::first_member(rest, CONTROL_MAX).map_err(part("control part"))?;
        let (signed, data) = rest.split_at(control.length);
        let found = signatures(&signature.plain).map_err(part("signature"))?;
        keys.verify(&found, signed)?;
        let (mut info, scripts) = read_control(&control.plain).map_err(part("control part"))?;
        let wanted = info.data_hash.ok_or("control part: .PKGINFO has no `datahash`")?;
        let has = sha256_hex(data);
        if has != wanted {
            return Err(format!("its files have SHA-256 {has}, .PKGINFO says {wanted}"));
        }
        info.package.checksum = Checksum::sha1(signed);
        info.package.size = bytes.len() as u64;
        info.package.check()?;
        Ok(Self {
            package: info.package,
            triggers: info.triggers,
            scripts,
            control_sha256: Checksum::sha256(signed),
            data: data.to_vec(),
        })
    }

    /// A package of plain archives that nobody vouches for.
    ///
    /// # Errors
    /// What is wrong with them.
    #[cfg(feature = "fuzzing")]
    pub fn of_plain(control: &[u8], data: &[u8]) -> Result<Self, String> {
        use std::io::Write as _;

        let (info, scripts) = read_control(control)?;
        info.package.check()?;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        let packed = encoder.write_all(data).and_then(|()| encoder.finish());
        Ok(Self {
            package: info.package,
            triggers: info.triggers,
            scripts,
            control_sha256: Checksum::sha256(control),
            data: packed.map_err(|error| error.to_string())?,
        })
    }

    /// Makes sure that this is the package that an index or a lock means, and takes over what only they say.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn expect(
        &mut self,
        name: &str,
        version: &str,
        architecture: &str,
        checksum: &Checksum,
    ) -> Result<(), String> {
        let package = &mut self.package;
        if (package.name.as_str(), package.version.as_str()) != (name, version) {
            return Err(format!("the file holds {} instead", package.full_name()));
        }
        if *checksum != package.checksum && *checksum != self.control_sha256 {
            return Err(format!(
                "the file has checksum {}, {checksum} was expected",
                package.checksum
            ));
        }
        package.checksum = *checksum;
        package.architecture = architecture.to_owned();
        Ok(())
    }

    /// Hands over file by file.
    pub(crate) fn each_file(&self, mut take: impl FnMut(Entry) -> Result<(), String>) -> Result<(), String> {
        let believed = self
            .package
            .installed_size
            .saturating_mul(DATA_RATIO)
            .saturating_add(DATA_FREE);
        let limits = Limits::content(believed.min(DATA_MAX));
        let plain = flate2::bufread::MultiGzDecoder::new(&self.data[..]);
        archive::each(plain, limits, |entry| {
            check_content(&entry)?;
            take(entry)
        })
    }
}

/// The checksum of an entry, where there is one, is that of its content.
fn check_content(entry: &Entry) -> Result<(), String> {
    let bytes = match entry.kind {
        tar::EntryType::Symlink => &entry.link,
        tar::EntryType::Regular => &entry.content,
        _ => return Ok(()),
    };
    match entry.checksum {
        Some(checksum) if !checksum.matches(bytes) => {
            let path = String::from_utf8_lossy(&entry.path);
            Err(format!(
                "{}: the content has another checksum than the archive says",
                path.escape_debug()
            ))
        }
        _ => Ok(()),
    }
}

type Control = (Info, BTreeMap<ScriptKind, Vec<u8>>);

fn read_control(plain: &[u8]) -> Result<Control, String> {
    let (mut info, mut scripts) = (None, BTreeMap::new());
    archive::each(plain, Limits::content(CONTROL_MAX), |entry| {
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        match name.strip_prefix('.') {
            Some("PKGINFO") => info = Some(read_info(&entry.content)?),
            Some(name) => {
                if let Some(kind) = ScriptKind::of_name(name) {
                    scripts.insert(kind, entry.content);
                }
            }
            None => {}
        }
        Ok(())
    })?;
    Ok((info.ok_or("it has no .PKGINFO")?, scripts))
}

/// `.PKGINFO`: lines `key = value`, some of them several times.
fn read_info(bytes: &[u8]) -> Result<Info, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| ".PKGINFO is not UTF-8".to_owned())?;
    let mut info = Info::default();
    for (number, line) in text.lines().enumerate() {
        let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let field = match key {
            "pkgname" => 'P',
            "pkgver" => 'V',
            "pkgdesc" => 'T',
            "url" => 'U',
            "size" => 'I',
            "license" => 'L',
            "arch" => 'A',
            "depend" => 'D',
            "install_if" => 'i',
            "provides" => 'p',
            "origin" => 'o',
            "maintainer" => 'm',
            "builddate" => 't',
            "commit" => 'c',
            "provider_priority" => 'k',
            "replaces" => 'r',
            "replaces_priority" => 'q',
            "triggers" => {
                info.triggers.extend(value.split_ascii_whitespace().map(str::to_owned));
                continue;
            }
            "datahash" => {
                info.data_hash = Some(value.to_owned());
                continue;
            }
            _ => continue,
        };
        let taken = info.package.take(field, value);
        taken.map_err(|problem| format!(".PKGINFO:{}: {problem}", number + 1))?;
    }
    Ok(info)
}
