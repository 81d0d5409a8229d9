//! Runtimes: components fetched, built, staged flat and packed into flists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mos_cache::{Cached, Inputs};
use mos_components::{ROUTES_FILE, Toolchain, build, fetch, stage};
use mos_config::{Lock, Plan, PlannedComponent};
use mos_flist::{Flist, PackOptions, pack};
use mos_store::{Digest, Read as _};
use mos_tree::{Kind, Tree};

use crate::builder::Builder;
use crate::error::BuildError;
use crate::image::digest;
use crate::size::bytes;

const STEP: &str = "flist";
/// Raised whenever the same tree would give another flist than before.
const FORMAT: u32 = 2;
const FLIST_FILE: &str = "flist.fl";
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
struct Staged {
    name: String,
    version: String,
    tree: Tree,
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
        let toolchain = Toolchain::find()?;
        let mut staged = Vec::new();
        for component in components {
            staged.push(self.stage(component, lock, &toolchain)?);
        }
        if mode == PackMode::Combined {
            staged = vec![combine(staged)?];
        }
        staged.iter().map(|staged| self.pack(staged)).collect()
    }

    fn stage(
        &self,
        component: &PlannedComponent,
        lock: &mut Lock,
        toolchain: &Toolchain,
    ) -> Result<Staged, BuildError> {
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
        let tree = stage(component, &built, &shop)?;
        Ok(Staged {
            name: name.clone(),
            version: fetched.version,
            tree,
        })
    }

    fn pack(&self, staged: &Staged) -> Result<BuiltFlist, BuildError> {
        let Staged { name, version, tree } = staged;
        let key = Inputs::new(STEP, FORMAT)
            .add("level", LEVEL.to_le_bytes())
            .add_digest("tree", &digest(tree)?)
            .key();
        let mut cached = self
            .cache()
            .step(STEP, &key, |output| self.pack_into(name, tree, output))?;
        let (file, mut blobs) = read_back(&cached)?;
        if !self.has_all(&blobs) {
            self.report.line(&format!(
                "{name}: blobs are missing or damaged in the local store, packing again"
            ));
            self.forget(&blobs)?;
            self.pack_into(name, tree, &cached.path)?;
            cached.hit = false;
            blobs = read_back(&cached)?.1;
        }
        self.report.line(&match cached.hit {
            true => format!("{name} {version}: nothing changed"),
            false => format!("{name} {version}: packed, {} blobs", blobs.len()),
        });
        Ok(BuiltFlist {
            name: name.clone(),
            version: version.clone(),
            file,
            blobs,
            content_bytes: bytes(tree),
            hit: cached.hit,
        })
    }

    fn pack_into(&self, name: &str, tree: &Tree, output: &Path) -> Result<(), BuildError> {
        let options = PackOptions {
            compression_level: LEVEL,
            ..PackOptions::default()
        };
        let packed = pack(tree, &self.store(), &options).map_err(|source| BuildError::Pack {
            component: name.to_owned(),
            source,
        })?;
        let path = output.join(FLIST_FILE);
        fs::write(&path, &packed.flist).map_err(BuildError::at(&path))
    }

    /// True when the local store has every blob with the right bytes.
    fn has_all(&self, blobs: &[(Digest, u64)]) -> bool {
        let store = self.store();
        let good = |(digest, length): &(Digest, u64)| {
            store
                .get(&digest.blob_name(), *length)
                .is_ok_and(|bytes| digest.matches(&bytes))
        };
        blobs.iter().all(good)
    }

    fn forget(&self, blobs: &[(Digest, u64)]) -> Result<(), BuildError> {
        let store = self.store();
        for (digest, _) in blobs {
            mos_store::Write::delete(&store, &digest.blob_name())?;
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

/// One tree of all; routes are joined, other files may not meet.
fn combine(parts: Vec<Staged>) -> Result<Staged, BuildError> {
    let mut tree = Tree::default();
    let mut owners: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut routes = String::new();
    let mut versions = Vec::new();
    for part in parts {
        versions.push(format!("{}-{}", part.name, part.version));
        for entry in part.tree.walk().filter(|entry| !entry.path.is_empty()) {
            if entry.path == ROUTES_FILE.as_bytes() {
                routes.push_str(&routes_of(entry.inode)?);
            } else if let Some(first) = owners.insert(entry.path.clone(), part.name.clone()) {
                let file = String::from_utf8_lossy(&entry.path).into_owned();
                return Err(BuildError::Clash {
                    file,
                    first,
                    second: part.name,
                });
            }
        }
        tree.overlay(&part.tree)?;
    }
    if !routes.is_empty() {
        tree.insert_file(ROUTES_FILE, 0o644, format!("[routes]\n{routes}").as_str())?;
    }
    Ok(Staged {
        name: "runtime".to_owned(),
        version: versions.join("+"),
        tree,
    })
}

/// The lines of a routes file below its one heading, as `stage` writes it.
fn routes_of(inode: &mos_tree::Inode) -> Result<String, BuildError> {
    let Kind::File(content) = &inode.kind else {
        return Ok(String::new());
    };
    let text = content.read().map_err(BuildError::at(Path::new(ROUTES_FILE)))?;
    let text = String::from_utf8_lossy(&text);
    Ok(text
        .lines()
        .filter(|line| !line.starts_with('['))
        .map(|line| format!("{line}\n"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(name: &str, files: &[(&str, &str)]) -> Staged {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.insert_file(path, 0o644, *text).unwrap();
        }
        Staged {
            name: name.into(),
            version: "1".into(),
            tree,
        }
    }

    #[test]
    fn combined_flists_join_routes_and_refuse_clashes() {
        let web = staged(
            "web",
            &[("web.toml", ""), (ROUTES_FILE, "[routes]\n\"a\" = \"share/a\"\n")],
        );
        let api = staged(
            "api",
            &[("api.toml", ""), (ROUTES_FILE, "[routes]\n\"b\" = \"share/b\"\n")],
        );
        let both = combine(vec![web, api]).unwrap();
        let routes = routes_of(both.tree.get(ROUTES_FILE).unwrap()).unwrap();
        assert_eq!(routes, "\"a\" = \"share/a\"\n\"b\" = \"share/b\"\n");
        assert_eq!(both.version, "web-1+api-1");
        let clash = combine(vec![
            staged("web", &[("x.toml", "1")]),
            staged("api", &[("x.toml", "2")]),
        ]);
        assert_eq!(
            clash.err().unwrap().to_string(),
            "`web` and `api` both bring a file `x.toml`: they cannot be in one flist"
        );
    }
}
