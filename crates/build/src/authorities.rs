//! The certificate authorities of an image, as one PEM file.

use std::fs;

use mos_config::Authorities;
use mos_tree::{Kind, Tree};

use crate::builder::Builder;
use crate::error::BuildError;
use crate::package::Package;

/// Where Debian's package has them, one to a file.
const FOLDER: &str = "usr/share/ca-certificates/mozilla";

/// The text of `/etc/mos/ca.pem`; empty when the image needs none. The same inputs give the same text.
pub(crate) fn authorities(
    builder: &Builder<'_>,
    wanted: &Authorities,
    package: Option<&Package>,
) -> Result<String, BuildError> {
    let texts = match (wanted, package) {
        (Authorities::Files(files), _) => files
            .iter()
            .map(|file| builder.repository().join(file))
            .map(|path| fs::read_to_string(&path).map_err(BuildError::at(&path)))
            .collect::<Result<_, _>>()?,
        (Authorities::Debian, Some(package)) => of_package(package.name(), &package.tree(builder, None)?)?,
        _ => Vec::new(),
    };
    Ok(texts.iter().map(|text| format!("{}\n", text.trim_end())).collect())
}

/// The certificates of the package, in the order of their files' names.
fn of_package(package: &str, tree: &Tree) -> Result<Vec<String>, BuildError> {
    let none = || BuildError::NoAuthorities {
        package: package.to_owned(),
        path: FOLDER,
    };
    let Some(Kind::Directory(entries)) = tree.get(FOLDER).map(|inode| &inode.kind) else {
        return Err(none());
    };
    let mut texts = Vec::new();
    for id in entries.values() {
        if let Kind::File(content) = &tree.inode(*id).kind {
            let bytes = content.read().map_err(BuildError::at(FOLDER.as_ref()))?;
            texts.push(String::from_utf8(bytes).map_err(|_| none())?);
        }
    }
    if texts.is_empty() { Err(none()) } else { Ok(texts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_the_package_are_in_the_order_of_their_names() {
        let package = "ca-certificates";
        let mut tree = Tree::default();
        let error = of_package(package, &tree).unwrap_err().to_string();
        assert!(
            error.contains("ca-certificates has no certificates in usr/share"),
            "{error}"
        );
        for (name, text) in [("b.crt", "B\n"), ("a.crt", "A\n")] {
            tree.insert_file(format!("{FOLDER}/{name}"), 0o644, text).unwrap();
        }
        assert_eq!(of_package(package, &tree).unwrap(), ["A\n", "B\n"]);
    }
}
