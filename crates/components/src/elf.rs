//! Whether a program is static: it then runs on a node that has no libraries.
//!
//! Reads the program headers of a 64-bit little-endian ELF file (System V ABI, "Program Loading"; elf(5)).

use mos_architecture::Architecture;

/// Why a program does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// No program, or one for another kind of machine.
    #[error("this is not a 64-bit little-endian ELF program")]
    NotElf,
    /// An offset or a length points outside of the file.
    #[error("the ELF file is damaged: {0} lies outside of it")]
    Damaged(&'static str),
    /// Made for another machine than the image.
    #[error("the program is for {}, and the image for {wanted}", .found.map_or("another machine", Architecture::name))]
    Machine {
        /// What it is for; `None` for what no node is.
        found: Option<Architecture>,
        /// What nodes are.
        wanted: Architecture,
    },
    /// It asks for a dynamic loader.
    #[error(
        "the program is not static: it needs the loader {0}\n  hint: a dependency links to a shared library; look for a \
         feature that builds it in (`vendored`, `bundled`, `static`)"
    )]
    Interpreter(String),
    /// It asks for shared libraries.
    #[error("the program is not static: it needs {0} shared libraries")]
    Needed(usize),
}

const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
/// Where the header says what machine it is for.
const E_MACHINE: usize = 18;
/// Where the header says where the program headers are, how long one is, and how many there are.
const E_PHOFF: usize = 32;
const E_PHENTSIZE: usize = 54;
const E_PHNUM: usize = 56;
/// Fields of a program header.
const P_OFFSET: usize = 8;
const P_FILESZ: usize = 32;
const PROGRAM_HEADER: usize = 56;
/// An entry of the dynamic section: tag and value.
const DYNAMIC_ENTRY: usize = 16;

/// Checks that a program needs neither a loader nor shared libraries.
///
/// # Errors
/// [`ElfError`].
pub fn check_static(file: &[u8]) -> Result<(), ElfError> {
    if !file.starts_with(MAGIC) {
        return Err(ElfError::NotElf);
    }
    for header in program_headers(file)? {
        let kind = u32_at(header, 0).ok_or(ElfError::Damaged("a program header"))?;
        match kind {
            PT_INTERP => {
                let name = segment(file, header)?;
                let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
                return Err(ElfError::Interpreter(name));
            }
            PT_DYNAMIC => match needed(segment(file, header)?) {
                0 => {}
                count => return Err(ElfError::Needed(count)),
            },
            _ => {}
        }
    }
    Ok(())
}

/// Checks that a program is for nodes of an architecture.
///
/// # Errors
/// [`ElfError::NotElf`], [`ElfError::Machine`].
pub fn check_machine(file: &[u8], wanted: Architecture) -> Result<(), ElfError> {
    let machine = u16_at(file, E_MACHINE).filter(|_| file.starts_with(MAGIC));
    match Architecture::of_elf(machine.ok_or(ElfError::NotElf)?) {
        Some(found) if found == wanted => Ok(()),
        found => Err(ElfError::Machine { found, wanted }),
    }
}

fn program_headers(file: &[u8]) -> Result<impl Iterator<Item = &[u8]>, ElfError> {
    let damaged = ElfError::Damaged("the table of program headers");
    let header = || {
        let start = usize::try_from(u64_at(file, E_PHOFF)?).ok()?;
        let size = usize::from(u16_at(file, E_PHENTSIZE)?);
        let count = usize::from(u16_at(file, E_PHNUM)?);
        let end = start.checked_add(size.checked_mul(count)?)?;
        (size >= PROGRAM_HEADER).then_some((file.get(start..end)?, size))
    };
    let (table, size) = header().ok_or(damaged)?;
    Ok(table.chunks_exact(size))
}

fn segment<'f>(file: &'f [u8], header: &[u8]) -> Result<&'f [u8], ElfError> {
    let range = || {
        let start = usize::try_from(u64_at(header, P_OFFSET)?).ok()?;
        let length = usize::try_from(u64_at(header, P_FILESZ)?).ok()?;
        file.get(start..start.checked_add(length)?)
    };
    range().ok_or(ElfError::Damaged("a segment"))
}

fn needed(dynamic: &[u8]) -> usize {
    let tags = dynamic.chunks_exact(DYNAMIC_ENTRY).filter_map(|entry| u64_at(entry, 0));
    tags.take_while(|tag| *tag != DT_NULL)
        .filter(|tag| *tag == DT_NEEDED)
        .count()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_dynamic() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = check_static(&program).unwrap_err().to_string();
        assert!(
            error.starts_with("the program is not static: it needs the loader /lib"),
            "{error}"
        );
    }

    #[test]
    fn this_test_is_for_this_machine() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check_machine(&program, Architecture::HOST), Ok(()));
        let other = Architecture::HOST.other();
        let error = check_machine(&program, other).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("the program is for {}, and the image for {other}", Architecture::HOST)
        );
        assert_eq!(check_machine(b"#!/bin/sh\n", other), Err(ElfError::NotElf));
        assert_eq!(check_machine(&program[..19], other), Err(ElfError::NotElf));
    }

    #[test]
    fn other_files_and_cut_ones_are_refused() {
        assert_eq!(check_static(b"#!/bin/sh\n"), Err(ElfError::NotElf));
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in 0..600 {
            assert!(check_static(&program[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn wild_offsets_do_not_panic() {
        let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        program.truncate(4096);
        for offset in E_PHOFF..512 {
            let mut damaged = program.clone();
            damaged[offset] = 0xff;
            // Any answer will do, as long as there is one.
            let _ = check_static(&damaged);
        }
        program[E_PHOFF..E_PHOFF + 8].fill(0xff);
        assert_eq!(
            check_static(&program),
            Err(ElfError::Damaged("the table of program headers"))
        );
    }
}
