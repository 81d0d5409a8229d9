//! The files that make a root filesystem a MOS node: programs, settings, trust, services, modules to load. Pure.

use mos_tree::{Content, Tree, TreeError};

use crate::build_record::{self, BuildRecord};

/// Everything that the node's own files are made from.
#[derive(Debug, Clone)]
pub struct NodeFiles {
    /// The environment's name.
    pub environment: String,
    /// Where the node looks for releases.
    pub channel: String,
    /// The public key (PEM) that releases must be signed with.
    pub trust: String,
    /// The certificate authorities (PEM) that the node believes about the channel's server; empty for none.
    pub authorities: String,
    /// Build time in seconds since 1970: the floor of the node's clock. Taken from the inputs, not from the clock, so
    /// that the same inputs give the same image.
    pub built: i64,
    /// Identifies the inputs of this image; shown by the running node.
    pub build_id: String,
    /// What else the image says of how it was made.
    pub record: BuildRecord,
    /// The node's name.
    pub hostname: String,
    /// Kernel modules to load, in the order wanted.
    pub modules: Vec<String>,
    /// Services of the image: file name and text.
    pub services: Vec<(String, String)>,
    /// The program `my_init`.
    pub my_init: Content,
    /// The program `mos-node`, which answers to several names.
    pub mos_node: Content,
}

impl NodeFiles {
    /// The files as a tree to lay over the base system.
    ///
    /// # Errors
    /// When a service's file name is not a file name.
    pub fn tree(&self) -> Result<Tree, TreeError> {
        let mut tree = self.my_init_tree()?;
        tree.overlay(&self.mos_node_tree()?)?;
        tree.overlay(&self.settings_tree()?)?;
        Ok(tree)
    }

    /// `my_init`, and the names by which the kernel and people know it.
    pub(crate) fn my_init_tree(&self) -> Result<Tree, TreeError> {
        let mut tree = Tree::default();
        tree.insert_file("sbin/my_init", 0o755, self.my_init.clone())?;
        tree.insert_symlink("init", "sbin/my_init")?;
        tree.insert_symlink("sbin/init", "my_init")?;
        Ok(tree)
    }

    /// `mos-node` with its other names.
    pub(crate) fn mos_node_tree(&self) -> Result<Tree, TreeError> {
        let mut tree = Tree::default();
        tree.insert_file("sbin/mos-node", 0o755, self.mos_node.clone())?;
        for name in ["mosctl", "mosnet"] {
            tree.insert_symlink(format!("sbin/{name}"), "mos-node")?;
        }
        Ok(tree)
    }

    /// Everything that says what this node is, and its services.
    pub(crate) fn settings_tree(&self) -> Result<Tree, TreeError> {
        let mut tree = Tree::default();
        self.settings(&mut tree)?;
        for (name, text) in &self.services {
            tree.insert_file(format!("etc/my_init/services/{name}"), 0o644, text.as_str())?;
        }
        for directory in ["etc/my_init/services", "var/cache/mos", "run/mos"] {
            tree.insert_directory(directory, 0o755)?;
        }
        tree.insert_symlink("var/cache/bin", "../../run/mos/current/bin")?;
        Ok(tree)
    }

    fn settings(&self, tree: &mut Tree) -> Result<(), TreeError> {
        let trust = format!("/etc/mos/trust/{}.pub", self.environment);
        tree.insert_file(&trust, 0o644, self.trust.as_str())?;
        if !self.authorities.is_empty() {
            tree.insert_file("etc/mos/ca.pem", 0o644, self.authorities.as_str())?;
        }
        tree.insert_file("etc/mos/node.toml", 0o644, self.node_toml(&trust).as_str())?;
        tree.insert_file("etc/hostname", 0o644, format!("{}\n", self.hostname).as_str())?;
        tree.insert_file("etc/os-release", 0o644, self.os_release().as_str())?;
        let record = self.record.text(&self.environment, &self.build_id, self.built);
        tree.insert_file(build_record::PATH, 0o644, record.as_str())?;
        let modules = self.modules.iter().map(|name| format!("{name}\n")).collect::<String>();
        tree.insert_file("etc/modules-load.d/mos.conf", 0o644, modules.as_str())?;
        Ok(())
    }

    fn node_toml(&self, trust: &str) -> String {
        format!(
            "# Written by mos; part of the signed boot image.\nenvironment = {}\nchannel = {}\ntrust = [{}]\nbuilt = {}\n",
            quoted(&self.environment),
            quoted(&self.channel),
            quoted(trust),
            self.built
        )
    }

    /// `os-release`(5): in the image, and in the `.osrel` section that boot menus show.
    pub fn os_release(&self) -> String {
        let environment = &self.environment;
        let build_id = &self.build_id;
        format!(
            "ID=mos\nNAME=MOS\nPRETTY_NAME=\"MOS {environment} {build_id}\"\nVERSION_ID={build_id}\nVARIANT_ID={environment}\n\
             BUILD_ID={build_id}\n"
        )
    }
}

/// A TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> NodeFiles {
        NodeFiles {
            environment: "dev".into(),
            channel: "http://10.0.2.2:8480/\"x".into(),
            trust: "-----BEGIN PUBLIC KEY-----\n".into(),
            authorities: "-----BEGIN CERTIFICATE-----\n".into(),
            built: 1_700_000_000,
            build_id: "0123456789ab".into(),
            record: BuildRecord::default(),
            hostname: "node".into(),
            modules: vec!["virtio_net".into()],
            services: vec![("ready.service.toml".into(), "[target]\nname = \"ready\"\n".into())],
            my_init: Content::from("init"),
            mos_node: Content::from("node"),
        }
    }

    fn text(tree: &Tree, path: &str) -> String {
        match &tree.get(path).unwrap().kind {
            mos_tree::Kind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn settings_are_valid_toml_whatever_the_channel_is_called() {
        let tree = sample().tree().unwrap();
        let document = mos_toml::Document::parse("node.toml", text(&tree, "etc/mos/node.toml")).unwrap();
        let problems = mos_toml::Problems::default();
        let root = document.root(&problems);
        assert_eq!(root.string("channel").as_deref(), Some("http://10.0.2.2:8480/\"x"));
        assert_eq!(root.integer("built", 0..=i64::MAX), Some(1_700_000_000));
        assert_eq!(root.string_list("trust")[0].value, "/etc/mos/trust/dev.pub");
    }

    #[test]
    fn kernel_finds_init_and_services_are_in_place() {
        let tree = sample().tree().unwrap();
        assert!(matches!(&tree.get("init").unwrap().kind, mos_tree::Kind::Symlink(to) if to == b"sbin/my_init"));
        assert_eq!(tree.get("sbin/my_init").unwrap().metadata.mode, 0o755);
        assert!(text(&tree, "etc/mos-build").contains("build_id = \"0123456789ab\""));
        assert!(text(&tree, "etc/mos/ca.pem").contains("CERTIFICATE"));
        let without = NodeFiles {
            authorities: String::new(),
            ..sample()
        };
        assert!(without.tree().unwrap().get("etc/mos/ca.pem").is_none());
        assert!(text(&tree, "etc/my_init/services/ready.service.toml").contains("ready"));
    }
}
