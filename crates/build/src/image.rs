//! The boot image: base packages, kernel modules, our programs and settings in an initramfs, joined with the kernel and
//! the command line into one EFI file.

use std::fs;
use std::path::{Path, PathBuf};

use mos_architecture::Architecture;
use mos_boot::uki::{UkiParts, uki};
use mos_boot::{Compression, initramfs};
use mos_cache::Inputs;
use mos_components::ElfError;
use mos_config::{Base, Lock, Plan};
use mos_store::{Digest, Digester};
use mos_tree::{Content, Kind, Tree, directory};

use crate::access::add_users;
use crate::alpine;
use crate::alpine_root::{self, AlpineRoot};
use crate::authorities::authorities;
use crate::build_record::BuildRecord;
use crate::builder::Builder;
use crate::clean::CleanUp;
use crate::contents::Contents;
use crate::error::BuildError;
use crate::inside::{CONFIG_FILE, CONTENTS_FILE};
use crate::kernel_part::{self, KernelPart, Sources, json};
use crate::licences::licence;
use crate::modules::folder_digest;
use crate::node_files::NodeFiles;
use crate::package::Package;
use crate::packages::{ImagePackages, STUB_PACKAGE, image_packages};
use crate::size::{ImageReport, Part, bytes, files};

const STEP: &str = "image";
/// Raised whenever the same inputs would give another image than before.
const FORMAT: u32 = 8;
/// Where systemd-boot-efi has the stub for an architecture.
const fn stub_path(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "usr/lib/systemd/boot/efi/linuxx64.efi.stub",
        Architecture::Aarch64 => "usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
    }
}
pub(crate) const EFI_FILE: &str = "vmlinuz.efi";
const REPORT_FILE: &str = "report.json";
/// Hexadecimal digits of the build id.
const BUILD_ID_LENGTH: usize = 12;
/// Our programs for the node, static.
#[derive(Debug, Clone)]
pub struct NodePrograms {
    /// `my_init`.
    pub my_init: PathBuf,
    /// `mos-node`.
    pub mos_node: PathBuf,
}

/// A boot image in the cache.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The EFI file that firmware starts.
    pub efi: PathBuf,
    /// The initramfs by itself.
    pub initramfs: PathBuf,
    /// Identifies the EFI file: the hash of everything that went into it, its signer's certificate included.
    pub id: String,
    /// What it is made of.
    pub report: ImageReport,
    /// The record of everything in it, a [`Contents`].
    pub contents: PathBuf,
    /// False when it was made just now.
    pub hit: bool,
}

impl Builder<'_> {
    /// The boot image of an environment, from the cache or made now. `trust` is the public key (PEM) that its nodes
    /// will believe.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn image(
        &self,
        plan: &Plan,
        lock: &mut Lock,
        programs: &NodePrograms,
        trust: &str,
    ) -> Result<BuiltImage, BuildError> {
        let packages = image_packages(self, plan, lock).map_err(|error| {
            let others = kernel_part::problems(self, &plan.image, lock);
            BuildError::all(std::iter::once(error).chain(others).collect())
        })?;
        let recipe = Recipe::new(self, plan, packages, programs, trust)?;
        let cached = self
            .cache()
            .step(STEP, &recipe.key, |output| recipe.make(self, output))?;
        let report = json(&cached.path.join(REPORT_FILE))?;
        self.report.line(if cached.hit {
            "boot image: nothing changed"
        } else {
            "boot image: made"
        });
        Ok(BuiltImage {
            efi: cached.path.join(EFI_FILE),
            initramfs: cached.path.join(recipe.initramfs_name()),
            id: short(&recipe.key),
            report,
            contents: cached.path.join(CONTENTS_FILE),
            hit: cached.hit,
        })
    }
}

/// Everything that goes into an image, and its hash.
struct Recipe<'p> {
    plan: &'p Plan,
    packages: ImagePackages,
    node: NodeFiles,
    /// The folder `image/files` of the config repository.
    files: Tree,
    /// Of the folders that firmware is taken from.
    firmware_folders: Vec<Digest>,
    /// Files that the root file system is made of besides packages.
    base_files: Vec<(String, Digest)>,
    key: Digest,
}

impl<'p> Recipe<'p> {
    fn new(
        builder: &Builder<'_>,
        plan: &'p Plan,
        packages: ImagePackages,
        programs: &NodePrograms,
        trust: &str,
    ) -> Result<Self, BuildError> {
        let folder = builder.repository().join(&plan.image.files);
        let files = if folder.is_dir() {
            directory::read(&folder, directory::Options::default())?
        } else {
            Tree::default()
        };
        for program in [&programs.my_init, &programs.mos_node] {
            check_machine(program, plan.image.architecture)?;
        }
        let folders = plan.image.firmware.folders.iter();
        let mut recipe = Self {
            plan,
            firmware_folders: folders
                .map(|folder| folder_digest(builder, folder))
                .collect::<Result<_, _>>()?,
            node: NodeFiles {
                authorities: authorities(builder, &plan.image.authorities, packages.authorities.as_ref())?,
                record: BuildRecord {
                    project: plan.project.clone(),
                    packages: packages
                        .all()
                        .map(|(_, package)| (package.name().to_owned(), package.version().to_owned()))
                        .collect(),
                    ..BuildRecord::default()
                },
                ..node_files(plan, programs, trust)?
            },
            packages,
            base_files: match (plan.image.base, &plan.image.alpine) {
                (Base::Alpine, Some(alpine)) => alpine::files(builder, alpine)?,
                _ => Vec::new(),
            },
            files: normalise(files),
            key: Digest::of(b""),
        };
        recipe.key = recipe.inputs()?.key();
        recipe.node.build_id = short(&recipe.key);
        recipe.node.record.inputs = recipe.key.to_string();
        Ok(recipe)
    }

    /// The time of the build is no input of its own: it is read from the kernel package, which is one.
    fn inputs(&self) -> Result<Inputs, BuildError> {
        let image = &self.plan.image;
        let ImagePackages { base, stub, .. } = &self.packages;
        let mut inputs = self
            .sources()
            .inputs(Inputs::new(STEP, FORMAT), image)
            .add("stub", stub.as_ref().map_or("", Package::sha256))
            .add("final", [u8::from(image.secure_boot.is_some() && stub.is_none())])
            .add("keep", image.keep.join("\n"))
            .add("remove", image.remove.join("\n"))
            .add("command line", &image.command_line)
            .add(
                "compression",
                format!("{:?} {}", image.compression, image.compression_level),
            )
            .add_digest("node", &digest(&self.node.tree()?)?)
            .add_digest("files", &digest(&self.files)?)
            .add(
                "users",
                serde_json::to_string(&image.users).map_err(|error| BuildError::Access(error.to_string()))?,
            );
        for user in image.users.iter().filter_map(|user| user.password_hash.as_ref()) {
            inputs = inputs.add("password", user.reveal());
        }
        inputs = inputs.add("base", format!("{:?}", image.base));
        if image.base == Base::Alpine {
            return Ok(alpine_root::inputs(inputs, image, &self.packages, &self.base_files));
        }
        for package in base {
            inputs = inputs.add("package", package.sha256());
        }
        Ok(inputs)
    }

    /// The root file system of Alpine's packages, when that is the base.
    fn alpine_root(&self, builder: &Builder<'_>) -> Result<Option<AlpineRoot>, BuildError> {
        if self.plan.image.base != Base::Alpine {
            return Ok(None);
        }
        let root = AlpineRoot::get(builder, &self.plan.image, &self.packages, &self.base_files)?;
        root.warning.iter().for_each(|line| builder.report.line(line));
        Ok(Some(root))
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            kernel: &self.packages.kernel,
            firmware: &self.packages.firmware,
            folders: &self.firmware_folders,
        }
    }

    fn make(&self, builder: &Builder<'_>, output: &Path) -> Result<(), BuildError> {
        let base = self.alpine_root(builder)?;
        let kernel = KernelPart::get(builder, &self.plan.image, &self.sources())?;
        let node = NodeFiles {
            built: kernel.facts.built,
            modules: kernel.facts.load.clone(),
            record: BuildRecord {
                kernel: kernel.facts.contents.kernel.clone(),
                ..self.node.record.clone()
            },
            ..self.node.clone()
        };
        let Root { tree, parts, contents } = self.root(builder, &node, &kernel, base)?;
        contents
            .missing_firmware_line()
            .iter()
            .for_each(|line| builder.report.line(line));
        builder.report.detail("compressing the initramfs");
        let initrd = initramfs(&tree, self.compression())?;
        let efi = match (&self.packages.stub, &self.packages.kernel) {
            (None, Package::Source(source)) => source.embed(builder, &self.plan.image, &initrd)?,
            (stub, _) => uki(
                &stub_program(builder, stub.as_ref())?,
                &UkiParts {
                    linux: &kernel.linux,
                    initrd: &initrd,
                    cmdline: &self.plan.image.command_line,
                    osrelease: &node.os_release(),
                    uname: &contents.kernel,
                },
            )?,
        };
        let report = ImageReport {
            build_id: node.build_id,
            built: node.built,
            kernel: contents.kernel.clone(),
            efi_bytes: efi.len() as u64,
            kernel_bytes: kernel.linux.len() as u64,
            initramfs_bytes: initrd.len() as u64,
            parts,
            modules: contents
                .modules
                .iter()
                .map(|module| (module.name.clone(), module.reason.clone()))
                .collect(),
        };
        let report = serde_json::to_vec_pretty(&report).map_err(|error| BuildError::at(output)(error.into()))?;
        let contents = serde_json::to_vec(&contents).map_err(|error| BuildError::at(output)(error.into()))?;
        for (name, content) in [
            (EFI_FILE, &efi),
            (self.initramfs_name(), &initrd),
            (REPORT_FILE, &report),
            (CONTENTS_FILE, &contents),
            (CONFIG_FILE, &kernel.config),
        ] {
            let path = output.join(name);
            fs::write(&path, content).map_err(BuildError::at(&path))?;
        }
        Ok(())
    }

    fn root(
        &self,
        builder: &Builder<'_>,
        node: &NodeFiles,
        kernel: &KernelPart,
        base: Option<AlpineRoot>,
    ) -> Result<Root, BuildError> {
        let mut root = Root::new(node, kernel.facts.contents.clone())?;
        for (role, package) in self.packages.all() {
            let licence = licence(builder, package, self.plan.image.alpine.as_ref())?;
            root.contents.note_package(role, package, licence);
        }
        let mut clean_up = CleanUp::new(&self.plan.image.keep, &self.plan.image.remove);
        self.lay_base(builder, &mut root, &mut clean_up, base)?;
        clean_up.unused().iter().for_each(|line| builder.report.line(line));
        root.lay("kernel modules", &kernel.modules)?;
        if !root.contents.firmware.is_empty() {
            root.lay("firmware", &kernel.firmware)?;
        }
        root.lay("component my_init", &node.my_init_tree()?)?;
        root.lay("component mos-node", &node.mos_node_tree()?)?;
        root.lay("settings of the node", &node.settings_tree()?)?;
        root.lay("image/files", &self.files)?;
        if self.plan.image.base == Base::Debian {
            mos_boot::root::link_busybox(&mut root.tree)?;
            root.contents.note("links to the applets of busybox", &root.tree);
        }
        add_users(&mut root.tree, &self.plan.image.users)?;
        root.contents.note("users of the access groups", &root.tree);
        root.contents.finish(&root.tree);
        Ok(root)
    }

    fn lay_base(
        &self,
        builder: &Builder<'_>,
        root: &mut Root,
        clean_up: &mut CleanUp<'_>,
        alpine: Option<AlpineRoot>,
    ) -> Result<(), BuildError> {
        match self.plan.image.base {
            Base::Debian => {
                for package in &self.packages.base {
                    let part = format!("package {}", package.name());
                    root.lay_cleaned(&part, package.tree(builder, None)?, clean_up)?;
                }
            }
            Base::Alpine => {
                for (part, tree) in alpine.map(|root| root.parts).unwrap_or_default() {
                    root.lay_cleaned(&part, tree, clean_up)?;
                }
            }
            Base::Empty => {}
        }
        Ok(())
    }

    fn compression(&self) -> Compression {
        match self.plan.image.compression {
            mos_config::Compression::None => Compression::None,
            mos_config::Compression::Xz => Compression::Xz,
            mos_config::Compression::Zstd => {
                Compression::Zstd(u8::try_from(self.plan.image.compression_level).unwrap_or(u8::MAX))
            }
        }
    }

    fn initramfs_name(&self) -> &'static str {
        match self.plan.image.compression {
            mos_config::Compression::None => "initramfs.cpio",
            mos_config::Compression::Xz => "initramfs.cpio.xz",
            mos_config::Compression::Zstd => "initramfs.cpio.zst",
        }
    }
}

/// A root file system that is being made, with the size of each of its parts and the record of it.
struct Root {
    tree: Tree,
    parts: Vec<Part>,
    contents: Contents,
}

impl Root {
    fn new(node: &NodeFiles, mut contents: Contents) -> Result<Self, BuildError> {
        let tree = mos_boot::root::base_tree()?;
        contents.build_id.clone_from(&node.build_id);
        contents.inputs.clone_from(&node.record.inputs);
        contents.note("skeleton of the root", &tree);
        Ok(Self {
            tree,
            parts: Vec::new(),
            contents,
        })
    }

    /// Lays a part that packages bring over what is there, without what no node has a use for.
    fn lay_cleaned(&mut self, part: &str, mut tree: Tree, clean_up: &mut CleanUp<'_>) -> Result<(), BuildError> {
        clean_up.apply(&mut tree, &mut self.contents, |_| part.to_owned());
        self.lay(part, &tree)
    }

    /// Lays a part over what is there.
    fn lay(&mut self, name: &str, tree: &Tree) -> Result<(), BuildError> {
        // `/sbin` may be a link to `/usr/sbin`, and must stay one.
        let tree = &self.tree.through_links(tree)?;
        self.parts.push(Part {
            name: name.to_owned(),
            files: files(tree),
            bytes: bytes(tree),
        });
        self.tree.overlay(tree)?;
        self.contents.note_laid(name, tree);
        Ok(())
    }
}

/// Refuses programs of the node that are for another machine than the image.
fn check_machine(program: &Path, wanted: Architecture) -> Result<(), BuildError> {
    let bytes = fs::read(program).map_err(BuildError::at(program))?;
    match mos_components::check_machine(&bytes, wanted) {
        Err(error @ ElfError::Machine { .. }) => Err(BuildError::Program {
            program: program.to_owned(),
            error,
        }),
        _ => Ok(()),
    }
}

/// The stub in its package.
fn stub_program(builder: &Builder<'_>, package: Option<&Package>) -> Result<Vec<u8>, BuildError> {
    let path = stub_path(builder.architecture());
    let missing = || BuildError::NoStub {
        package: package.map_or(STUB_PACKAGE, Package::name).to_owned(),
        path,
    };
    let tree = package.ok_or_else(missing)?.tree(builder, None)?;
    match &tree.get(path).ok_or_else(missing)?.kind {
        Kind::File(content) => content.read().map_err(BuildError::at(Path::new(path))),
        _ => Err(missing()),
    }
}

/// As much of a hash as identifies an image.
pub(crate) fn short(key: &Digest) -> String {
    key.to_string()[..BUILD_ID_LENGTH].to_owned()
}

fn node_files(plan: &Plan, programs: &NodePrograms, trust: &str) -> Result<NodeFiles, BuildError> {
    let program = |path: &Path| Content::file(path).map_err(BuildError::at(path));
    let image = &plan.image;
    Ok(NodeFiles {
        environment: plan.environment.clone(),
        channel: plan.channel.clone(),
        trust: trust.to_owned(),
        authorities: String::new(),
        built: 0,
        build_id: String::new(),
        record: BuildRecord::default(),
        hostname: image.hostname.clone(),
        modules: image.modules.clone(),
        services: image
            .services
            .iter()
            .map(|service| (service.file_name.clone(), service.text.clone()))
            .collect(),
        my_init: program(&programs.my_init)?,
        mos_node: program(&programs.mos_node)?,
    })
}

/// The host's files keep their permissions for the owner and lose what depends on who checked them out when.
fn normalise(mut tree: Tree) -> Tree {
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    for id in ids {
        let inode = tree.inode_mut(id);
        inode.metadata.mtime = mos_tree::Timestamp::default();
        inode.metadata.mode = match &inode.kind {
            Kind::Directory(_) => 0o755,
            Kind::Symlink(_) => 0o777,
            _ if inode.metadata.mode & 0o100 != 0 => 0o755,
            _ => 0o644,
        };
    }
    tree
}

/// The newest time in a package: when it was built.
pub(crate) fn newest(tree: &Tree) -> i64 {
    tree.walk()
        .map(|entry| entry.inode.metadata.mtime.seconds)
        .max()
        .unwrap_or(0)
}

/// Hashes a tree with names, modes, owners and content.
pub(crate) fn digest(tree: &Tree) -> Result<Digest, BuildError> {
    let mut archive = Digester::default();
    mos_tree::cpio::write(tree, &mut archive)?;
    Ok(archive.finish())
}
