//! The lists of an image: lines that stay as they are, and the older forms of some.

/// A list that mos reads as it is, with older lines in today's form. The number of lines stays.
fn by_line(text: &str, convert: impl Fn(&str) -> Option<String>) -> String {
    let mut converted = String::with_capacity(text.len());
    for line in text.lines() {
        let name = line.split('#').next().unwrap_or_default().trim();
        match convert(name).filter(|_| !name.is_empty()) {
            Some(new) => converted.push_str(&line.replacen(name, &new, 1)),
            None => converted.push_str(line),
        }
        converted.push('\n');
    }
    converted
}

/// `modules.conf`. Early ones have `stage1:NAME:FIRMWARE`; there is one stage now, and modules say themselves which firmware
/// they want.
pub(crate) fn modules(text: &str) -> String {
    by_line(text, |line| {
        let rest = line.strip_prefix("stage1:").or_else(|| line.strip_prefix("stage2:"))?;
        rest.split(':').next().map(str::to_owned)
    })
}

/// `firmware.conf`: names of Alpine's packages, with a description behind a colon or without `linux-firmware-`, become
/// `package NAME`; paths and patterns below `lib/firmware` stay.
pub(crate) fn firmware(text: &str) -> String {
    by_line(text, |line| {
        if line.contains(char::is_whitespace) && !line.contains(':')
            || line.starts_with("package ")
            || line.starts_with("folder ")
        {
            return None;
        }
        let name = line.split(':').next().unwrap_or(line).trim();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let is_name = !name.is_empty() && name.chars().all(plain);
        is_name.then(|| match name.starts_with("linux-firmware") {
            true => format!("package {name}"),
            false => format!("package linux-firmware-{name}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_today_stay_as_they_are() {
        let text = "# boot\n\n# Storage\nlibata\n  ahci # disks\nxhci_pci\n";
        assert_eq!(modules(text), text);
        let text = "package linux-firmware-intel\nfolder fw\nrtl_nic/*.fw # cards\nbrcm/a b.txt\n";
        assert_eq!(firmware(text), text);
    }

    #[test]
    fn older_lines_get_todays_form() {
        assert_eq!(
            modules("stage1:virtio_net:none # net\nstage2:igb:intel\nahci\n"),
            "virtio_net # net\nigb\nahci\n"
        );
        assert_eq!(
            firmware("linux-firmware-bnx2:Broadcom cards\nrtl_nic\n# end\n"),
            "package linux-firmware-bnx2\npackage linux-firmware-rtl_nic\n# end\n"
        );
    }
}
