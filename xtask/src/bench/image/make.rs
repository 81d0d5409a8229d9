//! An initramfs with a server's modules and BusyBox from unpacked packages, zstd level 3, against others' ways.

use std::fs;
use std::path::{Path, PathBuf};

use mos_boot::{Compression, initramfs, root};
use mos_kernel::{Kernel, Selection};
use mos_tree::Tree;

use super::closure::unpacked;
use super::stage::{SERVER, Stage};
use super::{goal, row};
use crate::bench::{RUNS, Row, median};

/// With the peers' own hooks for block devices and udev: they make nothing smaller.
const MKINITRAMFS: &str = "mkdir -p $WORK/conf/conf.d $WORK/conf/hooks $WORK/conf/scripts
    printf \"MODULES=list\\nBUSYBOX=auto\\nKEYMAP=n\\nFSTYPE=ext4\\nRUNSIZE=10%%\\n\" >$WORK/conf/initramfs.conf
    echo $MODULES | tr \" \" \"\\n\" >$WORK/conf/modules
    TMPDIR=$WORK mkinitramfs -d $WORK/conf -c zstd -l 3 -o $OUT $VERSION";
const DRACUT: &str = "dracut --force --quiet --no-hostonly --tmpdir $WORK --kver $VERSION --no-early-microcode \
    --modules \"base udev-rules\" --drivers \"$MODULES\" --compress \"zstd -q -3 -T0\" $OUT";
/// What one would write by hand: what modprobe says, decompressed, with BusyBox.
pub(super) const BY_HAND: &str = "cd $WORK; mkdir -p bin dev proc sys
    for name in $MODULES; do /sbin/modprobe -C /dev/null -d $ROOT -S $VERSION --show-depends $name; done |
        sed -n \"s|^insmod .*lib/modules/|lib/modules/|p\" | sort -u >list
    while read -r path; do
        mkdir -p ${path%/*}; xz -dc $ROOT/$path >${path%.xz}
    done <list
    rm list; cp $ROOT/lib/modules/$VERSION/modules.builtin* $ROOT/lib/modules/$VERSION/modules.order lib/modules/$VERSION
    /sbin/depmod -b . $VERSION
    cp $ROOT/bin/busybox bin; for name in $(bin/busybox --list); do [ -e bin/$name ] || ln -s busybox bin/$name; done
    printf \"#!/bin/sh\\nexec sh\\n\" >init; chmod 755 init
    find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc -R 0:0 --quiet | $COMPRESS >$OUT";

/// A way to make one.
type Way = fn(&Stage, &Path) -> Result<std::time::Duration, String>;

pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, String> {
    let facts = stage.folder().join("facts");
    stage.own(&["image-closure", "root", "facts"])?;
    let ways: [(&str, Way); 3] = [
        ("initramfs from unpacked inputs / mkinitramfs", |stage, out| {
            stage.shell_with_kernel(MKINITRAMFS, out)
        }),
        ("initramfs from unpacked inputs / dracut", |stage, out| {
            stage.shell_with_kernel(DRACUT, out)
        }),
        ("initramfs from unpacked inputs / naive script", |stage, out| {
            by_hand(stage, "zstd -q -3", out)
        }),
    ];
    let out = stage.folder().join("made");
    let mut theirs: Vec<Result<Vec<_>, String>> = ways.iter().map(|_| Ok(Vec::new())).collect();
    let mut own = Vec::new();
    for _ in 0..RUNS {
        for ((_, way), times) in ways.iter().zip(&mut theirs) {
            if let Ok(known) = times {
                match way(stage, &out) {
                    Ok(time) => known.push(time),
                    Err(error) => *times = Err(error),
                }
            }
        }
        own.push(stage.own(&["image-make", "root", &facts.display().to_string(), "made", "3"])?);
    }
    let own = median(own);
    let mut rows = vec![goal("initramfs from unpacked inputs / 400 ms", 400.0, own, "ms")];
    for ((name, _), times) in ways.into_iter().zip(theirs) {
        match times {
            Ok(times) => rows.push(row(name, (median(times), own), "ms", 1.0)),
            Err(error) => println!("{name}: left out: {error}"),
        }
    }
    Ok(rows)
}

/// The naive script with this compressor.
pub(super) fn by_hand(stage: &Stage, compress: &str, out: &Path) -> Result<std::time::Duration, String> {
    stage.shell(&format!("COMPRESS=\"{compress}\"\n{BY_HAND}"), out)
}

/// `xtask image-make ROOT FACTS OUT LEVEL`: our side. The facts take the place of the `modules.dep` that peers find there.
pub(crate) fn make_once(arguments: &[PathBuf]) -> Result<String, String> {
    let [root, facts, out, level] = arguments else {
        return Err("image-make takes ROOT FACTS OUT LEVEL".to_owned());
    };
    let compression = match level.to_string_lossy().parse() {
        Ok(level) => Compression::Zstd(level),
        Err(_) => Compression::Xz,
    };
    let (package, facts) = unpacked(root, Some(facts))?;
    let kernel = Kernel::open(&package).map_err(|error| error.to_string())?;
    if !facts.is_some_and(|facts| kernel.remember(facts)) {
        return Err("the facts are those of another kernel".to_owned());
    }
    let selection = kernel.select(&SERVER).map_err(|error| error.to_string())?;
    let tree = tree(&package, &selection).map_err(|error| error.to_string())?;
    let content = initramfs(&tree, compression).map_err(|error| error.to_string())?;
    fs::write(out, &content).map_err(|error| error.to_string())?;
    let firmware: usize = selection.modules.iter().map(|module| module.info.firmware.len()).sum();
    Ok(format!(
        "{} modules, {firmware} firmware names, {} bytes",
        selection.modules.len(),
        content.len()
    ))
}

/// BusyBox, its links, and the modules.
fn tree(package: &Tree, selection: &Selection) -> Result<Tree, Box<dyn std::error::Error>> {
    let mut tree = root::base_tree()?;
    if let Some(busybox) = package.get("bin/busybox") {
        tree.insert("bin/busybox", busybox.clone())?;
    }
    tree.overlay(&selection.tree()?)?;
    root::link_busybox(&mut tree)?;
    tree.insert_file("init", 0o755, "#!/bin/sh\nexec sh\n")?;
    Ok(tree)
}
