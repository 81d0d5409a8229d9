//! `WHENCE` of linux-firmware: which files there are, under which other names drivers ask for them, and for which driver.
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
    /// Files that come with it, and the drivers that they are listed under.
    pub(crate) files: Vec<(String, String)>,
    /// Names and what they stand for.
    pub(crate) links: Vec<(String, String)>,
}

impl Whence {
    pub(crate) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut driver = String::new();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            match key {
                "Driver" => driver = value.split(" - ").next().unwrap_or(value).trim().to_owned(),
                "File" | "RawFile" => found.files.push((unquoted(value), driver.clone())),
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
        let files = [pair("brcm/a.bin", "brcm80211"), pair("brcm/B C.txt", "brcm80211")];
        assert_eq!(whence.files, files);
        assert_eq!(whence.links, [pair("brcm/d e.txt", "B C.txt")]);
    }
}
