//! Portable Executable files, as far as a unified kernel image needs them: list sections, append sections, checksum
//! (Microsoft PE/COFF specification, revision 11).
//!
//! ```text
//! MZ … | PE\0\0 | COFF header 20 | optional header (PE32+) | section headers 40 each | room | section data …
//! ```

/// Where the DOS header says where the PE signature is.
const PE_OFFSET: usize = 0x3c;

/// Length of the COFF file header.
const COFF_LENGTH: usize = 20;

/// Where the COFF header has the place and the length of the symbol table.
const SYMBOL_TABLE: usize = 8;

/// Length of a section header.
const SECTION_LENGTH: usize = 40;

/// The optional header's first word when it has 64-bit addresses.
const PE32_PLUS: u16 = 0x20b;

/// Fields of the PE32+ optional header, from its beginning.
pub(crate) mod optional {
    pub(crate) const SIZE_OF_INITIALIZED_DATA: usize = 8;
    pub(crate) const SECTION_ALIGNMENT: usize = 32;
    pub(crate) const FILE_ALIGNMENT: usize = 36;
    pub(crate) const SIZE_OF_IMAGE: usize = 56;
    pub(crate) const SIZE_OF_HEADERS: usize = 60;
    pub(crate) const CHECKSUM: usize = 64;
    pub(crate) const DIRECTORY_COUNT: usize = 108;
    pub(crate) const SECURITY_DIRECTORY: usize = 112 + 4 * 8;
    /// The directory of signatures is the fifth.
    pub(crate) const SECURITY_INDEX: u32 = 4;
}

/// What linkers for arm64 fill gaps with: `nop`. The headers of systemd's stub end in such a gap.
const ARM64_NOP: [u8; 4] = 0xd503_201f_u32.to_le_bytes();

/// Initialised data that may be read.
const CHARACTERISTICS: u32 = 0x4000_0040;

/// UEFI maps whole pages: sections begin on one, whatever smaller alignment the stub has, as `ukify` lays them out.
const PAGE: u32 = 4096;

/// Why a PE file cannot be read or extended.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeError {
    /// Not a PE32+ file, or cut off.
    #[error("not a PE32+ file, or damaged: {0}")]
    Damaged(&'static str),
    /// The headers have no room.
    #[error("the stub has no room for the headers of {wanted} more sections, only for {room}; use the stub of systemd")]
    NoRoom {
        /// Sections that were to be added.
        wanted: usize,
        /// Sections that could be.
        room: usize,
    },
    /// A signature covers the file as it is.
    #[error("the stub is signed, and the signature would not fit the new file; use the unsigned stub")]
    Signed,
    /// For a processor that no node has.
    #[error("a program for a machine of kind {0:#06x}, which no node is")]
    Machine(u16),
    /// Over 4 GiB in all.
    #[error("section {0}: the file would exceed 4 GiB")]
    TooLarge(String),
    /// A section name over eight bytes, or one that is there already.
    #[error("section {0}: the name is longer than 8 bytes or already taken")]
    BadName(String),
}

/// A section as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Up to eight bytes: `.linux`.
    pub name: String,
    /// Where it is in memory, from the beginning of the image.
    pub address: u32,
    /// Bytes in memory; the content ends there when the file has more.
    pub size: u32,
    /// Where it is in the file.
    pub offset: u32,
    /// Bytes in the file, padding included.
    pub file_size: u32,
}

/// The headers of a sound file: every section's content is inside.
#[derive(Debug)]
pub(crate) struct Pe {
    /// The processor that it is for (COFF header, `Machine`).
    pub(crate) machine: u16,
    /// Where the optional header is.
    pub(crate) optional: usize,
    table: usize,
    pub(crate) sections: Vec<Section>,
    file_alignment: u32,
    section_alignment: u32,
}

impl Pe {
    /// Checks the headers.
    ///
    /// # Errors
    /// [`PeError::Damaged`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, PeError> {
        if !bytes.starts_with(b"MZ") {
            return Err(PeError::Damaged("no MZ signature"));
        }
        let pe = u32_at(bytes, PE_OFFSET)? as usize;
        let coff = add(pe, 4)?;
        if bytes.get(pe..coff) != Some(b"PE\0\0") {
            return Err(PeError::Damaged("no PE signature"));
        }
        let machine = u16_at(bytes, coff)?;
        let count = usize::from(u16_at(bytes, add(coff, 2)?)?);
        let optional = add(coff, COFF_LENGTH)?;
        let table = add(optional, usize::from(u16_at(bytes, coff + 16)?))?;
        if u16_at(bytes, optional)? != PE32_PLUS || table < optional + optional::SECURITY_DIRECTORY {
            return Err(PeError::Damaged("no PE32+ optional header"));
        }
        let sections = (0..count)
            .map(|index| section(bytes, add(table, index * SECTION_LENGTH)?))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            machine,
            optional,
            table,
            sections,
            file_alignment: alignment(u32_at(bytes, optional + optional::FILE_ALIGNMENT)?)?,
            section_alignment: alignment(u32_at(bytes, optional + optional::SECTION_ALIGNMENT)?)?,
        })
    }

    /// How many more section headers fit before the first section's content.
    fn room(&self, bytes: &[u8]) -> Result<usize, PeError> {
        let used = self.table + self.sections.len() * SECTION_LENGTH;
        let headers = u32_at(bytes, self.optional + optional::SIZE_OF_HEADERS)?;
        let first = self.sections.iter().filter(|section| section.file_size > 0);
        let end = first
            .map(|section| section.offset)
            .min()
            .unwrap_or(headers)
            .min(headers) as usize;
        let free = bytes.get(used..end).unwrap_or_default();
        let is_filling = |word: &&[u8]| **word == ARM64_NOP || word.iter().all(|byte| *byte == 0);
        let unused: usize = free
            .chunks(ARM64_NOP.len())
            .take_while(is_filling)
            .map(<[u8]>::len)
            .sum();
        Ok(unused / SECTION_LENGTH)
    }

    fn is_signed(&self, bytes: &[u8]) -> Result<bool, PeError> {
        let has = u32_at(bytes, self.optional + optional::DIRECTORY_COUNT)? > optional::SECURITY_INDEX;
        Ok(has && u32_at(bytes, self.optional + optional::SECURITY_DIRECTORY)? != 0)
    }

    /// Where the contents of headers and sections end in the file.
    fn content_end(&self) -> usize {
        let ends = self
            .sections
            .iter()
            .map(|section| section.offset as usize + section.file_size as usize);
        ends.fold(self.table + self.sections.len() * SECTION_LENGTH, usize::max)
    }

    /// The first address after all sections.
    fn end(&self) -> u64 {
        let ends = self
            .sections
            .iter()
            .map(|section| u64::from(section.address) + u64::from(section.size));
        ends.max().unwrap_or(0)
    }
}

/// Appends sections after the last, in this order, each on a page of its own; brings sizes and checksum up to date.
///
/// What followed the sections (symbols for debuggers) is dropped: as a gap between sections it would be signed by nobody.
///
/// # Errors
/// See [`PeError`].
pub(crate) fn append(stub: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>, PeError> {
    let mut pe = Pe::parse(stub)?;
    let room = pe.room(stub)?;
    if pe.is_signed(stub)? {
        return Err(PeError::Signed);
    }
    if room < sections.len() {
        return Err(PeError::NoRoom {
            wanted: sections.len(),
            room,
        });
    }
    let total: usize = sections.iter().map(|(_, content)| content.len() + PAGE as usize).sum();
    let mut output = Vec::with_capacity(stub.len() + total);
    output.extend_from_slice(stub.get(..pe.content_end()).unwrap_or(stub));
    put(&mut output, pe.optional - COFF_LENGTH + SYMBOL_TABLE, &[0; 8]);
    for (name, content) in sections {
        add_section(&mut pe, &mut output, name, content)?;
    }
    update_sizes(&pe, &mut output, sections)?;
    let checksum = checksum(&output, pe.optional + optional::CHECKSUM);
    put(&mut output, pe.optional + optional::CHECKSUM, &checksum.to_le_bytes());
    Ok(output)
}

/// The file without its last section, which must be the last of the file too.
///
/// # Errors
/// [`PeError::Signed`], or [`PeError::Damaged`] when there is no such section.
pub(crate) fn without_last(bytes: &[u8]) -> Result<Vec<u8>, PeError> {
    let mut pe = Pe::parse(bytes)?;
    if pe.is_signed(bytes)? {
        return Err(PeError::Signed);
    }
    let end = pe.content_end();
    let last = pe.sections.pop().ok_or(PeError::Damaged("it has no section"))?;
    if last.file_size == 0
        || last.offset as usize + last.file_size as usize != end
        || pe.content_end() > last.offset as usize
    {
        return Err(PeError::Damaged("the last section is not the last of the file"));
    }
    let mut output = bytes[..last.offset as usize].to_vec();
    let header = pe.table + pe.sections.len() * SECTION_LENGTH;
    put(&mut output, header, &[0; SECTION_LENGTH]);
    update_sizes(&pe, &mut output, &[])?;
    let at = pe.optional + optional::SIZE_OF_INITIALIZED_DATA;
    let data = u32_at(&output, at)?.wrapping_sub(last.file_size);
    put(&mut output, at, &data.to_le_bytes());
    // Padding before the section that was: `append` pads as it needs.
    output.truncate(pe.content_end());
    Ok(output)
}

fn add_section(pe: &mut Pe, output: &mut Vec<u8>, name: &str, content: &[u8]) -> Result<(), PeError> {
    if name.len() > 8 || pe.sections.iter().any(|section| section.name == name) {
        return Err(PeError::BadName(name.to_owned()));
    }
    let too_large = |_| PeError::TooLarge(name.to_owned());
    let file_alignment = u64::from(pe.file_alignment);
    let offset = (output.len() as u64).next_multiple_of(file_alignment);
    let file_size = (content.len() as u64).next_multiple_of(file_alignment);
    let address = pe.end().next_multiple_of(u64::from(pe.section_alignment.max(PAGE)));
    u32::try_from(offset + file_size).map_err(too_large)?;
    u32::try_from(address + file_size + u64::from(PAGE)).map_err(too_large)?;
    let section = Section {
        name: name.to_owned(),
        address: u32::try_from(address).map_err(too_large)?,
        size: u32::try_from(content.len()).map_err(too_large)?,
        offset: u32::try_from(offset).map_err(too_large)?,
        file_size: u32::try_from(file_size).map_err(too_large)?,
    };
    output.resize(section.offset as usize, 0);
    output.extend_from_slice(content);
    output.resize(section.offset as usize + section.file_size as usize, 0);
    let header = pe.table + pe.sections.len() * SECTION_LENGTH;
    put(output, header, &section_header(&section));
    pe.sections.push(section);
    Ok(())
}

fn section_header(section: &Section) -> [u8; SECTION_LENGTH] {
    let mut header = [0; SECTION_LENGTH];
    put(&mut header, 0, section.name.as_bytes());
    put(&mut header, 8, &section.size.to_le_bytes());
    put(&mut header, 12, &section.address.to_le_bytes());
    put(&mut header, 16, &section.file_size.to_le_bytes());
    put(&mut header, 20, &section.offset.to_le_bytes());
    put(&mut header, 36, &CHARACTERISTICS.to_le_bytes());
    header
}

fn update_sizes(pe: &Pe, output: &mut [u8], added: &[(&str, &[u8])]) -> Result<(), PeError> {
    let count = u16::try_from(pe.sections.len()).map_err(|_| PeError::Damaged("too many sections"))?;
    put(output, pe.optional - COFF_LENGTH + 2, &count.to_le_bytes());
    let image = pe.end().next_multiple_of(u64::from(pe.section_alignment));
    let image = u32::try_from(image).map_err(|_| PeError::TooLarge("at the end".to_owned()))?;
    put(output, pe.optional + optional::SIZE_OF_IMAGE, &image.to_le_bytes());
    let at = pe.optional + optional::SIZE_OF_INITIALIZED_DATA;
    let last = &pe.sections[pe.sections.len() - added.len()..];
    let data = last
        .iter()
        .fold(u32_at(output, at)?, |sum, section| sum.wrapping_add(section.file_size));
    put(output, at, &data.to_le_bytes());
    Ok(())
}

/// The checksum of an image: the ones' complement sum of its 16-bit words, without the checksum itself, plus its
/// length (`CheckSumMappedFile` of Windows). Firmware ignores it; tools compare it.
pub(crate) fn checksum(bytes: &[u8], field: usize) -> u32 {
    let mut sum: u32 = 0;
    for (index, word) in bytes.chunks(2).enumerate() {
        if (field..field + 4).contains(&(index * 2)) {
            continue;
        }
        sum += u32::from(u16::from_le_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum.wrapping_add(bytes.len() as u32)
}

fn section(bytes: &[u8], at: usize) -> Result<Section, PeError> {
    let header = bytes
        .get(at..add(at, SECTION_LENGTH)?)
        .ok_or(PeError::Damaged("the section table is cut off"))?;
    let name = header[..8].split(|byte| *byte == 0).next().unwrap_or_default();
    let section = Section {
        name: String::from_utf8_lossy(name).into_owned(),
        size: u32_at(header, 8)?,
        address: u32_at(header, 12)?,
        file_size: u32_at(header, 16)?,
        offset: u32_at(header, 20)?,
    };
    let end = u64::from(section.offset) + u64::from(section.file_size);
    if section.file_size > 0 && end > bytes.len() as u64 {
        return Err(PeError::Damaged("a section lies outside of the file"));
    }
    Ok(section)
}

fn alignment(value: u32) -> Result<u32, PeError> {
    if value.is_power_of_two() && value <= 1 << 20 {
        Ok(value)
    } else {
        Err(PeError::Damaged("an alignment is not a power of two"))
    }
}

fn add(a: usize, b: usize) -> Result<usize, PeError> {
    a.checked_add(b).ok_or(PeError::Damaged("an offset is too large"))
}

/// Overwrites bytes that are known to be there.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, PeError> {
    let word = bytes
        .get(at..add(at, 4)?)
        .ok_or(PeError::Damaged("the headers are cut off"))?;
    Ok(u32::from_le_bytes(
        word.try_into().expect("a slice of four bytes was taken"),
    ))
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, PeError> {
    let word = bytes
        .get(at..add(at, 2)?)
        .ok_or(PeError::Damaged("the headers are cut off"))?;
    Ok(u16::from_le_bytes(
        word.try_into().expect("a slice of two bytes was taken"),
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use mos_architecture::Architecture;
    use proptest::prelude::*;

    /// The smallest PE32+ file with one section `.text` of 512 bytes.
    pub(crate) fn stub() -> Vec<u8> {
        stub_for(Architecture::X86_64)
    }

    pub(crate) fn stub_for(architecture: Architecture) -> Vec<u8> {
        let mut bytes = vec![0; 0x400 + 0x200];
        let (coff, opt) = (0x84, 0x98);
        put(&mut bytes, 0, b"MZ");
        put(&mut bytes, PE_OFFSET, &0x80u32.to_le_bytes());
        put(&mut bytes, 0x80, b"PE\0\0\0\0\x01\0");
        put(&mut bytes, 0x84, &architecture.pe_machine().to_le_bytes());
        put(&mut bytes, coff + 16, &240u16.to_le_bytes());
        put(&mut bytes, opt, &PE32_PLUS.to_le_bytes());
        for (field, value) in [
            (optional::SECTION_ALIGNMENT, 0x200u32),
            (optional::FILE_ALIGNMENT, 0x200),
            (optional::SIZE_OF_HEADERS, 0x400),
            (optional::DIRECTORY_COUNT, 16),
        ] {
            put(&mut bytes, opt + field, &value.to_le_bytes());
        }
        let text = Section {
            name: ".text".to_owned(),
            address: 0x1000,
            size: 0x1ff,
            offset: 0x400,
            file_size: 0x200,
        };
        put(&mut bytes, opt + 240, &section_header(&text));
        bytes
    }

    #[test]
    fn sections_are_appended_on_pages_of_their_own() {
        let output = append(&stub(), &[(".a", b"first"), (".b", &[7; 5000])]).unwrap();
        let pe = Pe::parse(&output).unwrap();
        let places: Vec<_> = pe
            .sections
            .iter()
            .map(|s| (s.address, s.size, s.offset, s.file_size))
            .collect();
        assert_eq!(
            places,
            [
                (0x1000, 0x1ff, 0x400, 0x200),
                (0x2000, 5, 0x600, 0x200),
                (0x3000, 5000, 0x800, 0x1400)
            ]
        );
        assert_eq!(u32_at(&output, pe.optional + optional::SIZE_OF_IMAGE), Ok(0x4400));
        assert_eq!(&output[0x600..0x605], b"first");
        assert_eq!(output.len(), 0x800 + 0x1400);
    }

    #[test]
    fn what_cannot_be_appended_is_refused() {
        let many: Vec<(String, &[u8])> = (0..20).map(|n| (format!(".{n}"), b"".as_slice())).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
        assert_eq!(append(&stub(), &many), Err(PeError::NoRoom { wanted: 20, room: 14 }));
        assert_eq!(
            append(&stub(), &[(".text", b"")]),
            Err(PeError::BadName(".text".to_owned()))
        );
        let mut signed = stub();
        put(&mut signed, 0x98 + optional::SECURITY_DIRECTORY, &[1]);
        assert_eq!(append(&signed, &[]), Err(PeError::Signed));
    }

    proptest! {
        #[test]
        fn damage_never_panics(position in 0..0x200usize, value: u8, length in 0..0x600usize) {
            let mut bytes = stub();
            bytes[position] = value;
            let _ = append(&bytes, &[(".a", b"x")]);
            let _ = Pe::parse(&bytes[..length]);
        }
    }
}
