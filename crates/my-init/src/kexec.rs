//! `my_init kexec`: another kernel in place of this one, without the firmware in between.
//!
//! The kernel is loaded here, by whoever asks for it; PID 1 then takes the machine down as always, and starts what is
//! loaded at the very end.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

/// The longest command line that is taken from an image, in bytes: more than any kernel reads.
const COMMAND_LINE_MAX: u32 = 64 * 1024;
/// A PE file has no more sections than this one may have (Microsoft PE format: the loader's limit is 96).
const SECTIONS_MAX: u16 = 96;
/// A section header in bytes, and a PE signature with the COFF header.
const SECTION: usize = 40;
const COFF: usize = 24;

/// What is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// A kernel (bzImage), or a whole image as `mos image build` makes it, whose parts are then used.
    pub kernel: PathBuf,
    /// Its initial file system, in place of the image's.
    pub initrd: Option<PathBuf>,
    /// Its command line, in place of the image's or, without one, of the running kernel's.
    pub append: Option<String>,
}

/// Loads it.
///
/// # Errors
/// A sentence that names the file.
pub fn load(request: &Request) -> Result<(), String> {
    let told = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let named = |error| told(&request.kernel, error);
    let mut file = File::open(&request.kernel).map_err(named)?;
    let sections = sections(&mut file).map_err(named)?;
    let part = |name: &str| sections.iter().find(|section| section.name() == name);
    let copied = |name: &str, file: &mut File| part(name).map(|section| section.copy(file)).transpose();
    let inner = copied(".linux", &mut file).map_err(named)?;
    let own_initrd = match &request.initrd {
        Some(path) => Some(OwnedFd::from(File::open(path).map_err(|error| told(path, error))?)),
        None => copied(".initrd", &mut file).map_err(named)?,
    };
    let own_line = match part(".cmdline").filter(|section| section.size <= COMMAND_LINE_MAX) {
        Some(section) => Some(section.text(&mut file).map_err(named)?),
        None => None,
    };
    let line = request.append.clone().or(own_line).unwrap_or_else(running);
    let line = CString::new(line.trim()).map_err(|_| "the command line holds a zero byte".to_owned())?;
    let kernel = inner.as_ref().map_or(file.as_fd(), |inner| inner.as_fd());
    let initrd = own_initrd.as_ref().map(|initrd| initrd.as_fd());
    mos_sys::kexec::load(kernel, initrd, &line).map_err(named)
}

fn running() -> String {
    crate::lossy::read("/proc/cmdline").unwrap_or_default()
}

/// A section of a PE file: where it is in the file.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    name: [u8; 8],
    offset: u32,
    size: u32,
}

impl Section {
    fn name(&self) -> &str {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        std::str::from_utf8(&self.name[..end]).unwrap_or_default()
    }

    fn reader<'f>(&self, file: &'f mut File) -> io::Result<io::Take<&'f mut File>> {
        file.seek(SeekFrom::Start(u64::from(self.offset)))?;
        Ok(file.take(u64::from(self.size)))
    }

    fn copy(&self, file: &mut File) -> io::Result<OwnedFd> {
        let mut copy = File::from(memfd_create("kexec", MemfdFlags::CLOEXEC)?);
        let length = io::copy(&mut self.reader(file)?, &mut copy)?;
        copy.flush()?;
        match length == u64::from(self.size) {
            true => Ok(copy.into()),
            false => Err(io::Error::other(format!("its section {} is cut off", self.name()))),
        }
    }

    fn text(&self, file: &mut File) -> io::Result<String> {
        let mut text = String::new();
        self.reader(file)?.read_to_string(&mut text)?;
        Ok(text.trim_end_matches(['\0', '\n']).to_owned())
    }
}

/// The sections of a PE file; none of a file that is none.
fn sections(file: &mut File) -> io::Result<Vec<Section>> {
    let mut head = [0; 64];
    if read_up_to(file, &mut head)? < head.len() || head[..2] != *b"MZ" {
        return Ok(Vec::new());
    }
    let place = u64::from(number(&head, 0x3C));
    let mut coff = [0; COFF];
    file.seek(SeekFrom::Start(place))?;
    if read_up_to(file, &mut coff)? < COFF || coff[..4] != *b"PE\0\0" {
        return Ok(Vec::new());
    }
    let short = |at: usize| u16::from_le_bytes([coff[at], coff[at + 1]]);
    let (count, optional) = (short(6).min(SECTIONS_MAX), short(20));
    file.seek(SeekFrom::Start(place + COFF as u64 + u64::from(optional)))?;
    let mut table = vec![0; usize::from(count) * SECTION];
    file.read_exact(&mut table)?;
    Ok(table.chunks_exact(SECTION).map(section).collect())
}

/// A section's content may be padded on disk, and shorter there than in memory.
fn section(header: &[u8]) -> Section {
    let mut name = [0; 8];
    name.copy_from_slice(&header[..8]);
    Section {
        name,
        offset: number(header, 20),
        size: number(header, 8).min(number(header, 16)),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    /// As small a PE file with sections as there can be.
    fn image(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"MZ".to_vec();
        bytes.resize(64, 0);
        bytes[0x3C] = 64;
        bytes.extend(b"PE\0\0");
        bytes.extend([0; 20]);
        bytes[64 + 6] = u8::try_from(parts.len()).unwrap();
        let mut offset = bytes.len() + parts.len() * SECTION;
        for (name, content) in parts {
            let mut header = [0; SECTION];
            header[..name.len()].copy_from_slice(name.as_bytes());
            let length = u32::try_from(content.len()).unwrap().to_le_bytes();
            header[8..12].copy_from_slice(&length);
            header[16..20].copy_from_slice(&length);
            header[20..24].copy_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
            bytes.extend(header);
            offset += content.len();
        }
        parts.iter().for_each(|(_, content)| bytes.extend(*content));
        bytes
    }

    #[test]
    fn the_parts_of_an_image_are_found() {
        let mut file = file(&image(&[(".linux", b"kernel"), (".cmdline", b"quiet a=b\n\0")]));
        let sections = sections(&mut file).unwrap();
        assert_eq!(
            sections.iter().map(Section::name).collect::<Vec<_>>(),
            [".linux", ".cmdline"]
        );
        assert_eq!(sections[1].text(&mut file).unwrap(), "quiet a=b");
        let mut copy = File::from(sections[0].copy(&mut file).unwrap());
        copy.rewind().unwrap();
        assert_eq!(io::read_to_string(copy).unwrap(), "kernel");
    }

    #[test]
    fn a_cut_image_is_refused_and_other_files_have_no_parts() {
        let bytes = image(&[(".linux", b"kernel")]);
        let mut cut = file(&bytes[..bytes.len() - 1]);
        let found = sections(&mut cut).unwrap();
        let error = found[0].copy(&mut cut).unwrap_err();
        assert_eq!(error.to_string(), "its section .linux is cut off");
        assert_eq!(sections(&mut file(b"#!/bin/sh\n")).unwrap(), []);
        let request = Request {
            kernel: "/no/such/kernel".into(),
            initrd: None,
            append: None,
        };
        assert!(load(&request).unwrap_err().starts_with("/no/such/kernel: "));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes;
            if bytes.len() > 64 {
                bytes[..2].copy_from_slice(b"MZ");
            }
            if let Ok(found) = sections(&mut file(&bytes)) {
                prop_assert!(found.len() <= usize::from(SECTIONS_MAX));
            }
        }
    }
}
