//! Mounts an flist at a directory, in the foreground or as a daemon; and the modules and firmware of a node.

mod arguments;
mod discover;
mod kernel_files;
mod run;

use std::process::ExitCode;

use arguments::Asked;

const HELP: &str = "\
myfs: an flist at a directory

Usage: myfs mount FLIST DIR --store URL [options]
       myfs unmount DIR
       myfs kernel-files   a node's service: the release's modules-VERSION.fl over /lib/modules/VERSION and its
                           firmware-TAG.fl over /lib/firmware, then discover; --root DIR for all paths below DIR
       myfs discover       modules for devices without a driver, drivers for those that lacked firmware, events for all

Options: -s, --store URL      where the content is: dir:///path, http://host/path, or https://host/path; several,
                              with ranges, as one; s3:// and s3s:// when built with the feature s3
         -c, --cache DIR      keep content here: parts of blobs, and whole files, which the kernel then reads by itself
             --cache-size N   bytes of either (K, M, G, T), default 10G
             --check-cache    read what is kept of FLIST first, and fetch again what is damaged
             --how WAY        auto (default), fuse, or kernel: EROFS and overlay, when all content is local
             --prefetch LIST  fetch the files that LIST names ahead
             --prefetch-all   fetch everything before mounting
             --trace-to LIST  write the paths of files to LIST when they are first read
             --writable DIR   let the mount be written to; changes go to DIR/upper
             --wait SECONDS   how long a read waits for the store before it fails, default 30
             --threads N      threads that answer the kernel
             --private        only for the user who mounts; --allow-other for all (default for root)
         -d, --daemon         go into the background when the mount answers
         -l, --log FILE       messages of the daemon, default the kernel's log
             --pidfile FILE   write the daemon's process number here
         -h, --help, -V, --version

kernel-files looks for content at FLIST_STORE, else in the node's channel; MODULES_FLIST and FIRMWARE_FLIST name other
flists, `none` leaves the files of the image in sight.

A server of https or s3s is believed when SSL_CERT_FILE, else /etc/mos/ca.pem, else this host's list of authorities
vouches for it.

SIGTERM and SIGINT unmount and end. Exit codes: 0 fine, 1 not mounted, 2 usage, 3 content is not what the flist names,
4 not found or offline.
";

fn main() -> ExitCode {
    match arguments::parse(lexopt::Parser::from_env()) {
        Ok(Asked::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Asked::Version) => {
            println!("myfs {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Asked::Mount(mount)) => run::mount(*mount),
        Ok(Asked::Unmount(directory)) => run::unmount(&directory),
        Ok(Asked::KernelFiles(root)) => kernel_files::run(&root),
        Ok(Asked::Discover(root)) => {
            let found = discover::discover(&root);
            println!(
                "{} of {} devices have a driver now and had none",
                found.served, found.devices
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("myfs: {error}; see myfs --help");
            ExitCode::from(2)
        }
    }
}
