//! The licences of packages, as the packages state them.
//!
//! Found out once for each package and kept under its digest: the texts are removed from images.

use std::fs;

use mos_cache::Inputs;
use mos_config::AlpinePlan;
use mos_sbom::Licence;
use mos_tree::{Kind, Tree};

use crate::builder::Builder;
use crate::error::BuildError;
use crate::kernel_part::json;
use crate::package::Package;

const STEP: &str = "licence";
/// Raised whenever the same package would give another answer than before.
const FORMAT: u32 = 1;
const FILE: &str = "licence.json";
/// A larger copyright file is not read: that of the kernel has 120 KB.
const LARGEST: u64 = 4 << 20;

/// The licence of a package; none when it does not say so in a form that machines read.
pub(crate) fn licence(
    builder: &Builder<'_>,
    package: &Package,
    alpine: Option<&AlpinePlan>,
) -> Result<Option<Licence>, BuildError> {
    let key = Inputs::new(STEP, FORMAT).add("package", package.identity()).key();
    let cached = builder.cache().step(STEP, &key, |output| {
        let licence = match package {
            Package::Deb(deb) => of_tree(&package.tree(builder, alpine)?, &deb.name)?,
            // What the kernel's file COPYING says.
            Package::Source(_) => Some(Licence::of_expression("GPL-2.0-only")),
            Package::Apk(apk) => {
                let text = crate::alpine::licence(builder, alpine, apk)?;
                (!text.is_empty()).then(|| Licence::of_expression(&text))
            }
        };
        let path = output.join(FILE);
        let text = serde_json::to_vec(&licence).map_err(|error| BuildError::at(&path)(error.into()))?;
        fs::write(&path, text).map_err(BuildError::at(&path))
    })?;
    json(&cached.path.join(FILE))
}

/// Debian policy, section 12.5: every package has its copyright file there.
fn of_tree(tree: &Tree, name: &str) -> Result<Option<Licence>, BuildError> {
    let path = format!("usr/share/doc/{name}/copyright");
    let Some(Kind::File(content)) = tree.get(&path).map(|inode| &inode.kind) else {
        return Ok(None);
    };
    if content.len() > LARGEST {
        return Ok(None);
    }
    let text = content.read().map_err(BuildError::at(path.as_ref()))?;
    Ok(Licence::of_copyright(&String::from_utf8_lossy(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copyright_file_of_the_package_counts() {
        let mut tree = Tree::default();
        assert_eq!(of_tree(&tree, "tool").unwrap(), None);
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nLicense: Expat\n";
        tree.insert_file("usr/share/doc/tool/copyright", 0o644, text).unwrap();
        assert_eq!(of_tree(&tree, "tool").unwrap().unwrap().expression, "MIT");
        assert_eq!(of_tree(&tree, "other").unwrap(), None);
    }
}
