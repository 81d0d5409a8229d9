//! A plan as people read it (`--dry-run`).

use std::fmt;

use mos_architecture::Architecture;

use crate::base::Base;
use crate::component::BuildKind;
use crate::kernel::{KernelBase, KernelSource};
use crate::plan::{Authorities, Output, Plan, PlannedComponent, PlannedUser};
use crate::project::{Compression, InitramfsPlace};
use crate::source::Source;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} / {} ({})", self.project, self.environment, self.kind)?;
        writeln!(f, "  channel  {}", self.channel)?;
        writeln!(f, "  trust    {}", self.trust)?;
        writeln!(f, "components")?;
        for component in &self.components {
            component.render(f)?;
        }
        self.render_image(f)?;
        writeln!(f, "outputs")?;
        for output in &self.outputs {
            match output {
                Output::Flist { name } => writeln!(f, "  flist {name}")?,
                Output::Boot => writeln!(f, "  boot image")?,
                Output::Release => {
                    writeln!(f, "  release, valid for {} days", self.release.expires_days)?;
                }
            }
        }
        Ok(())
    }
}

impl Plan {
    fn render_image(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = &self.image;
        writeln!(f, "image")?;
        // Nobody has to think of it who builds for machines like this one.
        if image.architecture != Architecture::HOST {
            writeln!(f, "  architecture  {}", image.architecture)?;
        }
        match &image.kernel_source {
            Some(source) => source.render(f)?,
            None => writeln!(f, "  kernel        {}", image.kernel_package)?,
        }
        match image.base {
            Base::Debian => {}
            Base::Alpine => writeln!(f, "  base          Alpine")?,
            Base::Empty => writeln!(f, "  base          empty")?,
        }
        if let Some(alpine) = &image.alpine {
            writeln!(
                f,
                "  repositories  {} ({})",
                alpine.repositories.join(" "),
                alpine.mirror.as_deref().unwrap_or("MOS_ALPINE_MIRROR")
            )?;
        }
        writeln!(f, "  packages      {}", image.packages.join(" "))?;
        match &image.authorities {
            Authorities::None => {}
            Authorities::Debian => writeln!(f, "  authorities   package ca-certificates")?,
            Authorities::Files(files) => writeln!(f, "  authorities   {}", files.join(" "))?,
        }
        writeln!(f, "  modules       {}", image.modules.join(" "))?;
        let firmware = &image.firmware;
        let lists = [&firmware.packages, &firmware.folders, &firmware.patterns];
        if lists.iter().any(|list| !list.is_empty()) {
            let names: Vec<&str> = lists.into_iter().flatten().map(String::as_str).collect();
            writeln!(f, "  firmware      {}", names.join(" "))?;
        }
        for (name, patterns) in [("keep", &image.keep), ("remove", &image.remove)] {
            if !patterns.is_empty() {
                writeln!(f, "  {name:13} {}", patterns.join(" "))?;
            }
        }
        if let Some(budget) = image.budget {
            writeln!(f, "  budget        {budget} bytes")?;
        }
        writeln!(f, "  command line  {}", image.command_line)?;
        writeln!(f, "  hostname      {}", image.hostname)?;
        if let Some(key) = &image.secure_boot {
            writeln!(f, "  signed by     {key}")?;
        }
        if image.initramfs == InitramfsPlace::Embedded {
            writeln!(f, "  initramfs     embedded in the kernel")?;
        }
        if let Some(key) = &image.pcr_policy {
            writeln!(f, "  PCR policy    {key}")?;
        }
        let services: Vec<&str> = image
            .services
            .iter()
            .map(|service| service.file_name.as_str())
            .collect();
        writeln!(f, "  services      {}", services.join(" "))?;
        match image.compression {
            Compression::None => writeln!(f, "  compression   none")?,
            Compression::Xz => writeln!(f, "  compression   xz")?,
            Compression::Zstd => writeln!(f, "  compression   zstd, level {}", image.compression_level)?,
        }
        image.users.iter().try_for_each(|user| user.render(f))
    }
}

impl KernelSource {
    fn render(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (KernelBase::Target(base) | KernelBase::File { path: base, .. }) = &self.base;
        let (name, count) = (self.origin.name(), self.settings.len());
        writeln!(f, "  kernel        from {name}: {base} and {count} settings")
    }
}

impl PlannedUser {
    fn render(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.password_hash.is_some() {
            ", a password"
        } else {
            ""
        };
        let (keys, rules) = (self.keys.len(), self.sudo.len());
        let group = &self.access_group;
        writeln!(
            f,
            "  user          {} ({group}), SSH keys: {keys}, sudo rules: {rules}{password}",
            self.name
        )
    }
}

impl PlannedComponent {
    fn render(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", self.name)?;
        writeln!(f, "    source   {}", self.source)?;
        match &self.locked {
            Some(locked) => writeln!(f, "    locked   {} {}", locked.version, locked.digest)?,
            None if self.needs_lock() => writeln!(f, "    locked   not yet: the next build finds the exact state")?,
            None => {}
        }
        match self.build.kind {
            BuildKind::Cargo => writeln!(
                f,
                "    build    cargo, profile {}{}{}",
                self.build.profile,
                self.features(),
                self.build
                    .libc
                    .map(|libc| format!(", with {}", libc.name()))
                    .unwrap_or_default()
            )?,
            BuildKind::None => writeln!(f, "    build    none")?,
        }
        let flists = [
            ("modules-VERSION.fl", self.kernel_modules),
            ("firmware-TAG.fl", self.firmware.is_some()),
        ];
        let files = self.files.keys().map(String::as_str);
        let files = files.chain(flists.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name));
        let service = self.service.iter().map(|service| service.file_name.as_str());
        let names: Vec<&str> = self
            .binaries
            .iter()
            .map(String::as_str)
            .chain(files)
            .chain(service)
            .collect();
        writeln!(f, "    installs {}", names.join(" "))
    }

    fn features(&self) -> String {
        let mut text = String::new();
        if !self.build.default_features {
            text.push_str(", no default features");
        }
        if !self.build.features.is_empty() {
            text.push_str(", features ");
            text.push_str(&self.build.features.join(" "));
        }
        text
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crate { name, requirement, .. } => write!(f, "crate {name} {requirement}"),
            Self::Git { url, subdirectory, .. } => {
                write!(f, "git {url} {}", self.reference())?;
                subdirectory.iter().try_for_each(|folder| write!(f, " in {folder}"))
            }
            Self::Release { url, version, .. } => write!(f, "release {version} {url}"),
            Self::Oci { image, version, .. } => write!(f, "oci {image}:{version}"),
            Self::Path { path } => write!(f, "path {path}"),
            Self::Mos => write!(f, "mos, {}", self.location()),
        }
    }
}
