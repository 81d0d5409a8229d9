//! What `apt-get --print-uris` prints: one package a line, with its digest.
//!
//! ```text
//! 'http://…/busybox-static_1.35.0-4%2bdeb12u1_amd64.deb' busybox-static_1%3a1.35.0-4+deb12u1_amd64.deb 928188 SHA256:4b…
//! ```

use crate::LockedPackage;

/// Reads the packages from the output; lines of another shape are apt's talk and do not count.
pub(crate) fn parse(output: &str) -> Vec<LockedPackage> {
    output.lines().filter_map(package).collect()
}

fn package(line: &str) -> Option<LockedPackage> {
    let mut words = line.strip_prefix('\'')?.split_once("' ")?.1.split(' ');
    let file = words.next()?.strip_suffix(".deb")?;
    let size = words.next()?.parse().ok()?;
    let sha256 = words.next()?.strip_prefix("SHA256:")?.to_ascii_lowercase();
    let (name, rest) = file.split_once('_')?;
    let (version, architecture) = rest.rsplit_once('_')?;
    let digits = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| LockedPackage {
        name: name.to_owned(),
        version: version.replace("%3a", ":"),
        architecture: architecture.to_owned(),
        sha256,
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_packages_and_talk_is_skipped() {
        let digest = "ab".repeat(32);
        let output = format!(
            "Reading package lists...\n'http://m/pool/b/x_1.3%2bd_amd64.deb' busybox-static_1%3a1.3+d_amd64.deb 928188 SHA256:{digest}\n'http://m/y' y_1_all.deb 5 MD5Sum:00\n"
        );
        let packages = parse(&output);
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].version, "1:1.3+d");
        assert_eq!(
            (packages[0].size, packages[0].sha256.as_str()),
            (928_188, digest.as_str())
        );
        assert_eq!(packages[0].file_name(), "busybox-static_1%3a1.3+d_amd64.deb");
    }
}
