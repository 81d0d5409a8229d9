//! Alpine packages and repositories of tests: real ones of format 2, signed, sound or broken on purpose.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use num_bigint::BigUint;
use ring::digest;
use tar::EntryType;

// Two keys of 2048 bits, made for these tests: modulus and private exponent.
const FIRST_N: &str = "\
    b1287b12881179b55c52183a8532ffc5e92c66baa89bd79176ad64ae13733f61686778b8020eb044fc895fff8d3bff6c8eea\
    a086cd74423f9c45c58dc0cd72e17f9dd1a7cc5e7d451cb40f73212f4aae2908f172727fbb47ce6547dd76d8afea84b8105e\
    7c23381818343613f393eecc390918462c4401ac991fdb7c6f7b989b286e651c9fe631ce4129f220d9237e58be4b20d5f6b1\
    8c12a99c604f07b495552bfd3c16f5e0b549121ca91c6b9e31193be035a9ae08b028f8550698b50454a5d6971482e4942345\
    aa725f4f08edf35e13b3add79e21f1f6ad90075e4c7ebca8bddef09991d51d6cda427fe90daba4de84909f5d7f0eff10799f\
    68cca65fb80d";
const FIRST_D: &str = "\
    3c5f6d41ad79371ee52d5cf0648032c601668e43c23e09c29acd10687a5c66170dfb651a60291d4d053ad3aa4539531c6dbf\
    eba0c4d77fd429af65599f80e44b90aff9c8d34ec8260b581983c4a5572feef00b485358d03bf24c75a7355f36e417029b21\
    77f090a73568659d7afec8fc73db739846718e98813e681009f5f6d52697b6d81e21a52a1d7a12804d1c7f87e7d64d9bf4e5\
    9b764c0c4b7960f0249d9cd0588614eba2324b15b1ccc21661b2507bdcbc3389fb67e81a8b3f116369792e29e4e76fb04c1e\
    4102d5fad0af96473952f96958b7b5d4faa009ce9fd4f61e1d7c55a22b14ecdd3475560cad7ccd26affc6ed144246323f3e1\
    ef986d269d09";
const SECOND_N: &str = "\
    c9ecd508324792679f86e970a3942a889548dd7842952a90bc58ec5953fab9380876c76eaf856d0ce2efd741c972db2e0733\
    5634805f61872f117546eeff7a5dd98cf2a48fbafdd2a2b0fbee0fa34cbc88865d1d71b8f41737b308ad19b2cea61ac0deae\
    1478536c0cb2922f66b47a2fb3e5243057c6617b4dd4717ed773df852bea8370397f414eb49f3472a672688af7f4c380e7cf\
    7bff9efa46e8f0e1d9db1c21c86e530febbdf479785736da4a21c9f415571a33180fb73ac0c44396659a737a06c8d3f1f574\
    2e30d35ea7ed7320279f4c4e56371947da396f56893ed4a6029553a34522f900f74ac9612f08a7e38f399e3804d226a02a23\
    8c4011a0b683";
const SECOND_D: &str = "\
    12067f448fb5cde9a181af486bd727d8db780eb5293f1c4bf6a9a57cefe9e62b8cade06db963701c5761d1006c15970aa12a\
    970671733cf1e40f6b3db2cb6c46abcb50ef19c437dbb16eefd3b78cfca653e052b849d4ede2935ea5bbf61afd26dccfdcd1\
    0368c90c508731aa38ebe1806d4f063a53e0ea06277e25c78c94d3c8c1e87b2f153fe5ffa910c7dff8cebb6a07f79bc618ef\
    bcc68f6ddde0613122d5ca17286dc55185ebb848545555e2bc0d678931aaf8bea73065c09658171d98985915249c5dc3252f\
    ad41c88ca6d75e400f8ea5a8ce16fcf23dca50ce7f1245a0e2a647ab5c7f29393c9b22108dd9e259460be67f38dcb34fb75a\
    df91d0d5c509";

/// Bytes of a signature with such a key.
const KEY_BYTES: usize = 256;
/// Public exponent of both.
const EXPONENT: [u8; 3] = [1, 0, 1];
/// Bytes of the two empty blocks at the end of a tar archive.
const END_OF_TAR: usize = 1024;

/// What is hashed before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// `.SIGN.RSA.`
    Sha1,
    /// `.SIGN.RSA256.`
    Sha256,
    /// `.SIGN.RSA512.`
    Sha512,
}

/// A key that signs packages. It is known to everybody.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// `test-1.rsa.pub`
    pub name: String,
    modulus: BigUint,
    private: BigUint,
}

impl SigningKey {
    /// One key.
    pub fn first() -> Self {
        Self::of("test-1.rsa.pub", FIRST_N, FIRST_D)
    }

    /// Another one.
    pub fn second() -> Self {
        Self::of("test-2.rsa.pub", SECOND_N, SECOND_D)
    }

    fn of(name: &str, modulus: &str, private: &str) -> Self {
        let number = |digits: &str| BigUint::parse_bytes(digits.as_bytes(), 16).expect("hexadecimal digits");
        Self {
            name: name.to_owned(),
            modulus: number(modulus),
            private: number(private),
        }
    }

    /// The public half, as in `/etc/apk/keys`.
    pub fn public_pem(&self) -> String {
        let mut modulus = self.modulus.to_bytes_be();
        modulus.insert(0, 0);
        let key = der(0x30, &[der(2, &modulus), der(2, &EXPONENT)].concat());
        let algorithm = der(
            0x30,
            &[
                0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
            ],
        );
        let bits = der(3, &[&[0], &key[..]].concat());
        let text = STANDARD.encode(der(0x30, &[algorithm, bits].concat()));
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|at| &text[at..text.len().min(at + 64)])
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// Signs bytes: PKCS#1 v1.5 (RFC 8017, section 8.2.1).
    pub fn sign(&self, hash: Hash, bytes: &[u8]) -> Vec<u8> {
        let (algorithm, prefix): (_, &[u8]) = match hash {
            Hash::Sha1 => (&digest::SHA1_FOR_LEGACY_USE_ONLY, &[0x2b, 0x0e, 0x03, 0x02, 0x1a]),
            Hash::Sha256 => (&digest::SHA256, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01]),
            Hash::Sha512 => (&digest::SHA512, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03]),
        };
        let found = digest::digest(algorithm, bytes);
        let kind = der(0x30, &[der(6, prefix), vec![5, 0]].concat());
        let info = der(0x30, &[kind, der(4, found.as_ref())].concat());
        let mut padded = vec![0, 1];
        padded.resize(KEY_BYTES - info.len() - 1, 0xff);
        padded.push(0);
        padded.extend(info);
        let signed = BigUint::from_bytes_be(&padded)
            .modpow(&self.private, &self.modulus)
            .to_bytes_be();
        let mut all = vec![0; KEY_BYTES - signed.len()];
        all.extend(signed);
        all
    }

    /// A signature as it stands before what is signed: a compressed archive without an end.
    pub fn signature(&self, hash: Hash, signed: &[u8]) -> Vec<u8> {
        let kind = match hash {
            Hash::Sha1 => "RSA",
            Hash::Sha256 => "RSA256",
            Hash::Sha512 => "RSA512",
        };
        let entry = Entry::file(&format!(".SIGN.{kind}.{}", self.name), self.sign(hash, signed));
        gzip(&tar_of(&[entry], false))
    }
}

/// An entry of an archive; nothing is checked.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As it is written.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryType,
    /// Permission bits.
    pub mode: u32,
    /// Numbers of user and group.
    pub owner: (u64, u64),
    /// Names of user and group.
    pub names: (String, String),
    /// Target of a link.
    pub link: String,
    /// Bytes of a file.
    pub content: Vec<u8>,
    /// Pax records besides the checksum.
    pub records: Vec<(String, Vec<u8>)>,
    /// Whether a record has the checksum, as packages have it.
    pub checksum: bool,
}

impl Entry {
    /// A file of root, mode 0644.
    pub fn file(path: &str, content: impl AsRef<[u8]>) -> Self {
        Self::new(EntryType::Regular, path, 0o644, content.as_ref(), "")
    }

    /// A directory of root, mode 0755.
    pub fn directory(path: &str) -> Self {
        Self::new(EntryType::Directory, path, 0o755, b"", "")
    }

    /// A symbolic link.
    pub fn symlink(path: &str, target: &str) -> Self {
        Self::new(EntryType::Symlink, path, 0o777, b"", target)
    }

    /// A hard link.
    pub fn hard_link(path: &str, target: &str) -> Self {
        Self::new(EntryType::Link, path, 0o644, b"", target)
    }

    /// Anything.
    pub fn new(kind: EntryType, path: &str, mode: u32, content: &[u8], link: &str) -> Self {
        Self {
            path: path.as_bytes().to_vec(),
            kind,
            mode,
            owner: (0, 0),
            names: ("root".to_owned(), "root".to_owned()),
            link: link.to_owned(),
            content: content.to_vec(),
            records: Vec::new(),
            checksum: true,
        }
    }

    /// With another mode.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// With other owners: numbers and names.
    pub fn owned(mut self, uid: u64, gid: u64, user: &str, group: &str) -> Self {
        self.owner = (uid, gid);
        self.names = (user.to_owned(), group.to_owned());
        self
    }

    /// With a pax record.
    pub fn record(mut self, key: &str, value: &[u8]) -> Self {
        self.records.push((key.to_owned(), value.to_vec()));
        self
    }
}

/// A package in the making.
#[derive(Clone, Debug, Default)]
pub struct PackageBuilder {
    name: String,
    version: String,
    info: Vec<(String, String)>,
    scripts: Vec<Entry>,
    /// The files, in this order; parents are not made.
    pub files: Vec<Entry>,
}

impl PackageBuilder {
    /// A package without files.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            ..Self::default()
        }
        .info("pkgdesc", &format!("{name} of a test"))
        .info("url", "https://example.org/")
        .info("builddate", "1700000000")
        .info("size", "4096")
        .info("arch", "x86_64")
        .info("license", "MIT")
    }

    /// A line of `.PKGINFO`. Of several lines with a key that stands once, the last counts.
    pub fn info(mut self, key: &str, value: &str) -> Self {
        let many = ["depend", "provides", "install_if", "replaces"];
        if !many.contains(&key) {
            self.info.retain(|(known, _)| known != key);
        }
        self.info.push((key.to_owned(), value.to_owned()));
        self
    }

    /// `depend`, one or several with blanks between.
    pub fn depend(self, list: &str) -> Self {
        list.split(' ').fold(self, |builder, one| builder.info("depend", one))
    }

    /// `provides`, one or several with blanks between.
    pub fn provides(self, list: &str) -> Self {
        list.split(' ').fold(self, |builder, one| builder.info("provides", one))
    }

    /// A script, such as `post-install`.
    pub fn script(mut self, kind: &str, text: &str) -> Self {
        self.scripts.push(Entry::file(&format!(".{kind}"), text).mode(0o755));
        self
    }

    /// A file or directory.
    pub fn entry(mut self, entry: Entry) -> Self {
        self.files.push(entry);
        self
    }

    /// A file, after those of its parents that are not there yet.
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            if !self.files.iter().any(|one| one.path == parent.as_bytes()) {
                self.files.push(Entry::directory(parent));
            }
        }
        self.entry(Entry::file(path, content))
    }

    /// The compressed files.
    pub fn data(&self) -> Vec<u8> {
        gzip(&tar_of(&self.files, true))
    }

    /// The compressed control part of a package with this data.
    pub fn control(&self, data: &[u8]) -> Vec<u8> {
        let mut text = format!("# a test\npkgname = {}\npkgver = {}\n", self.name, self.version);
        for (key, value) in &self.info {
            text.push_str(&format!("{key} = {value}\n"));
        }
        let hash = hex(digest::digest(&digest::SHA256, data).as_ref());
        text.push_str(&format!("datahash = {hash}\n"));
        let mut entries = vec![Entry::file(".PKGINFO", text)];
        entries.extend(self.scripts.iter().cloned());
        gzip(&tar_of(&entries, false))
    }

    /// The package.
    pub fn build(&self, key: &SigningKey, hash: Hash) -> Vec<u8> {
        let data = self.data();
        let control = self.control(&data);
        [key.signature(hash, &control), control, data].concat()
    }

    /// Its block in an index, for a file of this many bytes.
    pub fn index_block(&self, size: usize) -> String {
        let data = self.data();
        let control = self.control(&data);
        let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &control);
        let mut text = format!("C:Q1{}\nP:{}\nV:{}\n", STANDARD.encode(sha1), self.name, self.version);
        let all = |key: &str| -> Vec<&str> {
            let lines = self.info.iter().filter(|(known, _)| known == key);
            lines.map(|(_, value)| value.as_str()).collect()
        };
        let fields = [
            ('A', "arch"),
            ('S', ""),
            ('I', "size"),
            ('T', "pkgdesc"),
            ('U', "url"),
            ('L', "license"),
            ('o', "origin"),
            ('m', "maintainer"),
            ('t', "builddate"),
            ('c', "commit"),
            ('k', "provider_priority"),
            ('D', "depend"),
            ('p', "provides"),
            ('i', "install_if"),
        ];
        for (field, key) in fields {
            let values = if key.is_empty() { vec![] } else { all(key) };
            let value = if key.is_empty() {
                size.to_string()
            } else {
                values.join(" ")
            };
            if !value.is_empty() {
                text.push_str(&format!("{field}:{value}\n"));
            }
        }
        text
    }

    fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }
}

/// Writes a repository: packages and their index, all signed.
pub fn write_repository(
    directory: &Path,
    architecture: &str,
    packages: &[PackageBuilder],
    key: &SigningKey,
    hash: Hash,
) {
    let directory = directory.join(architecture);
    fs::create_dir_all(&directory).expect("a directory for a repository");
    let mut blocks = Vec::new();
    for package in packages {
        let bytes = package.build(key, hash);
        blocks.push(package.index_block(bytes.len()));
        fs::write(directory.join(package.file_name()), bytes).expect("room for a package");
    }
    let text: String = blocks.iter().map(|block| format!("{block}\n")).collect();
    let index = signed_index(&text, key, hash);
    fs::write(directory.join("APKINDEX.tar.gz"), index).expect("room for an index");
}

/// An index with this text.
pub fn signed_index(text: &str, key: &SigningKey, hash: Hash) -> Vec<u8> {
    let entries = [Entry::file("DESCRIPTION", "test"), Entry::file("APKINDEX", text)];
    let signed = gzip(&tar_of(&entries, true));
    [key.signature(hash, &signed), signed].concat()
}

/// An archive; with or without the empty blocks at its end.
pub fn tar_of(entries: &[Entry], end: bool) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut records: Vec<(&str, Vec<u8>)> = Vec::new();
        let summed = match entry.kind {
            EntryType::Regular => Some(&entry.content[..]),
            EntryType::Symlink => Some(entry.link.as_bytes()),
            _ => None,
        };
        if let Some(bytes) = summed.filter(|_| entry.checksum) {
            let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
            records.push(("APK-TOOLS.checksum.SHA1", hex(sha1.as_ref()).into_bytes()));
        }
        records.extend(entry.records.iter().map(|(key, value)| (key.as_str(), value.clone())));
        if !records.is_empty() {
            let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            // apk takes a header without a name for the end of the archive.
            let extension = Entry::new(EntryType::XHeader, "PaxHeader", 0o644, &content, "");
            builder.append(&header(&extension), &content[..]).expect("memory");
        }
        builder.append(&header(entry), &entry.content[..]).expect("memory");
    }
    let mut bytes = builder.into_inner().expect("memory");
    if !end {
        bytes.truncate(bytes.len() - END_OF_TAR);
    }
    bytes
}

/// A pax record: its own length, key and value (POSIX pax, "pax Header Block").
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + " =\n".len();
    let length = (1..=9)
        .map(|digits| rest + digits)
        .find(|length| length.to_string().len() + rest == *length);
    let length = length.expect("a record that fits");
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn header(entry: &Entry) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(entry.kind);
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.0);
    header.set_gid(entry.owner.1);
    header.set_mtime(1_700_000_000);
    header.set_size(entry.content.len() as u64);
    header.set_username(&entry.names.0).expect("a short name");
    header.set_groupname(&entry.names.1).expect("a short name");
    header.set_device_major(1).expect("ustar has devices");
    header.set_device_minor(3).expect("ustar has devices");
    let fields = header.as_old_mut();
    fields.name[..entry.path.len()].copy_from_slice(&entry.path);
    fields.linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
    header.set_cksum();
    header
}

/// Compressed, always to the same bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A DER value (X.690, section 8.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match length {
        0..=0x7f => bytes.push(length as u8),
        0x80..=0xff => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend_from_slice(content);
    bytes
}
