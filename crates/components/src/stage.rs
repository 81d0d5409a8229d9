//! The tree of a runtime flist: flat, with the routes for files whose suffix does not say where they go.

use std::fmt::Write as _;

use mos_config::PlannedComponent;
use mos_tree::{Content, Tree};

use crate::build::Built;
use crate::error::ComponentError;
use crate::workshop::Workshop;

/// The file of a runtime flist that says where its other files go (ARCHITECTURE.md, "Node").
pub const ROUTES_FILE: &str = "mos-routes.toml";
const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// Puts programs, files, service and routes of a component into a tree. File content stays on disk, by reference.
///
/// # Errors
/// [`ComponentError::Io`] when a file is missing, [`ComponentError::Tree`] when a name does not fit.
pub fn stage(component: &PlannedComponent, built: &Built, shop: &Workshop) -> Result<Tree, ComponentError> {
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
    if !component.routes.is_empty() {
        add(ROUTES_FILE, FILE_MODE, routes(component).as_str().into())?;
    }
    Ok(tree)
}

fn routes(component: &PlannedComponent) -> String {
    let mut text = "[routes]\n".to_owned();
    for (name, target) in &component.routes {
        // Both were checked to be plain paths; a quote or backslash in one is still only a character.
        let quote = |path: &str| path.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "\"{}\" = \"{}\"", quote(name), quote(target));
    }
    text
}
