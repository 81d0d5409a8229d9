//! What a refusal of the kernel means, and what to do: a pure function.

use rustix::io::Errno;

use crate::system::{Part, Refusal};

/// The first Linux with fsopen(2).
const FSOPEN: &str = "5.2";
/// The first Linux that takes the layers of an overlay one by one, and layers that hold only data (`lowerdir+` and
/// `datadir+` of Documentation/filesystems/overlayfs.rst).
const LAYERS: &str = "6.8";
/// The first Linux that mounts EROFS from a file (`CONFIG_EROFS_FS_BACKED_BY_FILE`).
const FROM_A_FILE: &str = "6.12";

/// One line: what is missing, and what to do about it. `release` is the kernel's, as `uname -r` prints it.
pub(crate) fn explain(refusal: &Refusal, release: &str) -> String {
    let Refusal { part, option, .. } = refusal;
    match (refusal.errno, part) {
        (Errno::PERM | Errno::ACCESS, _) => format!(
            "this process may not use {part} ({}), as in a container or a user namespace; mount it outside of that, \
             where root may",
            said(refusal)
        ),
        (Errno::NODEV, Part::Erofs | Part::Overlay) => format!(
            "this kernel ({release}) has no {part}; `modprobe {0}` loads it, unless the kernel was built without \
             (CONFIG_{1}_FS)",
            part.name(),
            part.name().to_uppercase()
        ),
        (Errno::NOSYS, Part::Erofs | Part::Overlay) => {
            format!("this kernel ({release}) has no fsopen, or a container's filter forbids it; Linux {FSOPEN} has it")
        }
        (Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTTY, Part::Loop) => format!(
            "this kernel ({release}) mounts EROFS from block devices only and has no loop devices; `modprobe loop` loads \
             them, Linux {FROM_A_FILE} needs none"
        ),
        (Errno::INVAL, Part::Overlay) if matches!(option, Some("lowerdir+" | "datadir+")) => {
            format!("{part} of this kernel ({release}) does not take layers of data; Linux {LAYERS} does")
        }
        _ => format!("this kernel ({release}) refuses {part}: {}", said(refusal)),
    }
}

/// The words of the system and of the kernel.
fn said(refusal: &Refusal) -> String {
    let error = std::io::Error::from(refusal.errno);
    let option = refusal.option.map(|key| format!(", option {key}")).unwrap_or_default();
    match refusal.message.as_str() {
        "" => format!("{error}{option}"),
        message => format!("{error}{option}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_to_do_is_one_line() {
        let refusal = Refusal::new;
        let option = |key, errno| Refusal {
            option: Some(key),
            message: "overlay: Unknown parameter".to_owned(),
            ..refusal(Part::Overlay, errno)
        };
        for (refusal, words) in [
            (refusal(Part::Erofs, Errno::NODEV), ["has no EROFS", "`modprobe erofs`"]),
            (refusal(Part::Erofs, Errno::NODEV), ["(6.1.0-x)", "CONFIG_EROFS_FS"]),
            (
                refusal(Part::Overlay, Errno::NODEV),
                ["`modprobe overlay`", "CONFIG_OVERLAY_FS"],
            ),
            (
                refusal(Part::Erofs, Errno::PERM),
                ["Operation not permitted", "user namespace"],
            ),
            (refusal(Part::Loop, Errno::ACCESS), ["loop devices", "container"]),
            (refusal(Part::Loop, Errno::NOENT), ["`modprobe loop`", "Linux 6.12"]),
            (refusal(Part::Erofs, Errno::NOSYS), ["fsopen", "Linux 5.2"]),
            (option("datadir+", Errno::INVAL), ["layers of data", "Linux 6.8"]),
            (
                option("upperdir", Errno::INVAL),
                ["option upperdir", "Unknown parameter"],
            ),
            (refusal(Part::Overlay, Errno::NOSPC), ["overlayfs", "No space left"]),
        ] {
            let said = explain(&refusal, "6.1.0-x");
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
            assert!(!said.contains('\n') && !said.contains("  "), "{said}");
        }
    }
}
