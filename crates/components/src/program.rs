//! Programs in a folder: where the source has them at its top, or anywhere below when the name is unique.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::ComponentError;

/// Folders within folders; deeper nobody hides a program.
const MAXIMUM_DEPTH: usize = 16;
/// Names that an error shows.
const SHOWN: usize = 20;

/// Finds a program by its name.
pub(crate) fn find(component: &str, folder: &Path, binary: &str) -> Result<PathBuf, ComponentError> {
    let at_the_top = folder.join(binary);
    if at_the_top.is_file() {
        return Ok(at_the_top);
    }
    let mut files = Vec::new();
    list(folder, 0, &mut files);
    files.sort();
    let mut fitting = files
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name == binary));
    let (first, second) = (fitting.next(), fitting.next());
    let shown = |path: &PathBuf| path.strip_prefix(folder).unwrap_or(path).display().to_string();
    match (first, second) {
        (Some(only), None) => Ok(only.clone()),
        (Some(first), Some(second)) => Err(ComponentError::source(
            component,
            format!(
                "there is more than one `{binary}`: {} and {}",
                shown(first),
                shown(second)
            ),
        )),
        (None, _) => {
            let mut names: Vec<String> = files.iter().take(SHOWN).map(shown).collect();
            if files.len() > SHOWN {
                names.push(format!("{} more", files.len() - SHOWN));
            }
            Err(ComponentError::MissingBinary {
                name: component.to_owned(),
                binary: binary.to_owned(),
                made: match names.is_empty() {
                    true => "nothing".to_owned(),
                    false => names.join(", "),
                },
            })
        }
    }
}

/// Plain files below a folder; links are not followed.
fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < MAXIMUM_DEPTH && !name.as_encoded_bytes().starts_with(b".") {
            list(&entry.path(), depth + 1, files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}
