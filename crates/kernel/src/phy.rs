//! Which PHY drivers a network driver wants, when it names none.
//!
//! A PHY is found by the id that it answers with, and a driver that is absent is no error: the generic one takes its place,
//! without what is peculiar to it. So this is about likelihood, and a card is not a board:
//!
//! * The driver is for **cards** (it has `pci:` or `usb:` aliases). Who made the card chose the PHY. A maker that makes PHYs
//!   itself takes its own: the PHY drivers that bear a name which occurs in the driver's path, description or authors
//!   (`broadcom` for `net/ethernet/broadcom/tg3`, `microchip` for an author at microchip.com).
//! * Anything else, and a card whose maker has no PHY driver: any PHY driver.

use std::collections::BTreeSet;

use crate::elf;
use crate::facts::Facts;

/// The class of the aliases of PHY drivers (`include/linux/mod_devicetable.h`).
const PHY_CLASS: &str = "mdio";
/// The classes of what is plugged in.
const CARDS: [&str; 2] = ["pci:", "usb:"];
/// A name of fewer letters is no maker's: `dp` of `dp83640`.
const MAKER_MIN: usize = 3;
/// The strings of a module that name its maker.
const MAKER_KEYS: [&str; 2] = ["description=", "author="];

/// The words by which the maker of a module may be known, in small letters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Makers(BTreeSet<String>);

impl Makers {
    /// From a plain module.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let section = elf::section(bytes, b".modinfo").ok().flatten().unwrap_or_default();
        let mut makers = Self::default();
        for text in section.split(|byte| *byte == 0).map(String::from_utf8_lossy) {
            if let Some(text) = MAKER_KEYS.iter().find_map(|key| text.strip_prefix(key)) {
                makers.add(text);
            }
        }
        makers
    }

    fn add(&mut self, text: &str) {
        self.0.extend(words(text));
    }
}

/// A PHY driver that is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'f> {
    pub(crate) driver: &'f str,
    /// Whose it is, and the network driver is; `None` when it may be anybody's.
    pub(crate) maker: Option<String>,
}

/// The PHY drivers that a network driver wants; none when its soft dependencies name some.
pub(crate) fn drivers<'f>(name: &str, makers: &Makers, facts: &'f Facts) -> Vec<Wanted<'f>> {
    let all = facts.of_class(PHY_CLASS);
    let Some((_, fact)) = facts.get(name) else {
        return Vec::new();
    };
    let named = |soft: &String| all.contains(&crate::lists::normal(soft).as_str());
    if fact.info.before.iter().any(named) {
        return Vec::new();
    }
    let card = |alias: &String| CARDS.iter().any(|class| alias.starts_with(class));
    if fact.info.aliases.iter().any(card) {
        let path: BTreeSet<String> = words(&fact.path).collect();
        let own = |driver: &&'f str| {
            let maker = maker(driver)?;
            let known = path.union(&makers.0).any(|word| word.starts_with(&maker));
            known.then_some(Wanted {
                driver,
                maker: Some(maker),
            })
        };
        let own: Vec<Wanted<'_>> = all.iter().filter_map(own).collect();
        if !own.is_empty() {
            return own;
        }
    }
    let any = |driver| Wanted { driver, maker: None };
    all.into_iter().map(any).collect()
}

/// The letters that the name of a PHY driver begins with: `marvell` of `marvell10g`, `microchip` of `microchip_t1`.
fn maker(driver: &str) -> Option<String> {
    let letters = driver.chars().take_while(char::is_ascii_alphabetic);
    let maker: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    (maker.len() >= MAKER_MIN).then_some(maker)
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    words
        .filter(|word| word.len() >= MAKER_MIN)
        .map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::object;
    use crate::facts::tests::facts;

    fn wanted(path: &str, entries: &[&str], module: &[&str]) -> Vec<(String, Option<String>)> {
        let phy = ["alias=mdio:0001????"];
        let facts = facts(&[
            ("kernel/drivers/net/phy/broadcom.ko", &phy),
            ("kernel/drivers/net/phy/dp83640.ko", &phy),
            ("kernel/drivers/net/phy/microchip-t1.ko", &phy),
            (path, entries),
        ]);
        let name = crate::lists::module_name(path).unwrap();
        let found = drivers(&name, &Makers::of(&object(module)), &facts);
        found
            .into_iter()
            .map(|wanted| (wanted.driver.to_owned(), wanted.maker))
            .collect()
    }

    #[test]
    fn a_card_has_a_phy_of_its_maker_and_a_board_any() {
        let only = |driver: &str, maker: &str| vec![(driver.to_owned(), Some(maker.to_owned()))];
        let any = ["broadcom", "dp83640", "microchip_t1"].map(|driver| (driver.to_owned(), None));
        let pci = ["alias=pci:v000014E4*"];
        let tg3 = "kernel/drivers/net/ethernet/broadcom/tg3.ko";
        assert_eq!(wanted(tg3, &pci, &[]), only("broadcom", "broadcom"));
        let author = ["author=W. Huh <woojung.huh@microchip.com>"];
        let lan = "kernel/drivers/net/usb/lan78xx.ko";
        assert_eq!(
            wanted(lan, &["alias=usb:v*"], &author),
            only("microchip_t1", "microchip")
        );
        // Its maker has none; it is soldered to a board; it says itself which.
        assert_eq!(wanted("kernel/r6040.ko", &pci, &["description=RDC"]), any);
        assert_eq!(wanted(tg3, &["alias=of:N*"], &[]), any);
        assert!(wanted(tg3, &["alias=pci:v*", "softdep=pre: microchip-t1"], &[]).is_empty());
        assert!(wanted("kernel/x.ko", &pci, &["author=DP"]) == any);
    }
}
