//! The tree of a runtime flist: flat, with the routes for files whose suffix does not say where they go.

use mos_config::PlannedComponent;
use mos_service::Routes;
use mos_tree::{Content, Tree};

use crate::build::Built;
use crate::error::ComponentError;
use crate::workshop::Workshop;

const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// What goes into an flist.
#[derive(Debug, Clone, Default)]
pub struct Staged {
    /// The files, without the one for the routes.
    pub tree: Tree,
    /// Where files go whose suffix does not say.
    pub routes: Routes,
}

/// Puts programs, files and service of a component into a tree. File content stays on disk, by reference.
///
/// # Errors
/// [`ComponentError::Io`] when a file is missing, [`ComponentError::Tree`] when a name does not fit.
pub fn stage(component: &PlannedComponent, built: &Built, shop: &Workshop) -> Result<Staged, ComponentError> {
    let mut tree = Tree::default();
    let mut add = |name: &str, mode: u32, content: Content| {
        let inserted = tree.insert_file(name, mode, content);
        inserted.map(drop).map_err(|source| ComponentError::Tree {
            name: component.name.clone(),
            source,
        })
    };
    for (name, path) in &built.binaries {
        add(
            name,
            PROGRAM_MODE,
            Content::file(path).map_err(ComponentError::at(path))?,
        )?;
    }
    for (name, path) in &component.files {
        let path = shop.repository().join(path);
        add(
            name,
            FILE_MODE,
            Content::file(&path).map_err(ComponentError::at(&path))?,
        )?;
    }
    if let Some(service) = &component.service {
        add(&service.file_name, FILE_MODE, service.text.as_str().into())?;
    }
    let mut routes = Routes::default();
    for (name, target) in &component.routes {
        // Names are unique here, so nothing is there yet.
        let _ = routes.insert(name, target);
    }
    Ok(Staged { tree, routes })
}
