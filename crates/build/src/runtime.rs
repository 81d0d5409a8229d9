//! Runtimes: components fetched, built, staged flat and packed into flists.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use mos_cache::{Cached, Inputs};
use mos_components::{Staged, Toolchain, build, fetch, stage};
use mos_config::{Lock, Plan, PlannedComponent};
use mos_flist::{Flist, PackOptions, pack};
use mos_service::{ROUTES, Routes};
use mos_store::{Digest, Read as _};
use mos_tree::{Content, Tree};

use crate::builder::Builder;
use crate::error::BuildError;
use crate::image::digest;
use crate::size::bytes;

const STEP: &str = "flist";
/// Raised whenever the same tree would give another flist than before.
const FORMAT: u32 = 2;
const FLIST_FILE: &str = "flist.fl";
const FILE_MODE: u32 = 0o644;
/// zstd level for chunks. What is packed once is fetched by every node.
const LEVEL: i32 = 15;

/// How components become flists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackMode {
    /// One flist per component.
    Individual,
    /// One flist with all of them.
    Combined,
}

/// An flist in the cache; its blobs are in [`Builder::store`].
#[derive(Debug, Clone)]
pub struct BuiltFlist {
    /// The component, or `runtime` when combined.
    pub name: String,
    /// The version that a release shows.
    pub version: String,
    /// The file.
    pub file: PathBuf,
    /// The blobs that it needs: digest and length.
    pub blobs: Vec<(Digest, u64)>,
    /// Bytes of all files in it.
    pub content_bytes: u64,
    /// False when it was made just now.
    pub hit: bool,
}

/// A component, ready to be packed.
struct Component {
    name: String,
    version: String,
    staged: Staged,
    /// The blobs of flists among its files.
    carried: Vec<(Digest, u64)>,
}

/// An flist in the cache.
pub(crate) struct Packed {
    pub(crate) file: PathBuf,
    pub(crate) blobs: Vec<(Digest, u64)>,
    pub(crate) hit: bool,
}

/// Finds out the exact state of every component and puts it into the lock.
///
/// # Errors
/// [`BuildError::Component`].
pub fn lock_components(builder: &Builder<'_>, plan: &Plan, lock: &mut Lock) -> Result<(), BuildError> {
    for component in &plan.components {
        let fetched = fetch(component, &builder.workshop(), &mut |line| builder.report.detail(line))?;
        fetched.lock.into_iter().for_each(|entry| lock.set_component(entry));
    }
    Ok(())
}

impl Builder<'_> {
    /// The flists of an environment, from the cache or made now; of all components, or only those named.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn runtime(
        &self,
        plan: &Plan,
        lock: &mut Lock,
        only: &[String],
        mode: PackMode,
    ) -> Result<Vec<BuiltFlist>, BuildError> {
        let components = chosen(plan, only)?;
        if components.is_empty() && mode == PackMode::Individual {
            return Ok(Vec::new());
        }
        let mut toolchains = BTreeMap::new();
        let mut staged = Vec::new();
        for component in components {
            let toolchain = match toolchains.entry(component.build.libc) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(place) => {
                    let find = Toolchain::find(&self.workshop(), *place.key(), &mut |line| self.report.line(line));
                    place.insert(find?)
                }
            };
            staged.push(self.stage(plan, component, lock, toolchain)?);
        }
        if mode == PackMode::Combined {
            staged = vec![combine(staged)?];
        }
        staged.iter().map(|staged| self.pack(staged)).collect()
    }

    fn stage(
        &self,
        plan: &Plan,
        component: &PlannedComponent,
        lock: &mut Lock,
        toolchain: &Toolchain,
    ) -> Result<Component, BuildError> {
        let shop = self.workshop();
        let name = &component.name;
        self.report.detail(&format!("fetching {name}"));
        let fetched = fetch(component, &shop, &mut |line| self.report.detail(line))?;
        fetched.lock.iter().for_each(|entry| lock.set_component(entry.clone()));
        let mut started = false;
        let built = build(
            &fetched,
            &component.build,
            &component.binaries,
            toolchain,
            &shop,
            &mut |line| {
                if !std::mem::replace(&mut started, true) {
                    self.report.line(&format!(
                        "{name} {}: building for {}",
                        fetched.version,
                        toolchain.target()
                    ));
                }
                self.report.detail(line);
            },
        )?;
        let mut made = Component {
            name: name.clone(),
            version: fetched.version,
            staged: stage(component, &built, &shop)?,
            carried: Vec::new(),
        };
        for inner in self.kernel_files(plan, component, lock)? {
            made.staged.tree.insert_file(
                &inner.name,
                FILE_MODE,
                Content::file(&inner.packed.file).map_err(BuildError::at(&inner.packed.file))?,
            )?;
            // The configuration has no such file, or inserting it would have failed.
            let _ = made.staged.routes.insert(&inner.name, &inner.place());
            made.carried.extend(inner.packed.blobs);
            made.version = format!("{}+{}", made.version, inner.tag);
        }
        Ok(made)
    }

    fn pack(&self, component: &Component) -> Result<BuiltFlist, BuildError> {
        let Component {
            name,
            version,
            staged,
            carried,
        } = component;
        let mut tree = staged.tree.clone();
        if !staged.routes.is_empty() {
            tree.insert_file(ROUTES, FILE_MODE, staged.routes.to_string().as_str())?;
        }
        let key = Inputs::new(STEP, FORMAT)
            .add("level", LEVEL.to_le_bytes())
            .add_digest("tree", &digest(&tree)?)
            .key();
        let packed = self.packed(name, &key, &|output| self.pack_into(name, &tree, LEVEL, output))?;
        self.report.line(&match packed.hit {
            true => format!("{name} {version}: nothing changed"),
            false => format!("{name} {version}: packed, {} blobs", packed.blobs.len()),
        });
        Ok(BuiltFlist {
            name: name.clone(),
            version: version.clone(),
            file: packed.file,
            blobs: [packed.blobs.as_slice(), carried].concat(),
            content_bytes: bytes(&tree),
            hit: packed.hit,
        })
    }

    /// An flist from the cache, or made now: `make` writes it into a folder with [`Builder::pack_into`].
    pub(crate) fn packed(
        &self,
        name: &str,
        key: &Digest,
        make: &dyn Fn(&Path) -> Result<(), BuildError>,
    ) -> Result<Packed, BuildError> {
        let mut cached = self.cache().step(STEP, key, make)?;
        let (file, mut blobs) = read_back(&cached)?;
        if !self.has_all(&blobs) {
            self.report.line(&format!(
                "{name}: blobs are missing or damaged in the local store, packing again"
            ));
            self.forget_damaged(&blobs)?;
            self.make_again(&file, make)?;
            cached.hit = false;
            blobs = read_back(&cached)?.1;
        }
        Ok(Packed {
            file,
            blobs,
            hit: cached.hit,
        })
    }

    /// Packs a tree into the local store, and writes its flist into a folder.
    pub(crate) fn pack_into(&self, name: &str, tree: &Tree, level: i32, output: &Path) -> Result<(), BuildError> {
        let options = PackOptions {
            compression_level: level,
            ..PackOptions::default()
        };
        let packed = pack(tree, &self.store(), &options).map_err(|source| BuildError::Pack {
            component: name.to_owned(),
            source,
        })?;
        let path = output.join(FLIST_FILE);
        fs::write(&path, &packed.flist).map_err(BuildError::at(&path))
    }

    /// Packs again what the cache has; another build may be reading the file, so it is replaced in one step.
    fn make_again(&self, file: &Path, make: &dyn Fn(&Path) -> Result<(), BuildError>) -> Result<(), BuildError> {
        let scratch = tempfile::tempdir_in(self.cache().root()).map_err(BuildError::at(self.cache().root()))?;
        make(scratch.path())?;
        mos_sys::durable::rename(&scratch.path().join(FLIST_FILE), file).map_err(BuildError::at(file))
    }

    /// True when the local store has every blob with the right bytes.
    fn has_all(&self, blobs: &[(Digest, u64)]) -> bool {
        blobs.iter().all(|blob| self.has(blob))
    }

    fn has(&self, (digest, length): &(Digest, u64)) -> bool {
        self.store()
            .get(&digest.blob_name(), *length)
            .is_ok_and(|bytes| digest.matches(&bytes))
    }

    /// Removes damaged blobs from the local store, so that packing writes them anew; sound ones may be in use.
    fn forget_damaged(&self, blobs: &[(Digest, u64)]) -> Result<(), BuildError> {
        for blob in blobs.iter().filter(|blob| !self.has(blob)) {
            mos_store::Write::delete(&self.store(), &blob.0.blob_name())?;
        }
        Ok(())
    }
}

/// The flist in the cache, and the blobs that it names.
fn read_back(cached: &Cached) -> Result<(PathBuf, Vec<(Digest, u64)>), BuildError> {
    let file = cached.path.join(FLIST_FILE);
    let bytes = fs::read(&file).map_err(BuildError::at(&file))?;
    let flist = Flist::parse(bytes).map_err(|error| BuildError::at(&file)(std::io::Error::other(error)))?;
    let blobs = flist.blobs().iter().map(|blob| (blob.digest, blob.length)).collect();
    Ok((file, blobs))
}

fn chosen<'p>(plan: &'p Plan, only: &[String]) -> Result<Vec<&'p PlannedComponent>, BuildError> {
    if only.is_empty() {
        return Ok(plan.components.iter().collect());
    }
    let find = |name: &String| {
        plan.component(name).ok_or_else(|| {
            let known: Vec<&str> = plan
                .components
                .iter()
                .map(|component| component.name.as_str())
                .collect();
            BuildError::NoComponent {
                name: name.clone(),
                known: known.join(", "),
            }
        })
    };
    only.iter().map(find).collect()
}

/// One flist of all; routes are joined, files may not meet.
fn combine(parts: Vec<Component>) -> Result<Component, BuildError> {
    let mut tree = Tree::default();
    let mut owners: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut routes = Routes::default();
    let mut versions = Vec::new();
    let mut carried = Vec::new();
    for part in parts {
        versions.push(format!("{}-{}", part.name, part.version));
        for entry in part.staged.tree.walk().filter(|entry| !entry.path.is_empty()) {
            if let Some(first) = owners.insert(entry.path.clone(), part.name.clone()) {
                let file = String::from_utf8_lossy(&entry.path).into_owned();
                return Err(BuildError::Clash {
                    file,
                    first,
                    second: part.name,
                });
            }
        }
        tree.overlay(&part.staged.tree)?;
        for (from, to) in part.staged.routes.iter() {
            // Of a file that only this component brings.
            let _ = routes.insert(from, to);
        }
        carried.extend(part.carried);
    }
    Ok(Component {
        name: "runtime".to_owned(),
        version: versions.join("+"),
        staged: Staged { tree, routes },
        carried,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, file: &str, route: (&str, &str)) -> Component {
        let mut staged = Staged::default();
        staged.tree.insert_file(file, 0o644, name).unwrap();
        staged.routes.insert(route.0, route.1).unwrap();
        Component {
            name: name.into(),
            version: "1".into(),
            staged,
            carried: vec![(Digest::of(name.as_bytes()), 3)],
        }
    }

    #[test]
    fn combined_flists_join_routes_and_refuse_clashes() {
        let web = component("web", "web.toml", ("a", "share/a"));
        let api = component("api", "api.toml", ("b", "share/b"));
        let both = combine(vec![web, api]).unwrap();
        assert_eq!(
            both.staged.routes.to_string(),
            "[routes]\n\"a\" = \"share/a\"\n\"b\" = \"share/b\"\n"
        );
        assert_eq!(both.version, "web-1+api-1");
        assert_eq!(both.carried.len(), 2);
        let clash = combine(vec![
            component("web", "x.toml", ("a", "share/a")),
            component("api", "x.toml", ("b", "share/b")),
        ]);
        assert_eq!(
            clash.err().unwrap().to_string(),
            "`web` and `api` both bring a file `x.toml`: they cannot be in one flist"
        );
    }
}
