//! `WHENCE` of linux-firmware: which files there are, and under which other names drivers ask for them.
//!
//! ```text
//! Driver: r8169 -- RealTek 8169/8168/8101 ethernet driver.
//! File: rtl_nic/rtl8168d-1.fw
//! RawFile: "a name with spaces.bin"
//! Link: rtl_nic/other.fw -> rtl8168d-1.fw
//! ```
//!
//! The target of a link is as seen from the folder of the link, as for a symbolic link. All other lines are for people.

/// What a `WHENCE` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Whence {
    /// Files that come with it.
    pub(crate) files: Vec<String>,
    /// Names and what they stand for.
    pub(crate) links: Vec<(String, String)>,
}

impl Whence {
    pub(crate) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            match key {
                "File" | "RawFile" => found.files.push(unquoted(value)),
                "Link" => {
                    if let Some((link, target)) = value.split_once("->") {
                        found.links.push((unquoted(link), unquoted(target)));
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// Without quotes around it and backslashes before spaces: both ways are in use for names with spaces.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text).replace("\\ ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_links_and_names_with_spaces() {
        let text = "Driver: brcm80211 - Broadcom\n\nFile: brcm/a.bin\nRawFile: \"brcm/B C.txt\"\n\
            Link: brcm/d\\ e.txt -> B\\ C.txt\nLicence: see File: x\nFound in hex form in kernel source.\nVersion: 1\n";
        let whence = Whence::parse(text);
        let pair = |left: &str, right: &str| (left.to_owned(), right.to_owned());
        assert_eq!(whence.files, ["brcm/a.bin", "brcm/B C.txt"]);
        assert_eq!(whence.links, [pair("brcm/d e.txt", "B C.txt")]);
    }
}
