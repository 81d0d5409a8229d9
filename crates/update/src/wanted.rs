//! What a verified release asks for, file by file.

use std::collections::BTreeMap;

use mos_channel::Release;
use mos_flist::{Entry, EntryKind, Flist, ObjectDigest};

use crate::UpdateError;
use mos_service::{ROUTES, Routes, is_executable};

/// Everything a generation has to hold.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The environment.
    pub environment: String,
    /// The release's sequence number.
    pub sequence: u64,
    /// The signed envelope, kept as `release.json`.
    pub envelope: Vec<u8>,
    /// One for each component.
    pub flists: Vec<WantedFlist>,
}

/// What one component brings.
#[derive(Debug, Clone)]
pub struct WantedFlist {
    /// The component.
    pub name: String,
    /// The flist as it came, kept as `flists/NAME.fl`.
    pub bytes: Vec<u8>,
    /// Its files.
    pub files: Vec<File>,
    /// Its symbolic links.
    pub links: Vec<Link>,
}

/// A file and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The path in the flist.
    pub source: String,
    /// The path in the generation.
    pub place: String,
    /// The content.
    pub object: ObjectDigest,
    /// Bytes.
    pub length: u64,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
}

/// A symbolic link to a file beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The path in the generation.
    pub place: String,
    /// A name in the same directory.
    pub target: String,
}

/// An entry of an flist, as far as generations care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The path, without a slash at the start.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
}

/// What an [`Item`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Generations make the directories they need; those of flists are not copied.
    Directory,
    /// A regular file.
    File {
        /// The content.
        object: ObjectDigest,
        /// Bytes.
        length: u64,
    },
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A device, pipe or socket: refused.
    Special,
}

impl From<Entry<'_>> for Item {
    fn from(entry: Entry<'_>) -> Self {
        let kind = match entry.kind {
            EntryKind::Directory => Kind::Directory,
            EntryKind::File {
                size,
                object: Some(object),
            } => Kind::File { object, length: size },
            EntryKind::Symlink(target) => Kind::Symlink(target.to_vec()),
            // Devices, pipes, sockets; and files whose digest nobody knows, which an flist of ours has not.
            _ => Kind::Special,
        };
        let path = entry.path;
        Self { path, kind }
    }
}

impl Wanted {
    /// Puts the components of a release together.
    ///
    /// # Errors
    /// [`UpdateError::Conflict`] when two want one path, or one a directory where the other wants a file.
    pub fn new(release: &Release, envelope: Vec<u8>, flists: Vec<WantedFlist>) -> Result<Self, UpdateError> {
        check_conflicts(&flists)?;
        Ok(Self {
            environment: release.environment.clone(),
            sequence: release.sequence,
            envelope,
            flists,
        })
    }

    /// All files of all components.
    pub fn files(&self) -> impl Iterator<Item = (&WantedFlist, &File)> {
        let flists = self.flists.iter();
        flists.flat_map(|flist| flist.files.iter().map(move |file| (flist, file)))
    }

    /// All links of all components.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.flists.iter().flat_map(|flist| &flist.links)
    }
}

impl WantedFlist {
    /// Routes a component. `routes` is the content of its [`ROUTES`] file, when it has one.
    ///
    /// # Errors
    /// [`UpdateError::Routes`], [`UpdateError::Unroutable`].
    pub fn new(name: &str, flist: &Flist, routes: Option<&[u8]>) -> Result<Self, UpdateError> {
        let items: Vec<Item> = flist.entries().map(Item::from).collect();
        Self::from_items(name, &items, flist.as_bytes().to_vec(), routes)
    }

    /// As [`WantedFlist::new`], from the entries alone.
    ///
    /// # Errors
    /// As [`WantedFlist::new`].
    pub fn from_items(name: &str, items: &[Item], bytes: Vec<u8>, routes: Option<&[u8]>) -> Result<Self, UpdateError> {
        let routes = match routes {
            Some(text) => parse_routes(name, text)?,
            None => Routes::default(),
        };
        let mut wanted = Self {
            name: name.to_owned(),
            bytes,
            files: Vec::new(),
            links: Vec::new(),
        };
        for item in items {
            wanted.add(item, &routes).map_err(|why| UpdateError::Unroutable {
                flist: name.to_owned(),
                path: String::from_utf8_lossy(&item.path).escape_debug().to_string(),
                why,
            })?;
        }
        Ok(wanted)
    }

    fn add(&mut self, item: &Item, routes: &Routes) -> Result<(), String> {
        if item.kind == Kind::Directory {
            return Ok(());
        }
        let source = std::str::from_utf8(&item.path).map_err(|_| "its name is not UTF-8")?;
        let place = match source {
            ROUTES => routes_place(&self.name),
            _ => routes.place(source)?,
        };
        match &item.kind {
            Kind::File { object, length } => self.files.push(File {
                source: source.to_owned(),
                executable: is_executable(&place),
                place,
                object: *object,
                length: *length,
            }),
            Kind::Symlink(target) => self.links.push(Link {
                place,
                target: neighbour(target)?,
            }),
            Kind::Directory => {}
            Kind::Special => return Err("a component cannot bring devices, pipes or sockets".to_owned()),
        }
        Ok(())
    }
}

/// Where the routes of a component are kept in a generation, so that it can be checked without the channel.
pub(crate) fn routes_place(name: &str) -> String {
    format!("flists/{name}.routes.toml")
}

fn parse_routes(name: &str, text: &[u8]) -> Result<Routes, UpdateError> {
    let text = std::str::from_utf8(text).map_err(|error| format!("{ROUTES}: not UTF-8: {error}"));
    text.and_then(|text| Routes::parse(ROUTES, text))
        .map_err(|problems| UpdateError::Routes {
            flist: name.to_owned(),
            problems,
        })
}

/// Links may only point beside themselves: nothing in a generation leads out of it.
fn neighbour(target: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(target).map_err(|_| "its target is not UTF-8")?;
    if text.is_empty() || text.contains(['/', '\0']) || matches!(text, "." | "..") {
        let text = text.escape_debug();
        return Err(format!("its target `{text}` is not a name in the same directory"));
    }
    Ok(text.to_owned())
}

fn check_conflicts(flists: &[WantedFlist]) -> Result<(), UpdateError> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for flist in flists {
        let places = flist.files.iter().map(|file| &file.place);
        for place in places.chain(flist.links.iter().map(|link| &link.place)) {
            if let Some(first) = owners.insert(place, &flist.name) {
                return Err(conflict(place, first, &flist.name));
            }
        }
    }
    for (place, owner) in &owners {
        let mut above = *place;
        while let Some((directory, _)) = above.rsplit_once('/') {
            if let Some(other) = owners.get(directory) {
                return Err(conflict(directory, other, owner));
            }
            above = directory;
        }
    }
    Ok(())
}

fn conflict(path: &str, first: &str, second: &str) -> UpdateError {
    UpdateError::Conflict {
        path: path.to_owned(),
        first: first.to_owned(),
        second: second.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str) -> Item {
        Item {
            path: path.into(),
            kind: Kind::File {
                object: ObjectDigest::of(content.as_bytes()),
                length: content.len() as u64,
            },
        }
    }

    fn flist(name: &str, items: &[Item], routes: Option<&[u8]>) -> Result<WantedFlist, UpdateError> {
        WantedFlist::from_items(name, items, Vec::new(), routes)
    }

    #[test]
    fn files_are_routed_and_the_routes_kept() {
        let items = [file("web", "elf"), file("index.html", "hi"), file(ROUTES, "routes")];
        let wanted = flist(
            "web",
            &items,
            Some(b"[routes]\n\"index.html\" = \"share/www/index.html\"\n"),
        )
        .unwrap();
        let places: Vec<_> = wanted
            .files
            .iter()
            .map(|file| (file.place.as_str(), file.executable))
            .collect();
        assert_eq!(
            places,
            [
                ("bin/web", true),
                ("share/www/index.html", false),
                ("flists/web.routes.toml", false)
            ]
        );
    }

    #[test]
    fn two_components_cannot_have_one_path() {
        let a = flist("a", &[file("tool", "1")], None).unwrap();
        let b = flist("b", &[file("tool", "1")], None).unwrap();
        let error = check_conflicts(&[a.clone(), b]).unwrap_err().to_string();
        assert!(error.starts_with("bin/tool: both `a` and `b` want it"), "{error}");
        let c = flist("c", &[file("x", "")], Some(b"[routes]\nx = \"bin/tool/x\"\n")).unwrap();
        let error = check_conflicts(&[a, c]).unwrap_err().to_string();
        assert!(error.starts_with("bin/tool: both `a` and `c`"), "{error}");
    }

    #[test]
    fn what_leads_out_or_is_no_file_is_refused() {
        let link = |target: &str| Item {
            path: "sh".into(),
            kind: Kind::Symlink(target.into()),
        };
        assert_eq!(flist("a", &[link("busybox")], None).unwrap().links[0].target, "busybox");
        for target in ["/bin/sh", "../x", "..", "."] {
            let error = flist("a", &[link(target)], None).unwrap_err().to_string();
            assert!(error.starts_with("flist a: sh: its target"), "{error}");
        }
        let device = Item {
            path: "null".into(),
            kind: Kind::Special,
        };
        assert!(flist("a", &[device], None).unwrap_err().is_bad_release());
        let odd = Item {
            path: vec![0xff],
            ..file("x", "")
        };
        assert!(flist("a", &[odd], None).unwrap_err().to_string().contains("not UTF-8"));
        assert!(
            flist("a", &[], Some(b"\xff"))
                .unwrap_err()
                .to_string()
                .contains("not UTF-8")
        );
        assert!(flist("a", &[file("../../etc/passwd", "")], None).is_err());
    }
}
