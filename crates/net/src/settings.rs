//! What the kernel command line says about the network.
//!
//! ```text
//! mosip4=10.0.0.5/24,10.0.0.1[,eth0]                 a fixed address, its router, its link
//! mosip4=10.0.0.5,10.0.0.1,255.255.255.0[,eth0]      the same with a netmask
//! mosip4=10.0.0.5/24                                 no router: only the own network is reached
//! mosdns=1.1.1.1,9.9.9.9                             name servers, instead of what DHCP says
//! moslink=eth1                                       the link to use, for DHCP too
//! ```
//!
//! As everywhere on the kernel command line the last one of a key wins. Without `mosip4` the address comes by DHCP.

use crate::configuration::{Configuration, Route, Source};
use crate::prefix::Ipv4Prefix;
use crate::status;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Where the kernel shows its command line.
pub const COMMAND_LINE: &str = "/proc/cmdline";
/// The file that resolvers read.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Bytes in the longest name of a link (`IFNAMSIZ` in if.h, less the closing zero).
const LONGEST_LINK_NAME: usize = 15;

/// What the daemon shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The link to use; `None` for the first physical one that works.
    pub link: Option<String>,
    /// A fixed address; `None` for DHCP.
    pub fixed: Option<Fixed>,
    /// Name servers that stand instead of the DHCP server's.
    pub dns: Vec<Ipv4Addr>,
    /// Whether the node takes the name that the DHCP server has for it.
    pub take_host_name: bool,
    /// The file for resolvers.
    pub resolv_conf: PathBuf,
    /// The state file.
    pub status: PathBuf,
}

/// A fixed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// The node's address.
    pub address: Ipv4Prefix,
    /// The router of the default route.
    pub gateway: Option<Ipv4Addr>,
}

impl Default for Settings {
    /// DHCP on whatever link works.
    fn default() -> Self {
        Self {
            link: None,
            fixed: None,
            dns: Vec::new(),
            take_host_name: false,
            resolv_conf: RESOLV_CONF.into(),
            status: status::PATH.into(),
        }
    }
}

/// A network key of the kernel command line that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernel command line, character {column}: {reason}; write {expected}")]
pub struct SettingsError {
    /// Where the faulty part begins, counted in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
    /// What it should look like.
    pub expected: &'static str,
}

const EXPECTED_IP4: &str = "mosip4=ADDRESS/PREFIX,GATEWAY[,LINK] or mosip4=ADDRESS,GATEWAY,MASK[,LINK]";
const EXPECTED_DNS: &str = "mosdns=ADDRESS[,ADDRESS]";
const EXPECTED_LINK: &str = "moslink=NAME";

impl Settings {
    /// The settings that a kernel command line asks for; keys of others are passed over.
    ///
    /// # Errors
    /// The first key of ours that makes no sense, with its place.
    pub fn from_command_line(line: &str) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        for word in words(line) {
            let (key, value) = word.split_at('=');
            match key.text {
                "mosip4" => settings.set_fixed(value)?,
                "mosdns" => {
                    settings.dns = value
                        .split(',')
                        .map(|part| part.address(EXPECTED_DNS))
                        .collect::<Result<_, _>>()?
                }
                "moslink" => settings.link = Some(value.link_name(EXPECTED_LINK)?),
                _ => {}
            }
        }
        Ok(settings)
    }

    fn set_fixed(&mut self, value: Part<'_>) -> Result<(), SettingsError> {
        let parts: Vec<Part<'_>> = value.split(',').collect();
        let with_prefix = parts[0].text.contains('/');
        let (address, gateway, link) = match parts[..] {
            [address] if with_prefix => (address.prefix()?, None, None),
            [address, gateway] if with_prefix => (address.prefix()?, Some(gateway), None),
            [address, gateway, link] if with_prefix => (address.prefix()?, Some(gateway), Some(link)),
            [address, gateway, mask] => (address.masked(mask)?, Some(gateway), None),
            [address, gateway, mask, link] if !with_prefix => (address.masked(mask)?, Some(gateway), Some(link)),
            _ => return Err(value.error("the number of parts is wrong".to_owned(), EXPECTED_IP4)),
        };
        let gateway = gateway.filter(|part| !part.text.is_empty());
        let gateway = gateway.map(|part| part.address(EXPECTED_IP4)).transpose()?;
        self.fixed = Some(Fixed { address, gateway });
        if let Some(link) = link {
            self.link = Some(link.link_name(EXPECTED_IP4)?);
        }
        Ok(())
    }

    /// The configuration of a fixed address; `None` for DHCP.
    pub fn fixed_configuration(&self) -> Option<Configuration> {
        self.fixed.map(|fixed| Configuration {
            address: fixed.address,
            routes: fixed
                .gateway
                .map(|gateway| Route {
                    destination: Ipv4Prefix::ALL,
                    gateway: Some(gateway),
                })
                .into_iter()
                .collect(),
            dns: self.dns.clone(),
            domain: None,
            mtu: None,
            source: Source::Static,
        })
    }
}

/// A piece of the command line that knows where it stands.
#[derive(Debug, Clone, Copy)]
struct Part<'t> {
    text: &'t str,
    /// Characters before it on the line.
    before: usize,
}

impl<'t> Part<'t> {
    fn split(self, separator: char) -> impl Iterator<Item = Part<'t>> {
        let mut before = self.before;
        self.text.split(separator).map(move |text| {
            let part = Part { text, before };
            before += text.chars().count() + 1;
            part
        })
    }

    /// The parts before and after the first separator; without one, the second is empty.
    fn split_at(self, separator: char) -> (Part<'t>, Part<'t>) {
        let (first, second) = self.text.split_once(separator).unwrap_or((self.text, ""));
        let before = self.before + first.chars().count() + 1;
        (Part { text: first, ..self }, Part { text: second, before })
    }

    fn error(self, reason: String, expected: &'static str) -> SettingsError {
        SettingsError {
            column: self.before + 1,
            reason,
            expected,
        }
    }

    fn address(self, expected: &'static str) -> Result<Ipv4Addr, SettingsError> {
        let parsed = self.text.parse();
        parsed.map_err(|_| self.error(format!("`{}` is not an IPv4 address", self.text), expected))
    }

    fn prefix(self) -> Result<Ipv4Prefix, SettingsError> {
        self.text
            .parse()
            .map_err(|error: crate::prefix::PrefixError| self.error(error.to_string(), EXPECTED_IP4))
    }

    fn masked(self, mask: Part<'_>) -> Result<Ipv4Prefix, SettingsError> {
        let address = self.address(EXPECTED_IP4)?;
        Ipv4Prefix::with_mask(address, mask.address(EXPECTED_IP4)?)
            .ok_or_else(|| mask.error(format!("`{}` is not a netmask", mask.text), EXPECTED_IP4))
    }

    fn link_name(self, expected: &'static str) -> Result<String, SettingsError> {
        let bad = self.text.is_empty() || self.text.len() > LONGEST_LINK_NAME || self.text.contains('/');
        if bad {
            return Err(self.error(format!("`{}` is not the name of a link", self.text), expected));
        }
        Ok(self.text.to_owned())
    }
}

fn words(line: &str) -> impl Iterator<Item = Part<'_>> {
    let whole = Part {
        text: line.trim_end_matches('\n'),
        before: 0,
    };
    whole.split(' ').filter(|word| !word.text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Settings {
        Settings::from_command_line(line).unwrap()
    }

    #[test]
    fn nothing_means_dhcp_anywhere() {
        assert_eq!(
            parse("console=ttyS0 quiet mos.channel=http://10.0.2.2:1/c\n"),
            Settings::default()
        );
    }

    #[test]
    fn both_ways_to_write_a_fixed_address() {
        let expected = Fixed {
            address: "10.0.0.5/24".parse().unwrap(),
            gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
        };
        for line in [
            "quiet mosip4=10.0.0.5/24,10.0.0.1,eth1",
            "mosip4=10.0.0.5,10.0.0.1,255.255.255.0,eth1",
            "mosip4=1.1.1.1/8 mosip4=10.0.0.5/24,10.0.0.1 moslink=eth1",
        ] {
            let settings = parse(line);
            assert_eq!(settings.fixed, Some(expected), "{line}");
            assert_eq!(settings.link.as_deref(), Some("eth1"), "{line}");
        }
        assert_eq!(parse("mosip4=10.0.0.5/24").fixed.unwrap().gateway, None);
        assert_eq!(parse("mosip4=10.0.0.5/24,,eth0").fixed.unwrap().gateway, None);
    }

    #[test]
    fn name_servers_are_kept() {
        let settings = parse("mosip4=10.0.0.5/24,10.0.0.1 mosdns=1.1.1.1,9.9.9.9");
        let configuration = settings.fixed_configuration().unwrap();
        assert_eq!(configuration.dns.len(), 2);
        assert_eq!(configuration.gateway(), Some(Ipv4Addr::new(10, 0, 0, 1)));
    }

    #[test]
    fn errors_say_what_where_and_what_instead() {
        for (line, column, reason) in [
            (
                "quiet mosip4=10.0.0.300/24,10.0.0.1",
                14,
                "`10.0.0.300/24` is not an IPv4 address with a prefix",
            ),
            ("mosip4=10.0.0.3/24,10.0.0", 20, "`10.0.0` is not an IPv4 address"),
            (
                "mosip4=10.0.0.3,10.0.0.1,255.0.255.0",
                26,
                "`255.0.255.0` is not a netmask",
            ),
            ("mosip4=10.0.0.3", 8, "the number of parts"),
            ("mosip4", 8, "the number of parts"),
            ("mosip4=10.0.0.3/24,10.0.0.1,eth0,eth1", 8, "the number of parts"),
            ("mosdns=1.1.1.1,x", 16, "`x` is not an IPv4 address"),
            ("moslink=a-name-that-is-too-long", 9, "is not the name of a link"),
        ] {
            let error = Settings::from_command_line(line).unwrap_err();
            assert_eq!(error.column, column, "{line}");
            assert!(error.reason.contains(reason), "{line}: {error}");
        }
        let error = Settings::from_command_line("mosip4=x").unwrap_err().to_string();
        assert_eq!(
            error,
            "kernel command line, character 8: the number of parts is wrong; \
             write mosip4=ADDRESS/PREFIX,GATEWAY[,LINK] or mosip4=ADDRESS,GATEWAY,MASK[,LINK]"
        );
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in "(mosip4=|mosdns=|moslink=|[0-9./,= é]){0,12}") {
            if let Err(error) = Settings::from_command_line(&line) {
                prop_assert!(error.column <= line.chars().count() + 2, "{}", error);
            }
        }
    }
}
