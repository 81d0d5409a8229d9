//! Finds one section of an ELF object file (System V ABI, 64-bit little-endian, which all our architectures are).

/// `\x7fELF`, 64-bit, little-endian.
const IDENT: &[u8] = b"\x7fELF\x02\x01";

/// Where the file header says: offset of the section headers, size of one, how many, which has the names.
const SECTION_HEADERS: usize = 0x28;
const SECTION_HEADER_SIZE: usize = 0x3a;
const SECTION_COUNT: usize = 0x3c;
const NAME_SECTION: usize = 0x3e;

/// Length of a 64-bit section header.
const HEADER_LENGTH: usize = 64;
/// Length of a 64-bit symbol; its first four bytes say where its name is.
const SYMBOL_LENGTH: usize = 24;
/// Where a symbol says which section it is in; 0 for one of another file.
const SYMBOL_SECTION: usize = 6;
/// How the names of sections of string literals begin.
const LITERALS: &[u8] = b".rodata.str";

/// The bytes of a section.
///
/// # Errors
/// What is wrong with the file; `None` when it is sound but has no such section.
pub(crate) fn section<'b>(bytes: &'b [u8], name: &[u8]) -> Result<Option<&'b [u8]>, &'static str> {
    if !bytes.starts_with(IDENT) {
        return Err("not a 64-bit little-endian ELF file");
    }
    sections(bytes, name).ok_or("damaged section headers")
}

/// `None` when a header points outside of the file.
fn sections<'b>(bytes: &'b [u8], wanted: &[u8]) -> Option<Option<&'b [u8]>> {
    for (name, header) in headers(bytes)? {
        if name? == wanted {
            return Some(Some(content(bytes, header)?));
        }
    }
    Some(None)
}

/// The name of each section, where it has a sound one, and its header.
fn headers(bytes: &[u8]) -> Option<impl Iterator<Item = (Option<&[u8]>, &[u8])>> {
    let table = usize::try_from(u64_at(bytes, SECTION_HEADERS)?).ok()?;
    if u16_at(bytes, SECTION_HEADER_SIZE)? != HEADER_LENGTH {
        return None;
    }
    let all = bytes
        .get(table..)?
        .get(..u16_at(bytes, SECTION_COUNT)? * HEADER_LENGTH)?;
    let header = |index: usize| all.get(index * HEADER_LENGTH..(index + 1) * HEADER_LENGTH);
    let names = content(bytes, header(u16_at(bytes, NAME_SECTION)?)?)?;
    let name = |header: &[u8]| {
        let name = names.get(usize::try_from(u32_at(header, 0)?).ok()?..)?;
        name.split(|byte| *byte == 0).next()
    };
    Some(
        all.chunks_exact(HEADER_LENGTH)
            .map(move |header| (name(header), header)),
    )
}

/// The names of all symbols of the object file, without those that are damaged; nothing when it has been stripped of them.
pub(crate) fn symbols(bytes: &[u8]) -> impl Iterator<Item = &str> {
    symbol_table(bytes).filter_map(|(name, _)| name)
}

/// The names of the symbols that the object file takes from others.
pub(crate) fn imports(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let undefined = |symbol: &[u8]| u16_at(symbol, SYMBOL_SECTION) == Some(0);
    symbol_table(bytes).filter_map(move |(name, symbol)| name.filter(|_| undefined(symbol)))
}

fn symbol_table(bytes: &[u8]) -> impl Iterator<Item = (Option<&str>, &[u8])> {
    let part = |name| section(bytes, name).ok().flatten().unwrap_or_default();
    let (table, names) = (part(b".symtab"), part(b".strtab"));
    let name = |symbol: &[u8]| {
        let name = names.get(usize::try_from(u32_at(symbol, 0)?).ok()?..)?;
        let name = name.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
    };
    table
        .chunks_exact(SYMBOL_LENGTH)
        .map(move |symbol| (name(symbol), symbol))
}

/// The string literals of a C program: the strings of its sections `.rodata.str*`.
pub(crate) fn literals(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let found = headers(bytes).into_iter().flatten();
    let strings = found.filter(|(name, _)| name.is_some_and(|name| name.starts_with(LITERALS)));
    strings
        .filter_map(|(_, header)| content(bytes, header))
        .flat_map(|section| section.split(|byte| *byte == 0))
        .filter_map(|text| std::str::from_utf8(text).ok())
}

fn content<'b>(bytes: &'b [u8], header: &[u8]) -> Option<&'b [u8]> {
    let offset = usize::try_from(u64_at(header, 0x18)?).ok()?;
    let length = usize::try_from(u64_at(header, 0x20)?).ok()?;
    bytes.get(offset..offset.checked_add(length)?)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(
        bytes.get(offset..offset + 2)?.try_into().ok()?,
    )))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An object file with a `.modinfo` section of these strings.
    pub(crate) fn object(strings: &[&str]) -> Vec<u8> {
        let modinfo: Vec<u8> = strings
            .iter()
            .flat_map(|text| [text.as_bytes(), &[0]].concat())
            .collect();
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut bytes = vec![0; HEADER_LENGTH];
        bytes[..IDENT.len()].copy_from_slice(IDENT);
        bytes.extend_from_slice(&modinfo);
        bytes.extend_from_slice(names);
        let table = bytes.len() as u64;
        let starts = [
            (0, 0, 0),
            (1, HEADER_LENGTH, modinfo.len()),
            (10, HEADER_LENGTH + modinfo.len(), names.len()),
        ];
        for (name, offset, length) in starts {
            let mut header = [0; HEADER_LENGTH];
            header[..4].copy_from_slice(&(name as u32).to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
            bytes.extend_from_slice(&header);
        }
        bytes[SECTION_HEADERS..SECTION_HEADERS + 8].copy_from_slice(&table.to_le_bytes());
        bytes[SECTION_HEADER_SIZE] = 64;
        bytes[SECTION_COUNT] = 3;
        bytes[NAME_SECTION] = 2;
        bytes
    }

    #[test]
    fn finds_the_section_and_tells_absent_from_damaged() {
        let bytes = object(&["license=GPL"]);
        assert_eq!(section(&bytes, b".modinfo"), Ok(Some(b"license=GPL\0".as_slice())));
        assert_eq!(section(&bytes, b".text"), Ok(None));
        assert!(section(&bytes[..bytes.len() - 30], b".text").is_err());
        assert!(section(b"#!/bin/sh", b".text").is_err());
    }

    proptest! {
        #[test]
        fn damage_never_panics(position in 0..400usize, value: u8, length in 0..400usize) {
            let mut bytes = object(&["license=GPL", "depends=a,b"]);
            let position = position % bytes.len();
            bytes[position] = value;
            let _ = section(&bytes, b".modinfo");
            let _ = section(&bytes[..length.min(bytes.len())], b".none");
            let _ = symbols(&bytes).chain(imports(&bytes)).chain(literals(&bytes)).count();
        }
    }
}
